package config

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"
)

// uncommented returns a template with its settings switched on.
func uncommented(src []byte) []byte {
	return regexp.MustCompile(`(?m)^#([^ #\n])`).ReplaceAll(src, []byte("$1"))
}

func TestTemplateParsesToItsOptionsAndDefaults(t *testing.T) {
	for _, o := range []TemplateOptions{{}, {Fleet: "linkedlist", Site: "linkedlist.org", Files: "./out put"}} {
		got, err := Parse(FileName, Template(o))
		if err != nil {
			t.Fatalf("the template of %+v has mistakes:\n%v", o, err)
		}
		o = o.withDefaults()
		want := &Fleet{
			Name:  o.Fleet,
			Sites: []Site{{Name: o.Site, Files: o.Files, FilesAt: got.Sites[0].FilesAt, Dialect: DialectNetlify, Line: got.Sites[0].Line}},
			Certs: Certs{CA: LetsEncrypt},
			Watch: Watch{Every: 30 * time.Second},
			File:  FileName,

			Retention: Retention{Releases: 10, Days: 7, Preview: 14 * 24 * time.Hour},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("the fleet differs (-want +got):\n%s", diff)
		}
	}
}

func TestTemplateParsesWithEverythingSwitchedOn(t *testing.T) {
	src := uncommented(Template(TemplateOptions{}))
	f, err := Parse(FileName, src)
	if err != nil {
		t.Fatalf("mistakes:\n%v\n%s", err, src)
	}
	if len(f.POPs) != 2 || len(f.Sites) != 3 {
		t.Errorf("there are %d POPs and %d sites, want 2 and 3", len(f.POPs), len(f.Sites))
	}
}

func TestTemplateShowsEveryKey(t *testing.T) {
	root := readDocument(uncommented(Template(TemplateOptions{}))).root
	shown := make(map[string]bool)
	var walk func(path string, t *table)
	walk = func(path string, t *table) {
		for _, e := range t.entries {
			shown[path+" "+e.name] = true
			if e.value.kind != kindTable {
				continue
			}
			switch sub := strings.TrimPrefix(path+"."+e.name, "."); path {
			case "pops":
				walk("pops.NAME", e.value.table)
			case "sites":
				walk(`sites."HOST"`, e.value.table)
			default:
				walk(sub, e.value.table)
			}
		}
	}
	walk("", root)
	for _, k := range Keys() {
		if !shown[k.Table+" "+k.Name] {
			t.Errorf("the template does not show %s in [%s]", k.Name, k.Table)
		}
	}
}

func TestTemplateExplainsEverySettingInOneLineOfText(t *testing.T) {
	for i, line := range strings.Split(string(Template(TemplateOptions{})), "\n") {
		if len(line) > 110 || strings.HasSuffix(line, " ") || strings.Contains(line, "\t") {
			t.Errorf("line %d is hard to read: %q", i+1, line)
		}
	}
}

func TestTemplateWritesAnyTextSoThatTOMLReadsItBack(t *testing.T) {
	for _, s := range []string{`a"b`, `C:\public`, "two\nlines", "bell\a \x7f", "naïve {site} 🚲", "]\n#"} {
		var got struct {
			Fleet string
			Sites map[string]struct{ Files string }
		}
		if err := toml.Unmarshal(Template(TemplateOptions{Fleet: s, Site: s, Files: s}), &got); err != nil {
			t.Errorf("with %q it is not TOML: %v", s, err)
			continue
		}
		if got.Fleet != s || got.Sites[s].Files != s {
			t.Errorf("%q is read back as %q and %q", s, got.Fleet, got.Sites)
		}
	}
}
