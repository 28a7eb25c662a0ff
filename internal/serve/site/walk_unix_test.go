//go:build unix

package site

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestPipesAndSocketsAreSkippedAndNeverHang(t *testing.T) {
	dir := t.TempDir()
	writeIn(t, dir, "index.html", "home")
	for _, name := range []string{"pipe", "_headers", "sub.html"} {
		if err := syscall.Mkfifo(filepath.Join(dir, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir) // a socket's path is short
	socket, err := net.Listen("unix", "socket")
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	symlink(t, "pipe", filepath.Join(dir, "link"))
	s := compileDir(t, options(t, dir), nil)
	if sum := s.Summary(); sum.Files != 1 || len(sum.Skipped) != 5 {
		t.Errorf("%d files, skipped:\n%s", sum.Files, strings.Join(sum.Skipped, "\n"))
	}
}

func TestAPipeThatTakesAFilesPlaceNeverHangs(t *testing.T) {
	for _, budget := range []int64{0, 1} {
		dir := t.TempDir()
		writeIn(t, dir, "a.txt", "a")
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		o := options(t, dir)
		o.Budget = budget
		c := newCompiler(o.withDefaults(), root)
		c.history = &history{Names: map[string]string{}}
		if c.walk, err = walkRoot(t.Context(), root, nil); err != nil {
			t.Fatal(err)
		}
		removeIn(t, dir, "a.txt")
		if err := syscall.Mkfifo(filepath.Join(dir, "a.txt"), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := c.compile(t.Context())
		if err != nil || get(t, s, "/a.txt").status != 404 {
			t.Errorf("compile: %v", err)
		}
	}
}
