package site

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
)

// resident returns the process's resident memory in bytes.
func resident(t testing.TB) int64 {
	t.Helper()
	f, err := os.Open("/proc/self/status")
	check(t, err)
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var kib int64
		if value, ok := strings.CutPrefix(lines.Text(), "VmRSS:"); ok {
			_, err := fmt.Sscanf(value, "%d kB", &kib)
			check(t, err)
			return kib << 10
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

func TestAFileOfFourGibibytesTakesNoMemory(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector's memory would be measured")
	}
	const size, limit = 4 << 30, 16 << 20
	o := options(t, t.TempDir())
	file := filepath.Join(o.Dir, "film.mp4")
	check(t, os.WriteFile(file, nil, 0o600))
	if err := os.Truncate(file, size); err != nil {
		t.Skip("this file system has no sparse files: ", err)
	}
	debug.FreeOSMemory()
	before := resident(t)
	s := compileDir(t, o, nil)
	answer := s.Respond(&Request{Method: "GET", Path: "/film.mp4"})
	highest := before
	var sent int64
	n, err := answer.WriteTo(writerFunc(func(p []byte) (int, error) {
		if sent += int64(len(p)); sent%(256<<20) == 0 {
			highest = max(highest, resident(t))
		}
		return io.Discard.Write(p)
	}))
	if err != nil || n != size {
		t.Fatalf("sent %d bytes, %v", n, err)
	}
	grown := highest - before
	t.Logf("resident memory grew by %d KiB", grown>>10)
	if grown > limit {
		t.Errorf("resident memory grew by %d KiB, want at most %d", grown>>10, limit>>10)
	}
}
