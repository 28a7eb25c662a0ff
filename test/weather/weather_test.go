// Package weather_test asks penny for a thousand files over a line that loses
// packets and takes its time: a browser and Go's clients, over every version of
// HTTP, and every byte must be right.
package weather_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pennyfarthing/test/chromium"
	"pennyfarthing/test/link"
	"pennyfarthing/test/program"
)

// penny is the program that all tests here run.
var penny string

func TestMain(m *testing.M) { os.Exit(program.Main(m, &penny)) }

// weather is a bad mobile line: of a hundred packets two are lost, each way.
var weather = link.Options{Delay: 40 * time.Millisecond, Loss: 0.02, Rate: 20_000_000, Queue: 128 << 10}

var engines = []string{"plain", "fast"}

const (
	files = 1000
	limit = 3 * time.Minute // for all of them
)

// A site is a directory of files, and what is in it.
type site struct {
	dir   string
	names []string
	sizes map[string]int
	sums  map[string]string // SHA-256, in hexadecimal
	bytes int
}

// newSite writes a thousand files of many sizes, the same in every run. One in
// four is text, which penny compresses.
func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{dir: t.TempDir(), sizes: make(map[string]int), sums: make(map[string]string)}
	random := rand.NewChaCha8([32]byte{'w', 'e', 't'})
	for i := range files {
		data := make([]byte, size(i))
		_, _ = random.Read(data) // never fails
		kind := "bin"
		if i%4 == 0 {
			kind = "txt"
			for j := range data {
				data[j] = "etaoin shrdlu\n.."[data[j]%16]
			}
		}
		s.add(t, fmt.Sprintf("%03d.%s", i, kind), data)
	}
	page := "<!DOCTYPE html><title>A thousand files</title><link rel=icon href=data:,><script>" + script + "</script>"
	if err := os.WriteFile(filepath.Join(s.dir, "index.html"), []byte(page), 0o644); err != nil {
		t.Fatal(err)
	}
	return s
}

// size returns how long the file of a number is: most are short, some stand
// around the sizes of frames, records and buffers, and a few are long.
func size(i int) int {
	switch {
	case i%500 == 7:
		return 200 << 10
	case i%300 == 8:
		return 64<<10 - 1 + i/300%3
	case i%40 == 9:
		return 16<<10 - 1 + i/40%3
	case i%20 == 10:
		return link.MTU - 60 + i/20
	case i%50 == 11:
		return 0
	}
	return i * 7 % 1024
}

func (s *site) add(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), data, 0o644); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	s.names = append(s.names, name)
	s.sizes[name], s.sums[name] = len(data), hex.EncodeToString(sum[:])
	s.bytes += len(data)
}

// compare fails for every file that is not as it is on disk.
func (s *site) compare(t *testing.T, got []file) {
	t.Helper()
	if len(got) != len(s.names) {
		t.Errorf("%d files came, want %d", len(got), len(s.names))
	}
	seen := make(map[string]bool)
	for _, f := range got {
		switch {
		case f.Error != "" || f.Status != 200:
			t.Errorf("%s: status %d %s", f.Name, f.Status, f.Error)
		case f.Size != s.sizes[f.Name] || f.Sum != s.sums[f.Name]:
			t.Errorf("%s: %d bytes with the sum %s came, want %d with %s", f.Name, f.Size, f.Sum, s.sizes[f.Name], s.sums[f.Name])
		case seen[f.Name]:
			t.Errorf("%s came twice", f.Name)
		}
		seen[f.Name] = true
	}
}

// A file is what a client got.
type file struct {
	Name     string `json:"name"`
	Status   int    `json:"status"`
	Size     int    `json:"size"`
	Sum      string `json:"sum"`
	Protocol string `json:"protocol"` // as the client calls it
	Error    string `json:"error"`
}

// script fetches files, fifty at a time, and keeps what came in outcome.
const script = `
	performance.setResourceTimingBufferSize(10000);
	let outcome = null;
	async function one(name) {
		try {
			const answer = await fetch(name, {cache: "no-store"});
			const data = await answer.arrayBuffer();
			const sum = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
			return {name, status: answer.status, size: data.byteLength,
				sum: Array.from(sum, b => b.toString(16).padStart(2, "0")).join("")};
		} catch (error) {
			return {name, error: String(error)};
		}
	}
	async function fetchAll(names) {
		const all = [];
		const worker = async () => {
			while (names.length > 0) all.push(await one(names.shift()));
		};
		await Promise.all(Array.from({length: 50}, worker));
		const entries = performance.getEntriesByType("resource").concat(performance.getEntriesByType("navigation"));
		const protocols = new Map(entries.map(e => [new URL(e.name).pathname.slice(1), e.nextHopProtocol]));
		for (const f of all) f.protocol = protocols.get(f.name) ?? "no entry";
		outcome = all;
	}`

// protocols are the versions of HTTP: their names in a browser, which are those
// of ALPN, with the flags that leave it no other, and in Go.
var protocols = []struct {
	alpn, inGo string
	flags      []string
}{
	{"http/1.1", "HTTP/1.1", []string{"--disable-http2", "--disable-quic"}},
	{"h2", "HTTP/2.0", []string{"--disable-quic"}},
	{"h3", "HTTP/3.0", []string{"--origin-to-force-quic-on="}}, // a host comes behind it
}

func TestABrowserFetchesAThousandFilesOverABadLine(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute; make test runs it")
	}
	s := newSite(t)
	for i, engine := range engines {
		for j, protocol := range protocols {
			t.Run(engine+" "+protocol.alpn, func(t *testing.T) {
				t.Parallel()
				l, url, ca := serve(t, s, engine, (*link.Host).At4, uint64(10*i+j+1))
				flags := append([]string(nil), protocol.flags...)
				if protocol.alpn == "h3" {
					flags[0] += l.Server.At4(443)
				}
				home := chromium.Trust(t, ca)
				var c *chromium.Browser
				l.Client.Do(func() { c = chromium.Start(t, home, flags...) })
				start := time.Now()
				got := fetchAll(t, c, url, s.names)
				report(t, l, s, start)
				s.compare(t, got)
				for _, f := range got {
					if f.Error == "" && f.Protocol != protocol.alpn {
						t.Errorf("%s came over %s, want %s", f.Name, f.Protocol, protocol.alpn)
					}
				}
				if all := c.Complaints(); len(all) > 0 {
					t.Errorf("the browser complains:\n%s", strings.Join(all, "\n"))
				}
			})
		}
	}
}

// fetchAll lets a page fetch all files.
func fetchAll(t *testing.T, c *chromium.Browser, url string, names []string) []file {
	t.Helper()
	c.Navigate(url)
	list, err := json.Marshal(names)
	if err != nil {
		t.Fatal(err)
	}
	c.Evaluate(fmt.Sprintf("fetchAll(%s); 0", list), nil)
	var got []file
	for deadline := time.Now().Add(limit); got == nil; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the files have not all come in %v", limit)
		}
		c.Complaints() // makes room for more
		c.Evaluate("outcome", &got)
	}
	return got
}

// serve makes a link and runs penny at its far end.
func serve(t *testing.T, s *site, engine string, at func(*link.Host, int) string, seed uint64) (l *link.Link, url, ca string) {
	t.Helper()
	o := weather
	o.Seed = seed
	l = link.New(t, o)
	var p *program.Process
	l.Server.Do(func() {
		p = program.Start(t, penny, "serve", s.dir, "--json", "--tls", "--engine", engine, "--listen", at(l.Server, 443), "--admin", "")
	})
	var serving struct {
		URL string `json:"url"`
		CA  string `json:"ca"`
	}
	p.JSON(&serving)
	return l, serving.URL, serving.CA
}

// report logs what a client has had to bear, and fails if that was nothing.
func report(t *testing.T, l *link.Link, s *site, start time.Time) {
	t.Helper()
	up, down := l.Up(), l.Down()
	t.Logf("%d files, %d bytes, in %v; sent by the client: %+v, by the server: %+v", len(s.names), s.bytes,
		time.Since(start).Round(time.Millisecond), up, down)
	if up.Lost == 0 || down.Lost == 0 {
		t.Error("no packet was lost")
	}
}
