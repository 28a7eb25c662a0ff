package api_test

import (
	"strings"
	"testing"

	"pennyfarthing/internal/fleet/api"
)

func TestTheHostOfAPreviewSaysOfWhichSiteItIs(t *testing.T) {
	label := strings.Repeat("a2", api.MinPreviewLabel/2)
	for host, want := range map[string]string{
		label + ".preview.example.org":                    "example.org",
		label + ".preview.preview.example.org":            "preview.example.org",
		label[1:] + ".preview.example.org":                "",
		strings.ToUpper(label) + ".preview.example.org":   "",
		label[:25] + "1.preview.example.org":              "",
		strings.Repeat("a", 64) + ".preview.example.org":  "",
		label + ".preview.":                               "",
		label + ".preview":                                "",
		label + ".previews.example.org":                   "",
		label:                                             "",
		"":                                                "",
		label + ".preview." + strings.Repeat("a.", 120):   "",
		"x/../" + label[:21] + ".preview.example.org/../": "",
	} {
		_, of, ok := api.PreviewLabel(host)
		if ok != (want != "") || ok && of != want {
			t.Errorf("%q: of %q, %v; want %q", host, of, ok, want)
		}
	}
}

func FuzzPreviewLabel(f *testing.F) {
	f.Add(strings.Repeat("a", api.MinPreviewLabel) + ".preview.example.org")
	f.Add("a.preview.example.org")
	f.Fuzz(func(t *testing.T, host string) {
		label, of, ok := api.PreviewLabel(host)
		if ok && api.PreviewHost(label, of) != host {
			t.Errorf("%q is %q of %q, which is another host", host, label, of)
		}
		if !ok {
			return
		}
		if len(label) < api.MinPreviewLabel || strings.ContainsAny(label, "./\\") {
			t.Errorf("%q has the label %q", host, label)
		}
	})
}
