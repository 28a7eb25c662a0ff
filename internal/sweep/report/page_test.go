package report_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pennyfarthing/test/chromium"
)

// The page is opened as a file, as users do, with text of hostile servers in it. What
// its policy forbids, the browser would complain of: the style's hash among it.
func TestThePageInABrowser(t *testing.T) {
	dir := t.ArtifactDir()
	name := filepath.Join(dir, "report.html")
	if err := os.WriteFile(name, text(t, func(b *bytes.Buffer) error { return make3000(t).WriteHTML(b) }), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, scheme := range []struct {
		name, flag, paper string
	}{
		{"light", "--blink-settings=preferredColorScheme=1", "rgb(250, 247, 243)"},
		{"dark", "--blink-settings=preferredColorScheme=0", "rgb(23, 20, 17)"},
	} {
		c := chromium.Start(t, t.TempDir(), scheme.flag)
		for _, window := range []struct {
			name          string
			width, height int
			mobile        bool
		}{{"desktop", 1280, 900, false}, {"phone", 360, 740, true}} {
			c.Resize(window.width, window.height, window.mobile)
			c.Navigate("file://" + name)
			var overflow int
			c.Evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth", &overflow)
			if overflow > 0 {
				t.Errorf("%s, %s: the page is %d pixels wider than the window", scheme.name, window.name, overflow)
			}
			picture := filepath.Join(dir, scheme.name+"-"+window.name+".png")
			if err := os.WriteFile(picture, c.Screenshot(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		var paper string
		c.Evaluate("getComputedStyle(document.body).backgroundColor", &paper)
		if paper != scheme.paper {
			t.Errorf("%s: the paper is %s, want %s", scheme.name, paper, scheme.paper)
		}
		var loaded int
		c.Evaluate("performance.getEntriesByType('resource').filter(e => !e.name.startsWith('data:')).length", &loaded)
		if loaded != 0 {
			t.Errorf("%s: the page loads %d things", scheme.name, loaded)
		}
		var scripts int
		c.Evaluate("document.querySelectorAll('script, img, iframe, object, b, [onerror], [style]').length", &scripts)
		if scripts != 0 {
			t.Errorf("%s: %d elements came from strangers' text", scheme.name, scripts)
		}
		if all := c.Complaints(); len(all) > 0 {
			t.Errorf("%s: the browser complains:\n%s", scheme.name, strings.Join(all, "\n"))
		}
	}
}
