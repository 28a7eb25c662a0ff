//go:build unix

package result_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Others have all descriptors that the process may have. What the rows need was kept.
func TestAPartIsWrittenWhenTheProcessHasNoDescriptorLeft(t *testing.T) {
	for _, format := range formats {
		t.Run(format.String(), func(t *testing.T) {
			run, parts := open(t, format)
			commit(t, parts, 0, samples(0, 10)) // what its packages need is open now
			takeAllDescriptors(t)
			for shard := 1; shard <= 20; shard++ { // more often than there are descriptors in reserve
				commit(t, parts, shard, samples(0, 500)) // too many for memory
			}
			if _, err := os.Stat(filepath.Join(run, "parts", "part-000020."+format.String())); err != nil {
				t.Error(err)
			}
		})
	}
}

// takeAllDescriptors opens as many files as the process may have, until the test ends.
func takeAllDescriptors(t *testing.T) {
	t.Helper()
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	low := before
	low.Cur = 100
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
			t.Error(err)
		}
	})
	for {
		f, err := os.Open(os.DevNull)
		if errors.Is(err, syscall.EMFILE) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
	}
}
