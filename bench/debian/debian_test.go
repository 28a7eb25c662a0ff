package debian_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pennyfarthing/bench/debian"
)

func TestMissingProgramsAreNamedByPackage(t *testing.T) {
	dir := t.TempDir()
	missing := debian.Missing([]debian.Tool{
		{Program: "sh", Package: "dash"},
		{Program: "no-such-program", Package: "some-package"},
		{Program: "nor-this", Package: "some-package"},
		{Program: dir, Package: "a-directory"},
		{Program: filepath.Join(dir, "none"), Package: "a-part"},
	})
	if want := []string{"some-package", "a-part"}; !slices.Equal(missing, want) {
		t.Errorf("got %v, want %v", missing, want)
	}
	err := debian.Ensure(t.Context(), missing, false, nil)
	if err == nil || !strings.Contains(err.Error(), "apt-get install --no-install-recommends some-package a-part") {
		t.Errorf("no hint: %v", err)
	}
	if err := debian.Ensure(t.Context(), nil, false, nil); err != nil {
		t.Errorf("nothing is missing, and %v", err)
	}
}
