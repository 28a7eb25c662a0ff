package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"html"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	xhtml "golang.org/x/net/html"
)

func fleet() WelcomeData {
	return WelcomeData{
		Version: "0.1.0",
		POPs: []WelcomePOP{
			{Name: "au", Place: "Sydney", HTTPS: "https://localhost:8441/", HTTP: "http://localhost:8081/"},
			{Name: "ny", Place: "New York", HTTPS: "https://localhost:8442", HTTP: "http://localhost:8082"},
			{Name: "fr", Place: "Strasbourg", HTTPS: "https://localhost:8443/", HTTP: ""},
		},
		Sites:     []string{"welcome"},
		CAFile:    "/home/ada/.local/state/penny/ca.pem",
		TrustHint: []string{"# Debian", "sudo update-ca-certificates"},
	}
}

var hashedName = regexp.MustCompile(`^(style|welcome)\.([0-9a-f]{8})\.(css|js)$`)

// site writes the welcome site and reads back what is on disk.
func site(t *testing.T, d WelcomeData) map[string][]byte {
	t.Helper()
	dir := t.TempDir()
	if err := WriteWelcome(dir, d); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, e := range entries {
		if files[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

func pages(files map[string][]byte) map[string][]byte {
	out := map[string][]byte{}
	for name, content := range files {
		if strings.HasSuffix(name, ".html") {
			out[name] = content
		}
	}
	return out
}

// walk parses a page and calls visit for every element.
func walk(t *testing.T, content []byte, visit func(n *xhtml.Node, attr map[string]string)) {
	t.Helper()
	root, err := xhtml.Parse(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	for n := range root.Descendants() {
		if n.Type != xhtml.ElementNode {
			continue
		}
		attr := map[string]string{}
		for _, a := range n.Attr {
			attr[a.Key] = a.Val
		}
		visit(n, attr)
	}
}

func text(n *xhtml.Node) string {
	var out strings.Builder
	for d := range n.Descendants() {
		if d.Type == xhtml.TextNode {
			out.WriteString(d.Data)
		}
	}
	return out.String()
}

func TestTheSiteIsTheseFiles(t *testing.T) {
	var got []string
	for _, name := range slices.Sorted(maps.Keys(site(t, fleet()))) {
		got = append(got, hashedName.ReplaceAllString(name, "$1.HASH.$3"))
	}
	want := []string{"404.html", "_headers", "_redirects", "about.html", "favicon.svg", "index.html", "style.HASH.css", "welcome.HASH.js"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
}

func TestAHashedNameCarriesTheHashOfTheContent(t *testing.T) {
	seen := 0
	for name, content := range site(t, fleet()) {
		m := hashedName.FindStringSubmatch(name)
		if m == nil {
			continue
		}
		seen++
		sum := sha256.Sum256(content)
		if !strings.Contains(hex.EncodeToString(sum[:]), m[2]) {
			t.Errorf("%s: %s is not in the hash %x", name, m[2], sum)
		}
	}
	if seen != 2 {
		t.Errorf("%d files with a hash in their names, want 2", seen)
	}
}

func TestAFingerprintHasBothLettersAndDigits(t *testing.T) {
	for i := range 20_000 {
		name := fingerprinted("style.css", fmt.Append(nil, i))
		m := hashedName.FindStringSubmatch(name)
		if m == nil || !strings.ContainsAny(m[2], "abcdef") || !strings.ContainsAny(m[2], "0123456789") {
			t.Fatalf("content %d: %s", i, name)
		}
	}
}

func TestEveryPOPIsOnTheFirstPage(t *testing.T) {
	d := fleet()
	index := site(t, d)["index.html"]
	links := map[string]bool{}
	walk(t, index, func(n *xhtml.Node, attr map[string]string) {
		if n.Data == "a" {
			links[attr["href"]] = true
		}
	})
	for _, p := range d.POPs {
		for _, u := range []string{p.HTTPS, p.HTTP} {
			if u == "" {
				continue
			}
			u = strings.TrimSuffix(u, "/") + "/"
			if !links[u] {
				t.Errorf("no link to %s", u)
			}
			if !bytes.Contains(index, []byte(">"+html.EscapeString(u)+"<")) {
				t.Errorf("%s is nowhere to read", u)
			}
		}
		if !bytes.Contains(index, []byte(">"+p.Name+"<")) || !bytes.Contains(index, []byte(">"+p.Place+"<")) {
			t.Errorf("POP %s in %s is not in the table", p.Name, p.Place)
		}
	}
	for _, s := range []string{"Three POPs answer", "Sydney, New York and Strasbourg", d.CAFile, "sudo update-ca-certificates", d.Version} {
		if !bytes.Contains(index, []byte(s)) {
			t.Errorf("the first page does not say %q", s)
		}
	}
	// One of the commands asks for exactly these fifteen bytes.
	if !bytes.HasPrefix(index, []byte("<!doctype html>\n")) {
		t.Errorf("the first page begins with %q", index[:20])
	}
}

func TestASmallFleetReadsWell(t *testing.T) {
	index := site(t, WelcomeData{POPs: []WelcomePOP{{Name: "one", HTTPS: "https://localhost:1"}}})["index.html"]
	if !bytes.Contains(index, []byte("One POP answers on this machine. ")) {
		t.Error("the sentence about one POP is gone")
	}
	for _, absent := range []string{"--cacert", "CA file", "To trust it", "Sites served", "Site served", "<no value>"} {
		if bytes.Contains(index, []byte(absent)) {
			t.Errorf("the page says %q though nothing was given", absent)
		}
	}
}

func TestHostileTextStaysText(t *testing.T) {
	const evil = `"><script>alert(1)</script><b style='x' onclick=x>&amp;`
	d := fleet()
	d.Version, d.CAFile, d.Sites, d.TrustHint = evil, evil, []string{evil}, []string{evil, evil}
	d.POPs[0].Name, d.POPs[0].Place = evil, evil
	d.POPs[0].HTTPS = `https://localhost:1/"><script>alert(2)</script>`
	files := site(t, d)
	for name, content := range pages(files) {
		checkPolicy(t, name, content)
	}
	if !bytes.Contains(files["index.html"], []byte(`<th scope="row">`+htmlEscape(evil)+`</th>`)) {
		t.Error("the POP's name is not shown as it is")
	}
}

func htmlEscape(s string) string {
	// html/template writes quotes as numbers
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;").Replace(s)
}

// checkPolicy fails when a page needs more than its Content-Security-Policy allows.
func checkPolicy(t *testing.T, name string, content []byte) {
	t.Helper()
	walk(t, content, func(n *xhtml.Node, attr map[string]string) {
		switch {
		case n.Data == "style":
			t.Errorf("%s: a <style> element", name)
		case n.Data == "script" && (attr["src"] == "" || n.FirstChild != nil):
			t.Errorf("%s: an inline script", name)
		}
		for key, val := range attr {
			if key == "style" || strings.HasPrefix(key, "on") || strings.HasPrefix(val, "javascript:") {
				t.Errorf("%s: <%s %s=%q>", name, n.Data, key, val)
			}
		}
	})
}

func TestPagesKeepTheirOwnPolicy(t *testing.T) {
	files := site(t, fleet())
	for name, content := range pages(files) {
		checkPolicy(t, name, content)
	}
	headers := string(files["_headers"])
	for _, want := range []string{"\n/*\n", "\n  Content-Security-Policy: default-src 'none'; ", "frame-ancestors 'none'", "  X-Content-Type-Options: nosniff\n"} {
		if !strings.Contains(headers, want) {
			t.Errorf("_headers lacks %q", want)
		}
	}
	if strings.Contains(headers, "unsafe") {
		t.Error("_headers allows something unsafe")
	}
	if !strings.Contains(string(files["_redirects"]), "\n/docs /about 302\n") {
		t.Error("_redirects lacks its example")
	}
}

func TestEveryReferenceLeadsSomewhere(t *testing.T) {
	d := fleet()
	files := site(t, d)
	// /docs is a redirect, and the other is meant to lead nowhere
	known := map[string]bool{"/": true, "/about": true, "/docs": true, "/no-such-page": true}
	for _, p := range d.POPs {
		known[strings.TrimSuffix(p.HTTPS, "/")+"/"] = true
		known[strings.TrimSuffix(p.HTTP, "/")+"/"] = true
	}
	for name := range files {
		known["/"+name] = true
	}
	for name, content := range pages(files) {
		ids := map[string]int{}
		var refs []string
		walk(t, content, func(n *xhtml.Node, attr map[string]string) {
			if id := attr["id"]; id != "" {
				ids[id]++
			}
			for id := range strings.FieldsSeq(attr["aria-labelledby"]) {
				refs = append(refs, "#"+id)
			}
			for _, key := range []string{"href", "src"} {
				if v, ok := attr[key]; ok {
					refs = append(refs, v)
				}
			}
		})
		for _, ref := range refs {
			if id, ok := strings.CutPrefix(ref, "#"); ok {
				if ids[id] != 1 {
					t.Errorf("%s: %d elements have the id %q", name, ids[id], id)
				}
			} else if !known[ref] {
				t.Errorf("%s: nothing at %q", name, ref)
			}
		}
	}
	for name, content := range files {
		if strings.HasSuffix(name, ".css") && regexp.MustCompile(`url\(|@import`).Match(content) {
			t.Errorf("%s refers to another file", name)
		}
	}
}

func TestEveryPageHasItsLandmarks(t *testing.T) {
	titles := map[string]string{}
	for name, content := range pages(site(t, fleet())) {
		count := map[string]int{}
		walk(t, content, func(n *xhtml.Node, attr map[string]string) {
			count[n.Data]++
			switch {
			case n.Data == "title" && n.Parent.Data == "head":
				titles[name] = text(n)
			case n.Data == "html" && attr["lang"] != "en":
				t.Errorf("%s: lang is %q", name, attr["lang"])
			case n.Data == "meta" && attr["name"] == "viewport":
				count["viewport"]++
			}
		})
		for _, one := range []string{"h1", "main", "header", "nav", "footer", "viewport"} {
			if count[one] != 1 {
				t.Errorf("%s: %d of %s, want 1", name, count[one], one)
			}
		}
	}
	want := map[string]string{
		"index.html": "Pennyfarthing is running", "about.html": "How Pennyfarthing works", "404.html": "Not found: Pennyfarthing",
	}
	if d := cmp.Diff(want, titles); d != "" {
		t.Errorf("titles (-want +got):\n%s", d)
	}
}

func TestAllMistakesAreReportedAndNothingIsWritten(t *testing.T) {
	tests := []struct {
		name string
		pops []WelcomePOP
		want []string
	}{
		{"there are no POPs", nil, []string{"no POPs"}},
		{"an address is missing or of the wrong kind", []WelcomePOP{
			{Name: "au", HTTP: "http://localhost:1"},
			{Name: "ny", HTTPS: "javascript:alert(1)"},
			{Name: "fr", HTTPS: "https://localhost:1", HTTP: "localhost:80"},
		}, []string{`POP "au"`, `POP "ny"`, `POP "fr"`}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			err := WriteWelcome(dir, WelcomeData{POPs: test.pops})
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not mention %s", err, want)
				}
			}
			if entries, _ := os.ReadDir(dir); len(entries) > 0 {
				t.Errorf("wrote %v", entries)
			}
		})
	}
}

func TestAMissingDirectoryIsAnError(t *testing.T) {
	if err := WriteWelcome(filepath.Join(t.TempDir(), "missing"), fleet()); err == nil {
		t.Error("no error")
	}
}

func TestTheCallersPOPsAreNotChanged(t *testing.T) {
	d := fleet()
	site(t, d)
	if diff := cmp.Diff(fleet(), d); diff != "" {
		t.Errorf("data (-before +after):\n%s", diff)
	}
}

func TestCommandsSurviveTheShell(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no sh here")
	}
	d := fleet()
	d.CAFile = `/home/o'hara/my files/$(touch pwned) "ca".pem`
	d.POPs[0].HTTPS = "https://localhost:1/a;b&c"
	var got []string
	walk(t, site(t, d)["index.html"], func(n *xhtml.Node, _ map[string]string) {
		if n.Data != "pre" || !strings.Contains(text(n), "curl") {
			return
		}
		// a curl that only says what it was told
		script := "curl() { printf '<%s>' \"$@\"; echo; }\n" + text(n)
		cmd := exec.CommandContext(t.Context(), sh, "-euc", script)
		cmd.Dir = t.TempDir()
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s\n%v: %s", text(n), err, out)
		}
		got = append(got, strings.Split(strings.TrimSpace(string(out)), "\n")...)
	})
	if len(got) < 10 {
		t.Fatalf("only %d commands", len(got))
	}
	for _, line := range got {
		if !strings.HasPrefix(line, "<--cacert><"+d.CAFile+">") {
			t.Errorf("the CA file is not one argument: %s", line)
		}
	}
	if want := "<-sI><--http2><https://localhost:1/a;b&c/>"; !strings.Contains(got[0], want) {
		t.Errorf("got %s, want it to have %s", got[0], want)
	}
}
