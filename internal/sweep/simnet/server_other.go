//go:build !linux

package simnet

import "net/netip"

// A Server is nothing here.
type Server struct {
	authority *authority
	counters  counters
	throttle  throttle
}

// Start says that there is none.
func Start(*World, Config) (*Server, error) { return nil, ErrUnsupported }

// DNS is nothing here.
func (s *Server) DNS() netip.AddrPort { return netip.AddrPort{} }

// Ports are nothing here.
func (s *Server) Ports() (http, https uint16) { return 0, 0 }

// Cut does nothing here.
func (s *Server) Cut(bool) {}

// Close does nothing here.
func (s *Server) Close() error { return nil }
