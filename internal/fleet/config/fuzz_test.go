package config_test

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pelletier/go-toml/v2"

	"pennyfarthing/internal/fleet/config"
	"pennyfarthing/internal/mistake"
)

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*/*.toml")
	if err != nil || len(files) == 0 {
		f.Fatalf("no files: %v", err)
	}
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(src)
	}
	f.Add(config.Template(config.TemplateOptions{}))
	f.Fuzz(func(t *testing.T, src []byte) {
		var tree map[string]any
		notTOML := toml.Unmarshal(bytes.TrimPrefix(src, []byte("\ufeff")), &tree)
		fleet, err := config.Parse("penny.toml", src)
		if err != nil {
			checkPlaces(t, src, mistake.Of(err))
			if notTOML == nil {
				checkNothingTwice(t, mistake.Of(err))
			}
			return
		}
		if notTOML != nil {
			t.Errorf("Parse takes what is not TOML: %v", notTOML)
		}
		checkFleet(t, fleet)
	})
}

// checkPlaces expects every mistake to be at a place of the file.
func checkPlaces(t *testing.T, src []byte, list mistake.List) {
	t.Helper()
	if len(list) == 0 && len(src) <= config.MaxSize {
		t.Error("the error carries no mistakes")
	}
	lines := bytes.Split(src, []byte("\n"))
	for _, e := range list {
		if e.Line < 1 || e.Line > len(lines) || e.Column < 1 || e.Column > len(lines[e.Line-1])+1 {
			t.Errorf("not a place of the file: %v", e)
		}
		if e.What == "" || strings.ContainsAny(e.What+e.Hint, "\n\r\x00") {
			t.Errorf("not one line of text: %q, %q", e.What, e.Hint)
		}
	}
}

// checkNothingTwice expects no mistake that says a key or table is there twice:
// the list is for a text that is TOML.
func checkNothingTwice(t *testing.T, list mistake.List) {
	t.Helper()
	for _, e := range list {
		if strings.Contains(e.What, "; first on line") || strings.Contains(e.What, "was set on line") {
			t.Errorf("in a text that is TOML: %v", e)
		}
	}
}

// checkFleet expects what the types of a fleet promise.
func checkFleet(t *testing.T, f *config.Fleet) {
	t.Helper()
	if f.Name == "" || f.Certs.CA == "" || f.Watch.Every < time.Second {
		t.Errorf("name, authority or period is missing: %+v", f)
	}
	names, seen, defaults := make(map[string]bool), make(map[netip.Addr]bool), 0
	for _, p := range f.POPs {
		if names[p.Name] || p.Name == "" || len(p.Addresses) == 0 || p.Line < 1 {
			t.Errorf("not a POP: %+v", p)
		}
		names[p.Name] = true
		for _, a := range p.Addresses {
			if seen[a] || !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.Zone() != "" {
				t.Errorf("not an address of one POP: %v", a)
			}
			seen[a] = true
		}
		if p.Default {
			defaults++
		}
		if p.Price.Micros < 0 || !p.Price.IsZero() && len(p.Price.Currency) != 3 {
			t.Errorf("not a price: %+v", p.Price)
		}
	}
	if defaults > 1 {
		t.Errorf("there are %d default POPs", defaults)
	}
	for _, m := range []map[string]string{f.Steer.Continents, f.Steer.Countries} {
		for code, pop := range m {
			if len(code) != 2 || !names[pop] {
				t.Errorf("%q is steered to %q", code, pop)
			}
		}
	}
	checkSites(t, f)
	checkSweep(t, &f.Sweep)
	for _, site := range f.Sites {
		if f.Sweep.OptOut != "" && (site.Name == f.Sweep.OptOut || f.Sweep.Contact == "") {
			t.Errorf("not a page to opt out: %+v beside %+v", f.Sweep, site)
		}
	}
}

func checkSweep(t *testing.T, s *config.Sweep) {
	t.Helper()
	for _, rate := range []*float64{s.Rate, s.PerAddress, s.PerNetwork, s.PerDomain, s.PerResolver} {
		if rate != nil && !(*rate >= 0 && *rate <= 1e9) {
			t.Errorf("not a rate: %v", *rate)
		}
	}
	for from, to := range s.Ports {
		if from == 0 || to == 0 {
			t.Errorf("not ports: %d, %d", from, to)
		}
	}
	for _, r := range s.Resolvers {
		if !r.IsValid() || r.Port() == 0 {
			t.Errorf("not a resolver: %v", r)
		}
	}
	if s.Body < 0 || s.Follow != nil && *s.Follow < 0 || s.NoPacing && !s.AllowPrivate {
		t.Errorf("not a sweep: %+v", s)
	}
}

func checkSites(t *testing.T, f *config.Fleet) {
	t.Helper()
	hosts := make(map[string]bool)
	for _, s := range f.Sites {
		for _, h := range append([]string{s.Name}, s.Hosts...) {
			if hosts[h] || h == "" || h != strings.ToLower(h) {
				t.Errorf("not a host name of one site: %q", h)
			}
			hosts[h] = true
		}
		kinds := 0
		for _, has := range []bool{s.Files != "", s.App != nil, s.Origin != nil} {
			if has {
				kinds++
			}
		}
		if kinds != 1 || s.HSTS < 0 || s.HSTS%time.Second != 0 || s.Line < 1 {
			t.Errorf("not a site: %+v", s)
		}
		if s.App != nil && s.App.Run == "" || s.Origin != nil && (s.Origin.Host == "" || s.Origin.User != nil) {
			t.Errorf("not the content of a site: %+v", s)
		}
		if s.Dialect != config.DialectNetlify && s.Dialect != config.DialectCloudflare {
			t.Errorf("not a dialect: %q", s.Dialect)
		}
	}
}
