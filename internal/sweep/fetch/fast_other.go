//go:build !linux

package fetch

import "pennyfarthing/internal/loop"

// NewFast fails: there is no such engine on this system.
func NewFast(*loop.Reactor, Config) (Fetcher, error) { return nil, loop.ErrUnsupported }
