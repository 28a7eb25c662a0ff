package browser_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pennyfarthing/test/chromium"
	"pennyfarthing/test/program"
)

const deployedFleet = `fleet = "deployed"

[sites."example.org"]
files = "./public"
`

// version makes the site be one whose page loads a script only when it is asked to,
// as pages of bundlers do.
func version(t *testing.T, script, title string) {
	t.Helper()
	page := `<!doctype html><html lang="en"><meta charset="utf-8"><link rel="icon" href="data:,"><title>` + title + `</title>
<style>body { font: 2em sans-serif; background: linear-gradient(#fff, #8bd) }</style><h1>` + title + `</h1>
<script>const load = () => import("/assets/` + script + `").then(m => m.name)</script></html>`
	err := errors.Join(os.RemoveAll("public"), os.MkdirAll(filepath.Join("public", "assets"), 0o755),
		os.WriteFile(filepath.Join("public", "index.html"), []byte(page), 0o644),
		os.WriteFile(filepath.Join("public", "assets", script), []byte(`export const name = "`+title+`"`), 0o644))
	if err != nil {
		t.Fatal(err)
	}
}

// Somebody who has a page open when it is deployed anew goes on with what it was
// made of; the next page is the new one.
func TestAnOpenPageGoesOnWhenItsSiteIsDeployed(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("penny.toml", []byte(deployedFleet), 0o644); err != nil {
		t.Fatal(err)
	}
	version(t, "app.1a2b3c4d.js", "The first release")
	p := program.Start(t, penny, "up", "--json")
	var r running
	p.JSON(&r)
	c := chromium.Start(t, chromium.Trust(t, r.CA))
	c.Resize(1280, 900, false)
	c.Navigate(r.POPs[0].HTTPS + "/")
	version(t, "app.9f8e7d6c.js", "The second release")
	cmd := exec.CommandContext(t.Context(), penny, "deploy", "--state", p.State)
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "live on 3 of 3") {
		t.Fatalf("penny deploy: %v\n%s", err, out)
	}
	says := func(what, expression, want string) {
		t.Helper()
		var got string
		if c.Evaluate(expression, &got); got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	says("the page that was open loads", "load()", "The first release")
	c.Navigate(r.POPs[1].HTTPS + "/")
	says("the next page has the title", "document.title", "The second release")
	says("and loads", "load()", "The second release")
	checkPicture(t, c.Screenshot(), "deployed", 1280)
	if all := c.Complaints(); len(all) > 0 {
		t.Errorf("the browser complains:\n%s", strings.Join(all, "\n"))
	}
}
