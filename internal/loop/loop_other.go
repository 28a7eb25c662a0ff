//go:build !linux

package loop

import "net"

// Supported says whether there are loops on this system.
const Supported = false

// A Loop is nothing here.
type Loop struct{}

func newLoop(bool) (*Loop, error) { return nil, ErrUnsupported }

func (l *Loop) start() {}
func (l *Loop) close() {}
func (l *Loop) stir()  {}

func (l *Loop) take(net.Conn) (*Conn, error) { return nil, ErrUnsupported }

// A Conn is nothing here: there are none.
type Conn struct {
	net.Conn
	Waiter
	timer timer
}
