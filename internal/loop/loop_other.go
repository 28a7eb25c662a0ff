//go:build !linux

package loop

import "net"

// A Loop is nothing here.
type Loop struct{}

func newLoop() (*Loop, error) { return nil, ErrUnsupported }

func (l *Loop) start() {}
func (l *Loop) close() {}

func (l *Loop) take(net.Conn) (*Conn, error) { return nil, ErrUnsupported }

// A Conn is nothing here: there are none.
type Conn struct {
	net.Conn
	Waiter
	timer timer
}
