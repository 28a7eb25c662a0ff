package release

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestABundleHasTheObjectsThatCameTogether(t *testing.T) {
	first, second := []string{"one", string(randomText(1, 5000)), ""}, []string{"four", string(noise(3000))}
	stream := binaryPack(t, nil, together(t, first...), together(t, second...))
	path := filepath.Join(t.TempDir(), "bundle")
	whole := func(data []byte) *Bundle {
		t.Helper()
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		b, err := OpenBundle(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		})
		return b
	}
	b := whole(stream)
	for _, content := range append(first, second...) {
		got, err := b.Read(HashOf([]byte(content)))
		if err != nil || string(got) != content || !b.Has(HashOf([]byte(content))) {
			t.Errorf("%.20q: %.20q, %v", content, got, err)
		}
	}
	if _, err := b.Read(HashOf([]byte("other"))); !errors.Is(err, fs.ErrNotExist) || b.Has(HashOf([]byte("other"))) {
		t.Errorf("what is not there: %v", err)
	}
	for cut := range len(stream) { // it has less, and nothing that is wrong
		b, err := OpenBundle(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(b.Close(), os.WriteFile(path, stream[:cut], 0o600)); err != nil {
			t.Fatal(err)
		}
		if b, err = OpenBundle(t.Context(), path); err != nil {
			t.Fatalf("cut after %d bytes: %v", cut, err)
		}
		for _, content := range append(first, second...) {
			got, err := b.Read(HashOf([]byte(content)))
			if err == nil && string(got) != content {
				t.Errorf("cut after %d bytes %.20q is %.20q", cut, content, got)
			}
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range stream {
		flipped := append([]byte(nil), stream...)
		flipped[i] ^= 1 << (i % 8)
		b := whole(flipped)
		for _, content := range append(first, second...) {
			if got, err := b.Read(HashOf([]byte(content))); err == nil && string(got) != content {
				t.Errorf("with byte %d changed %.20q is %.20q", i, content, got)
			}
		}
	}
}
