package web

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	xhtml "golang.org/x/net/html"
)

func asked() OptoutData {
	return OptoutData{
		Host: "bot.example.org", Contact: "mailto:me@example.org", Agent: "Mozilla/5.0 (compatible; penny/0.1.0; +mailto:me@example.org)",
		HTTPS: "first", WWW: true, Follow: 5, Retries: 1, Method: "GET", AddressRate: 2, NetworkRate: 50,
	}
}

// optoutSite writes the opt-out page and reads back what is on disk.
func optoutSite(t *testing.T, d OptoutData) map[string][]byte {
	t.Helper()
	dir := t.TempDir()
	if err := WriteOptout(dir, d); err != nil {
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

// words are the text of a page, with one space between words.
func words(t *testing.T, content []byte) string {
	t.Helper()
	var all string
	walk(t, content, func(n *xhtml.Node, _ map[string]string) {
		if n.Data == "main" {
			all = strings.Join(strings.Fields(text(n)), " ")
		}
	})
	return all
}

func TestTheOptOutSiteIsTheseFiles(t *testing.T) {
	var got []string
	for _, name := range slices.Sorted(maps.Keys(optoutSite(t, asked()))) {
		got = append(got, hashedName.ReplaceAllString(name, "$1.HASH.$3"))
	}
	if d := cmp.Diff([]string{"404.html", "_headers", "favicon.svg", "index.html", "style.HASH.css"}, got); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
}

func TestTheOptOutPageSaysWhatIsAskedAndHowOften(t *testing.T) {
	changed := asked()
	changed.Contact, changed.HTTPS, changed.WWW, changed.Follow, changed.Retries, changed.Method, changed.Robots = "https://example.org/bot?a=1&b=2", "both", false, 0, 0, "HEAD", true
	changed.AddressRate, changed.NetworkRate, changed.DomainRate = 0.5, 0, 0.01
	sampled := asked()
	sampled.Body, sampled.HTTPS, sampled.Retries, sampled.Follow = 65536, "never", 2, 1
	for _, test := range []struct {
		name         string
		data         OptoutData
		says, doesNo []string
	}{
		{"the defaults", asked(), []string{
			"You reach us at me@example.org.", "Mozilla/5.0 (compatible; penny/0.1.0; +mailto:me@example.org)",
			"over HTTPS, and over HTTP only if that does not answer, with one GET request each. If none is answered, the same with www.",
			"up to 5 redirects.", "the page's title. We read no more", "We do not ask for robots.txt", "and once more when",
			"At most 2 requests a second to one address.", "At most 50 requests a second to one network", "Write to me@example.org, and name",
			"refuse what has our User-Agent", "penny sweep optout add example.com",
		}, []string{"registered domain", "a hash of"}},
		{"everything otherwise", changed, []string{
			"You reach us at https://example.org/bot?a=1&b=2.", "over HTTPS and over HTTP, with one HEAD request each. No redirects", "We keep the head of the answer, and how long it took.",
			"robots.txt comes first", "Once a name in each run. At most 30 requests a minute to one address. At most 36 requests an hour to one registered domain.", "disallows penny",
		}, []string{"www.", "more when", "one network", "refuse what has"}},
		{"a sample of bodies", sampled, []string{"over HTTP, with", "up to one redirect.", "a hash of its first 65536 bytes", "and up to 2 times more"}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			page := words(t, optoutSite(t, test.data)["index.html"])
			for _, want := range test.says {
				if !strings.Contains(page, want) {
					t.Errorf("the page does not say %q:\n%s", want, page)
				}
			}
			for _, absent := range test.doesNo {
				if strings.Contains(page, absent) {
					t.Errorf("the page says %q:\n%s", absent, page)
				}
			}
		})
	}
}

func TestTheOptOutPageLinksToTheContactAndToItsOwnFilesOnly(t *testing.T) {
	d := asked()
	files := optoutSite(t, d)
	for name, content := range pages(files) {
		checkPolicy(t, name, content)
		count := map[string]int{}
		walk(t, content, func(n *xhtml.Node, attr map[string]string) {
			count[n.Data]++
			for _, key := range []string{"href", "src"} {
				ref, ok := attr[key]
				_, file := files[strings.TrimPrefix(ref, "/")]
				if ok && !file && ref != "/" && ref != "#content" && ref != d.Contact {
					t.Errorf("%s refers to %q", name, ref)
				}
			}
		})
		for _, one := range []string{"h1", "main", "header", "footer", "title"} {
			if count[one] != 1 {
				t.Errorf("%s: %d of %s, want 1", name, count[one], one)
			}
		}
	}
	if headers := string(files["_headers"]); !strings.Contains(headers, "default-src 'none'; ") || strings.Contains(headers, "unsafe") || strings.Contains(headers, "script-src") {
		t.Errorf("_headers allows too much:\n%s", headers)
	}
}

func TestHostileTextOnTheOptOutPageStaysText(t *testing.T) {
	const evil = `"><script>alert(1)</script><b style='x' onclick=x>&amp;`
	d := asked()
	d.Host, d.Agent, d.Method, d.Contact = evil, evil, evil, "https://example.org/"+evil
	for name, content := range pages(optoutSite(t, d)) {
		checkPolicy(t, name, content)
	}
}

func TestAnOptOutPageThatNobodyCouldAnswerToIsAnError(t *testing.T) {
	for _, contact := range []string{"", "me@example.org", "javascript:alert(1)", "http://example.org/", ":"} {
		d, dir := asked(), t.TempDir()
		d.Contact = contact
		if err := WriteOptout(dir, d); err == nil || !strings.Contains(err.Error(), "contact") {
			t.Errorf("contact %q: %v", contact, err)
		}
		if entries, _ := os.ReadDir(dir); len(entries) > 0 {
			t.Errorf("contact %q: it wrote %v", contact, entries)
		}
	}
	if err := WriteOptout(filepath.Join(t.TempDir(), "missing"), asked()); err == nil {
		t.Error("no error without a directory")
	}
	if err := WriteOptout(t.TempDir(), OptoutData{Contact: "mailto:a@example.org"}); err == nil {
		t.Error("no error without a host")
	}
}
