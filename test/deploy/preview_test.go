package deploy_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// A POP that was away is brought what was shown meanwhile, and told what was ended.
func TestCatchingUpBringsPreviewsAndTheirEnds(t *testing.T) {
	f := newFleet(t, "au", "ny")
	ny := f.pops[1]
	f.write("one")
	f.deploy()
	ny.kill()
	f.write("two")
	var report struct{ Preview struct{ Host string } }
	if err := json.Unmarshal([]byte(f.deploy("--preview", "--json")), &report); err != nil {
		t.Fatal(err)
	}
	host := report.Preview.Host
	answers := func(when string, want int, content string) {
		t.Helper()
		for _, p := range f.pops {
			if status, text, err := p.getAt(t.Context(), host, "/about"); err != nil || status != want || content != "" && text != content {
				t.Errorf("%s: %s answers %d %q (%v), want %d %q", when, p.name, status, text, err, want, content)
			}
		}
	}
	ny.again()
	if out := f.deploy("--catch-up"); !strings.Contains(out, "nothing to do") || !strings.Contains(out, "brought ny the preview of ") {
		t.Errorf("caught up: %s", out)
	}
	answers("brought", http.StatusOK, "about two")
	f.shows("one")
	if out := f.deploy("--catch-up", "--json"); strings.Contains(out, `"previews"`) || !strings.Contains(out, `"nothing":true`) {
		t.Errorf("once more: %s", out)
	}
	ny.kill()
	if code, _, stderr := f.run("deploy", "--end-preview", host); code != 1 || !strings.Contains(stderr, "ny: ") {
		t.Errorf("ended while a POP is away: %d %s", code, stderr)
	}
	ny.again()
	if out := f.deploy("--catch-up"); !strings.Contains(out, "told ny that the preview at "+host+" has ended") {
		t.Errorf("caught up: %s", out)
	}
	answers("ended", http.StatusMisdirectedRequest, "")
}
