package config_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"pennyfarthing/internal/fleet/config"
	"pennyfarthing/internal/mistake"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func addrs(list ...string) []netip.Addr {
	all := make([]netip.Addr, len(list))
	for i, s := range list {
		all[i] = netip.MustParseAddr(s)
	}
	return all
}

func at(line, column int) config.Position { return config.Position{Line: line, Column: column} }

func web(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestParseReadsEveryTableInTheOrderOfTheFile(t *testing.T) {
	for _, tc := range []struct {
		file string
		want *config.Fleet
	}{
		{"smallest.toml", &config.Fleet{
			Name:  "small",
			Certs: config.Certs{CA: "letsencrypt"},
			Watch: config.Watch{Every: 30 * time.Second},

			Retention: config.Retention{Releases: 10, Days: 7, Preview: 14 * 24 * time.Hour},
		}},
		{"linkedlist.toml", linkedlist(t)},
		{"everything.toml", everything(t)},
		{"sweep.toml", &config.Fleet{Name: "a", Certs: config.Certs{CA: "letsencrypt"}, Watch: config.Watch{Every: 30 * time.Second}, Sweep: sweep(), Retention: config.Retention{Releases: 10, Days: 7, Preview: 14 * 24 * time.Hour}}},
	} {
		t.Run(tc.file, func(t *testing.T) {
			src, err := os.ReadFile(filepath.Join("testdata", "right", tc.file))
			if err != nil {
				t.Fatal(err)
			}
			got, err := config.Parse(tc.file, src)
			if err != nil {
				t.Fatalf("Parse: %v", err)
			}
			tc.want.File = tc.file
			if diff := cmp.Diff(tc.want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}, netip.AddrPort{})); diff != "" {
				t.Errorf("the fleet differs (-want +got):\n%s", diff)
			}
		})
	}
}

func linkedlist(t *testing.T) *config.Fleet {
	t.Helper()
	return &config.Fleet{
		Name: "linkedlist",
		POPs: []config.POP{
			{
				Name: "au", Addresses: addrs("203.0.113.10", "2001:db8:a::10"), Place: "Sydney",
				Price:   config.Price{Micros: 5e6, Currency: "USD", Per: config.Month},
				Default: true, Beside: "127.0.0.1:8443", Line: 4,
			},
			{
				Name: "ny", Addresses: addrs("198.51.100.20"), Place: "New York",
				Price: config.Price{Micros: 12e6, Currency: "USD", Per: config.Year}, Line: 11,
			},
			{
				Name: "fr", Addresses: addrs("192.0.2.30"), Place: "Strasbourg",
				Price: config.Price{Micros: 12e6, Currency: "USD", Per: config.Year}, Line: 16,
			},
		},
		Sites: []config.Site{
			{Name: "linkedlist.org", Files: "./public", FilesAt: at(22, 9), Dialect: "netlify", Line: 21},
			{Name: "app.linkedlist.org", App: &config.App{
				Build: "make linkedlistd GOARCH=$ARCH", Run: "./linkedlistd",
				Files: "./content", FilesAt: at(25, 83), Health: "/healthz",
			}, Dialect: "netlify", Cache: true, Line: 24},
			{Name: "img.linkedlist.org", Origin: web(t, "https://bucket.example.net"), Dialect: "netlify", Cache: true, Line: 28},
		},
		Steer: config.Steer{
			Continents: map[string]string{"NA": "ny", "EU": "fr", "AF": "fr", "SA": "fr"},
			Countries:  map[string]string{},
		},
		Certs: config.Certs{Email: "me@example.org", CA: "letsencrypt"},
		Watch: config.Watch{Every: 30 * time.Second, Alert: []config.AlertURL{"ntfy://ntfy.sh/my-topic"}},
		Sweep: config.Sweep{Contact: "mailto:me@example.org", OptOut: "bot.linkedlist.org"},

		Retention: config.Retention{Releases: 10, Days: 7, Preview: 14 * 24 * time.Hour},
	}
}

func everything(t *testing.T) *config.Fleet {
	t.Helper()
	return &config.Fleet{
		Name: "every-thing",
		POPs: []config.POP{
			{
				Name: "b", Addresses: addrs("2001:db8::1", "192.0.2.1"), Bind: addrs("::"), SSH: "root@192.0.2.1",
				Price: config.Price{Micros: 5900, Currency: "EUR", Per: config.Hour}, Line: 20,
			},
			{Name: "a", Addresses: addrs("127.0.0.1"), Beside: "[::1]:8443", Line: 29},
		},
		Sites: []config.Site{
			{
				Name: "example.org", Hosts: []string{"www.example.org", "xn--bcher-kva.example"},
				Files: "/srv/www", FilesAt: at(7, 11), Dialect: "cloudflare", HSTS: 365 * 24 * time.Hour, Line: 5,
			},
			{Name: "app.example.org", App: &config.App{Run: "./server --port $PORT\n"}, Dialect: "netlify", Line: 11},
			{Name: "img.example.org", Origin: web(t, "http://10.0.0.9:9000/bucket"), Dialect: "netlify", Line: 17},
		},
		Edge: config.Edge{
			TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::7/128")},
			ProxyProtocol:  true,
			Limits:         config.Limits{HeaderBytes: 32768, IdleTimeout: 2 * time.Minute, MinRate: 1000},
		},
		Steer: config.Steer{
			Continents: map[string]string{"EU": "a"},
			Countries:  map[string]string{"SA": "b", "US": "b"},
		},
		Certs:  config.Certs{CA: "https://127.0.0.1:14000/dir"},
		Watch:  config.Watch{Every: 90 * time.Second},
		Health: config.Health{Outside: []string{"one.one.one.one:443", "9.9.9.9:443"}},

		Retention: config.Retention{Releases: 3, Days: 30, Preview: 60 * time.Hour},
	}
}

func sweep() config.Sweep {
	return config.Sweep{
		Contact: "https://example.org/bot", Agent: "examplebot/1.0", OptOut: "bot.example.org", OptOutList: "lists/optout.txt",
		Block: []string{"block.txt", "/etc/penny/block.txt"}, Robots: new(true), AllowPrivate: true,
		HTTPS: "both", WWW: new(false), Follow: new(0), Retries: new(0), Method: "HEAD", Body: 65536, Ports: map[uint16]uint16{80: 18080, 443: 18443},
		Column: "domain", Definitions: []string{"strict", `nameless=verdict startsWith "dns."`}, Output: "run", Format: "jsonl",
		Concurrency: 15_000, DNSConcurrency: 500, Rate: new(5000.0), PerAddress: new(1.5), PerNetwork: new(2.0), PerDomain: new(0.0), PerResolver: new(0.0), NoPacing: true,
		Timeout: config.Timeouts{Connect: 2 * time.Second, FirstByte: time.Minute},
		Resolvers: []netip.AddrPort{
			netip.MustParseAddrPort("127.0.0.1:53"), netip.MustParseAddrPort("[::1]:53"), netip.MustParseAddrPort("[::1]:5300"), netip.MustParseAddrPort("192.0.2.53:5353"),
		},
		Controls: []string{"https://www.example.org/", "http://192.0.2.1:8080/health"}, Engine: "plain", Queue: "local", Metrics: ":9100",
		Vantage: "sydney", Roots: "ca.pem", Prices: "prices.toml",
	}
}

// show returns mistakes as the command line shows them.
func show(err error) []byte {
	var b bytes.Buffer
	for _, e := range mistake.Of(err) {
		fmt.Fprintln(&b, e)
		if e.Hint != "" {
			fmt.Fprintf(&b, "\thint: %s\n", e.Hint)
		}
	}
	return b.Bytes()
}

func TestParseReportsEveryMistakeWithItsPlaceAndHint(t *testing.T) {
	files, err := filepath.Glob("testdata/wrong/*.toml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		t.Run(strings.TrimSuffix(name, ".toml"), func(t *testing.T) {
			src, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			f, err := config.Parse(name, src)
			if f != nil {
				t.Errorf("there is a fleet beside the mistakes: %+v", f)
			}
			got := show(err)
			golden := strings.TrimSuffix(file, ".toml") + ".txt"
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("the mistakes differ (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseReportsThreeMistakesInTheOrderOfTheFile(t *testing.T) {
	src := "fleet = \"a\"\n\n[pops.au]\nadresses = [\"203.0.113.10\"]\naddresses = [\"203.0.113.11\"]\nplace = 5\n\n[watch]\nevery = \"1x\"\n"
	_, err := config.Parse("penny.toml", []byte(src))
	want := []string{
		"penny.toml:4:1: unknown key `adresses` in [pops.au]",
		"penny.toml:6:9: `place`: expected a string, found the integer 5",
		"penny.toml:9:9: `every`: \"1x\" is not a duration",
	}
	var got []string
	for _, e := range mistake.Of(err) {
		got = append(got, e.Error())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the mistakes differ (-want +got):\n%s", diff)
	}
}

func TestParseNeverRepeatsSecretsInMistakes(t *testing.T) {
	src := `fleet = "a"
[watch]
alert = ["hush", "hush://"]
[sites."example.org"]
origin = "https://user:hush@example.net"
[sites."two.example.org"]
origin = "https://user:hush@example.net:x"
`
	_, err := config.Parse("penny.toml", []byte(src))
	if got := string(show(err)); err == nil || strings.Contains(got, "hush") {
		t.Errorf("the mistakes repeat a secret:\n%s", got)
	}
}

func TestParseRefusesAFileOverOneMebibyteByName(t *testing.T) {
	src := append([]byte("fleet = \"a\"\n#"), bytes.Repeat([]byte("a"), config.MaxSize)...)
	if _, err := config.Parse("penny.toml", src); !errors.Is(err, config.ErrTooLarge) {
		t.Errorf("Parse returned %v, want ErrTooLarge", err)
	}
	if _, err := config.Parse("penny.toml", src[:config.MaxSize]); err != nil {
		t.Errorf("Parse of a file of the largest size: %v", err)
	}
}

func TestParseReportsAHundredMistakesAtMost(t *testing.T) {
	src := "fleet = \"a\"\n" + strings.Repeat("k = 1\n", 1000)
	_, err := config.Parse("penny.toml", []byte(src))
	list := mistake.Of(err)
	if len(list) != 101 || list[100].What != "there are more mistakes than are worth showing" {
		t.Errorf("got %d mistakes, the last is %v", len(list), list[len(list)-1])
	}
}

func TestParseStaysBoundedWithHostileFiles(t *testing.T) {
	const n = config.MaxSize / 4
	for name, src := range map[string]string{
		"a deep header":       "[sites" + strings.Repeat(".a", n/2-10) + "]\nfiles = 'x'\n",
		"a deep key":          "sites" + strings.Repeat(".a", n/2-10) + " = 1\n",
		"a deep list":         "a = " + strings.Repeat("[", n-10),
		"deep braces":         strings.Repeat("a={", n/3),
		"many headers":        strings.Repeat("[a]\n", n/4),
		"many wrong lines":    strings.Repeat("a\n", n/2),
		"a long key":          strings.Repeat("a", n-10) + " = 1",
		"a long host":         "[sites.\"" + strings.Repeat("a.", n/2-10) + "\"]",
		"a long string":       "fleet = '" + strings.Repeat("a", n-10) + "'",
		"many items":          "[pops.a]\naddresses = [" + strings.Repeat("1,", n/2-30) + "]",
		"many lines of items": "[pops.a]\naddresses = [" + strings.Repeat("''\n,", n/4-30) + "]",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := config.Parse("penny.toml", []byte(src))
			if list := mistake.Of(err); len(list) == 0 {
				t.Errorf("no mistakes: %v", err)
			}
			if size := len(show(err)); size > 100_000 {
				t.Errorf("the messages have %d bytes", size)
			}
		})
	}
}

func TestLoadResolvesPathsAgainstTheDirectoryOfTheFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, config.FileName)
	src := "fleet = \"a\"\n[sites.\"a.example.org\"]\nfiles = \"./public\"\n[sites.\"b.example.org\"]\napp = { run = \"./b\", files = \"../content\" }\n[sites.\"c.example.org\"]\nfiles = \"/srv/c\"\n"
	if err := os.WriteFile(path, []byte(src), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := config.Load(path)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	got := []string{f.Dir, f.File, f.Sites[0].Files, f.Sites[1].App.Files, f.Sites[1].App.Run, f.Sites[2].Files}
	want := []string{dir, path, filepath.Join(dir, "public"), filepath.Join(filepath.Dir(dir), "content"), "./b", "/srv/c"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the paths differ (-want +got):\n%s", diff)
	}
	kinds := []config.Kind{f.Sites[0].Kind(), f.Sites[1].Kind()}
	if diff := cmp.Diff([]config.Kind{config.KindFiles, config.KindApp}, kinds); diff != "" {
		t.Errorf("the kinds differ (-want +got):\n%s", diff)
	}
}

func TestLoadSeesTheFilesOfSweepsFromTheFleetFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, config.FileName)
	src := "fleet = \"a\"\n[sweep]\noptout_list = \"o.txt\"\noutput = \"../run\"\nroots = \"ca.pem\"\nprices = \"/etc/prices.toml\"\nblock = [\"b.txt\", \"/etc/b.txt\"]\n"
	if err := os.WriteFile(path, []byte(src), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	s := f.Sweep
	got := append(s.Block, s.OptOutList, s.Output, s.Roots, s.Prices)
	want := []string{filepath.Join(dir, "b.txt"), "/etc/b.txt", filepath.Join(dir, "o.txt"), filepath.Join(filepath.Dir(dir), "run"), filepath.Join(dir, "ca.pem"), "/etc/prices.toml"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the paths differ (-want +got):\n%s", diff)
	}
}

func TestLoadOfNoFileIsErrNotExist(t *testing.T) {
	if _, err := config.Load(filepath.Join(t.TempDir(), config.FileName)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load returned %v, want fs.ErrNotExist", err)
	}
}

func TestLoadRefusesALargeFileWithoutReadingAllOfIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), config.FileName)
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 1<<40); err != nil {
		t.Skipf("no sparse files here: %v", err)
	}
	if _, err := config.Load(path); !errors.Is(err, config.ErrTooLarge) {
		t.Errorf("Load returned %v, want ErrTooLarge", err)
	}
}

func TestAlertURLPrintsAndMarshalsRedacted(t *testing.T) {
	a := config.AlertURL("telegram://hush@telegram?chats=hush")
	text, err := a.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintf("%v %s %q %+v %#v %s %v %v", a, a, a, a, a, text, a.LogValue(), struct{ A config.AlertURL }{a})
	if strings.Contains(got, "hush") || !strings.Contains(got, "telegram://(redacted)") {
		t.Errorf("printed as %s", got)
	}
	if a.Reveal() != string(a) {
		t.Errorf("Reveal returned %q", a.Reveal())
	}
}
