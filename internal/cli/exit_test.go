package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"
)

func TestWhatTheSystemRefusesHasAHint(t *testing.T) {
	for _, refused := range []error{syscall.EACCES, syscall.ENOSPC, syscall.EADDRINUSE, syscall.EROFS} {
		var out strings.Builder
		reportError(&out, fmt.Errorf("write the key: %w", &fs.PathError{Op: "open", Path: "/there", Err: refused}), false)
		if !strings.HasPrefix(out.String(), "error: write the key: open /there: ") || !strings.Contains(out.String(), "\nhint: ") {
			t.Errorf("of %v is printed %q", refused, out.String())
		}
	}
	var out strings.Builder
	if reportError(&out, errors.New("anything else"), false); out.String() != "error: anything else\n" {
		t.Errorf("of anything else is printed %q", out.String())
	}
}
