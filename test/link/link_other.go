//go:build !linux

package link

import (
	"runtime"
	"testing"
)

// A namespace is Linux's, and not here.
type namespace struct{}

// Do would run f in the network of the host.
func (namespace) Do(func()) { panic("link: there are no network namespaces on " + runtime.GOOS) }

func newLink(t testing.TB, _ Options) *Link {
	t.Helper()
	t.Skipf("cannot run: %s has no network namespaces", runtime.GOOS)
	return nil
}
