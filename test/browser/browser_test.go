// Package browser_test opens what penny serves in a real browser, Chromium.
package browser_test

import (
	"bytes"
	"image/png"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pennyfarthing/test/chromium"
	"pennyfarthing/test/program"
)

// penny is the program that all tests here run.
var penny string

func TestMain(m *testing.M) { os.Exit(program.Main(m, &penny)) }

// running is the line that penny up --json prints.
type running struct {
	POPs []struct {
		Name  string `json:"name"`
		Place string `json:"place"`
		HTTPS string `json:"https"`
		HTTP  string `json:"http"`
	} `json:"pops"`
	CA string `json:"ca"`
}

// up runs a fleet in an empty directory.
func up(t *testing.T) running {
	t.Helper()
	t.Chdir(t.TempDir())
	p := program.Start(t, penny, "up", "--json")
	var r running
	p.JSON(&r)
	if len(r.POPs) != 3 {
		t.Fatalf("penny runs %+v, want three POPs", r.POPs)
	}
	return r
}

// The CA is put into the browser's database as penny says to do, and nothing
// makes the browser overlook a certificate.
func TestTheWelcomeSiteInABrowserThatTrustsTheCA(t *testing.T) {
	r := up(t)
	c := chromium.Start(t, chromium.Trust(t, r.CA))
	for _, window := range []struct {
		name          string
		width, height int
		mobile        bool
	}{{"desktop", 1280, 900, false}, {"phone", 390, 844, true}} {
		c.Resize(window.width, window.height, window.mobile)
		c.Navigate(r.POPs[0].HTTPS + "/")
		checkPicture(t, c.Screenshot(), "welcome-"+window.name, window.width)
		var overflow int
		c.Evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth", &overflow)
		if overflow > 0 {
			t.Errorf("%s: the page is %d pixels wider than the window", window.name, overflow)
		}
	}
	checkPage(t, c, r)
	for _, p := range r.POPs[1:] {
		c.Navigate(p.HTTPS + "/about")
	}
	c.Navigate(r.POPs[0].HTTP + "/docs?q=1") // to HTTPS, and by _redirects
	var at string
	c.Evaluate("location.href", &at)
	if want := r.POPs[0].HTTPS + "/about"; !strings.HasPrefix(at, want) {
		t.Errorf("the plain port leads to %s, want %s", at, want)
	}
	if all := c.Complaints(); len(all) > 0 {
		t.Errorf("the browser complains:\n%s", strings.Join(all, "\n"))
	}
	// That nothing was heard means something only if this is.
	c.Evaluate(`console.error("on purpose"); fetch("https://elsewhere.invalid/").catch(() => {})`, nil)
	if all := c.Complaints(); len(all) < 2 {
		t.Errorf("of an error and a breach of the Content-Security-Policy only this is heard: %q", all)
	}
}

// checkPage looks at what the page holds once its script has run.
func checkPage(t *testing.T, c *chromium.Browser, r running) {
	t.Helper()
	var page struct {
		Title  string   `json:"title"`
		Secure bool     `json:"secure"`
		Rows   []string `json:"rows"`
		Links  []string `json:"links"`
	}
	c.Evaluate(`({
		title: document.title, secure: isSecureContext,
		rows: [...document.querySelectorAll("table tbody tr")].map(r => r.innerText),
		links: [...document.querySelectorAll("table a")].map(a => a.href),
	})`, &page)
	if page.Title != "Pennyfarthing is running" || !page.Secure {
		t.Errorf("the page %q, secure: %v", page.Title, page.Secure)
	}
	table := strings.Join(page.Rows, "\n")
	links := strings.Join(page.Links, "\n")
	for _, p := range r.POPs {
		if !strings.Contains(table, p.Name) || !strings.Contains(table, p.Place) || !strings.Contains(links, p.HTTPS) {
			t.Errorf("the table of POPs lacks %+v:\n%s\n%s", p, table, links)
		}
	}
}

const askingFleet = `fleet = "asking"

[pops.one]
addresses = ["203.0.113.10"]

[sweep]
contact = "mailto:me@example.org"
optout  = "bot.example.org"
`

func TestTheOptOutPageInALightAndADarkBrowser(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("penny.toml", []byte(askingFleet), 0o644); err != nil {
		t.Fatal(err)
	}
	p := program.Start(t, penny, "up", "--json")
	var r running
	p.JSON(&r)
	page := strings.Replace(r.POPs[0].HTTPS, "localhost", "bot.example.org.localhost", 1) + "/"
	c := chromium.Start(t, chromium.Trust(t, r.CA))
	grounds := map[string]string{}
	for _, window := range []struct {
		scheme        string
		width, height int
		mobile        bool
	}{{"light", 1280, 900, false}, {"dark", 390, 844, true}} {
		c.Prefer(window.scheme)
		c.Resize(window.width, window.height, window.mobile)
		c.Navigate(page)
		checkPicture(t, c.Screenshot(), "optout-"+window.scheme, window.width)
		var got struct {
			Overflow int      `json:"overflow"`
			Ground   string   `json:"ground"`
			Mail     string   `json:"mail"`
			Loaded   []string `json:"loaded"`
		}
		c.Evaluate(`({
			overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
			ground: getComputedStyle(document.body).backgroundColor,
			mail: document.querySelector("main a").href,
			loaded: performance.getEntriesByType("resource").map(e => e.name),
		})`, &got)
		if got.Overflow > 0 || got.Mail != "mailto:me@example.org" {
			t.Errorf("%s: the page is %d pixels wider than the window, and its first link leads to %s", window.scheme, got.Overflow, got.Mail)
		}
		for _, from := range got.Loaded {
			if !strings.HasPrefix(from, page) {
				t.Errorf("%s: the page asks for %s", window.scheme, from)
			}
		}
		grounds[window.scheme] = got.Ground
	}
	if grounds["light"] == grounds["dark"] {
		t.Errorf("light and dark have the same ground: %v", grounds)
	}
	if all := c.Complaints(); len(all) > 0 {
		t.Errorf("the browser complains:\n%s", strings.Join(all, "\n"))
	}
}

// checkPicture keeps a screenshot, and fails if it shows nothing.
func checkPicture(t *testing.T, data []byte, name string, width int) {
	t.Helper()
	file := filepath.Join(t.ArtifactDir(), name+".png")
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	picture, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	colours := make(map[[3]uint32]int)
	size := picture.Bounds()
	for y := size.Min.Y; y < size.Max.Y; y++ {
		for x := size.Min.X; x < size.Max.X; x++ {
			r, g, b, _ := picture.At(x, y).RGBA()
			colours[[3]uint32{r, g, b}]++
		}
	}
	most := 0
	for _, n := range colours {
		most = max(most, n)
	}
	share := float64(most) / float64(size.Dx()*size.Dy())
	t.Logf("%s: %d by %d pixels, %d colours, %.0f %% of one colour, in %s", name, size.Dx(), size.Dy(), len(colours), share*100, file)
	if size.Dx() != width || len(colours) < 50 || share > 0.99 {
		t.Errorf("%s: the picture looks blank", name)
	}
}

// A browser asks for HTTP/3 when an earlier answer has offered it, and then only
// for certificates of public CAs. The flag makes it ask at once; what it trusts
// is in its database, as above.
func TestABrowserSpeaksHTTP3(t *testing.T) {
	r := up(t)
	base, err := url.Parse(r.POPs[0].HTTPS)
	if err != nil {
		t.Fatal(err)
	}
	c := chromium.Start(t, chromium.Trust(t, r.CA), "--origin-to-force-quic-on="+base.Host)
	c.Navigate(base.String() + "/")
	var protocols []string
	c.Evaluate(`[...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
		.map(e => e.nextHopProtocol + " " + new URL(e.name).pathname)`, &protocols)
	t.Logf("%q", protocols)
	if len(protocols) < 3 {
		t.Errorf("%d answers, want those of the page, its style and its script", len(protocols))
	}
	for _, p := range protocols {
		if !strings.HasPrefix(p, "h3 ") {
			t.Errorf("not over HTTP/3: %s", p)
		}
	}
	const sentence = "This page came from Sydney (au) over HTTP/3"
	var says string
	for deadline := time.Now().Add(chromium.Limit); !strings.Contains(says, sentence) && time.Now().Before(deadline); {
		c.Evaluate("document.body.innerText", &says) // its script is told of the answer a little later
	}
	if !strings.Contains(says, sentence) {
		t.Errorf("the page does not say %q", sentence)
	}
	if all := c.Complaints(); len(all) > 0 {
		t.Errorf("the browser complains:\n%s", strings.Join(all, "\n"))
	}
}
