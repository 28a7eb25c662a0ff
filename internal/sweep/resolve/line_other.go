//go:build !linux

package resolve

import (
	"errors"
	"net/netip"
	"syscall"

	"pennyfarthing/internal/loop"
)

const fastSupported = false

func isRefused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

type inbox struct{}

func newInbox() *inbox { return nil }

func newFastLine(*loop.Reactor, netip.AddrPort, func() uint64, *inbox, received) (line, error) {
	return nil, loop.ErrUnsupported
}
