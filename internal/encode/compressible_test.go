package encode_test

import (
	"testing"

	"pennyfarthing/internal/encode"
)

func TestCompressible(t *testing.T) {
	for contentType, want := range map[string]bool{
		"text/html":                    true,
		"text/html; charset=utf-8":     true,
		"TEXT/CSS ;charset=utf-8":      true,
		"text/javascript":              true,
		"text/markdown":                true,
		"text/event-stream":            false,
		"application/javascript":       true,
		"application/json":             true,
		"Application/JSON":             true,
		"application/xml":              true,
		"application/ld+json":          true,
		"application/manifest+json":    true,
		"application/atom+xml":         true,
		"application/rss+xml":          true,
		"application/xhtml+xml":        true,
		"image/svg+xml":                true,
		"application/wasm":             true,
		"font/ttf":                     true,
		"font/otf":                     true,
		"font/woff":                    false,
		"font/woff2":                   false,
		"image/x-icon":                 true,
		"image/png":                    false,
		"image/jpeg":                   false,
		"image/webp":                   false,
		"image/avif":                   false,
		"video/mp4":                    false,
		"audio/mpeg":                   false,
		"application/zip":              false,
		"application/gzip":             false,
		"application/epub+zip":         false,
		"application/pdf":              false,
		"application/octet-stream":     false,
		"application/vnd.some+unknown": false,
		"textual/html":                 false,
		"text":                         true,
		"":                             false,
		";":                            false,
		"+":                            false,
	} {
		if got := encode.Compressible(contentType); got != want {
			t.Errorf("Compressible(%q) = %v", contentType, got)
		}
	}
}
