package config

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const referenceFile = "../../../docs/fleet-file.md"

func TestReferenceIsWhatTheKeysSay(t *testing.T) {
	example, err := os.ReadFile("testdata/right/linkedlist.toml")
	if err != nil {
		t.Fatal(err)
	}
	got := reference(example)
	if flag.Lookup("update").Value.String() == "true" {
		if err := os.WriteFile(referenceFile, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(referenceFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("docs/fleet-file.md is not current; run the test with -update (-want +got):\n%s", diff)
	}
}

func TestEveryKeyIsDescribed(t *testing.T) {
	types := []string{"string", "list of strings", "duration", "integer", "true or false", "table", "duration or table"}
	for _, k := range Keys() {
		if !slices.Contains(types, k.Type) || k.Doc == "" || !strings.HasSuffix(k.Doc, ".") || k.Example == "" {
			t.Errorf("the description is not whole: %+v", k)
		}
		if k.Required && k.Default != "" {
			t.Errorf("`%s` is required and has a default", k.Name)
		}
	}
}

// TestExamplesAreRight puts the example of every key into a file of its own and
// expects no mistake at its line.
func TestExamplesAreRight(t *testing.T) {
	const rest = "[pops.ny]\naddresses = [\"192.0.2.1\"]\n[pops.fr]\naddresses = [\"192.0.2.2\"]\n"
	for _, k := range Keys() {
		table := strings.NewReplacer("NAME", "au", "HOST", "a.example.org").Replace(k.Table)
		header := "[" + table + "]\n"
		if table == "" {
			header = "\n"
		}
		src := header + k.Example + "\n"
		if table != "pops.au" && k.Example != "[pops.au]" {
			src += "[pops.au]\naddresses = [\"192.0.2.3\"]\n"
		}
		src += rest
		doc := readDocument([]byte(src))
		d := newDecoder(doc)
		d.decode(new(Fleet))
		for _, m := range d.mistakes {
			needsMore := strings.Contains(m.What, "missing") || strings.Contains(m.What, "nothing to") || strings.Contains(m.What, "without") || strings.Contains(m.What, "nothing listens")
			if !needsMore {
				t.Errorf("the example %q has a mistake: %v", k.Example, m)
			}
		}
	}
}

// reference returns docs/fleet-file.md.
func reference(example []byte) []byte {
	var b bytes.Buffer
	b.WriteString(`# The fleet file

<!-- Written by the tests of internal/fleet/config with -update: change the keys there. -->

` + "`penny.toml`" + ` says which machines serve, what they serve, and how. It is [TOML](https://toml.io), at most 1 MiB
of UTF-8. ` + "`penny init`" + ` writes a first one and ` + "`penny check`" + ` says what is wrong with yours.

It is read strictly. A key that nobody knows is a mistake, and so is a value that cannot be right; all mistakes are
shown at once, each with its line, its column and what to write instead.

* Only ` + "`fleet`" + ` must be there. A fleet without POPs can be tried on your own machine; one without sites shows the
  welcome page.
* Paths are seen from the directory of the file. Nothing in them is expanded.
* Durations are numbers with units: ` + "`ms`, `s`, `m`, `h`, `d`, `w` (7 days) and `y` (365 days), as in `\"1h30m\"`" + `.
* Host names are ASCII, in any case. Write an international name in its ` + "`xn--`" + ` form. Names with dots need quotes
  in a header: ` + "`[sites.\"example.org\"]`" + `.
* No secret belongs here, except in the addresses of alerts; these are never printed.

## Example

` + "```toml\n" + string(example) + "```\n")
	table := "-"
	for _, k := range Keys() {
		if k.Table != table {
			table = k.Table
			b.WriteString(sectionHead(table))
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | `%s` |\n", k.Name, k.Type, defaultText(k), cell(k.Doc), cell(k.Example))
	}
	return b.Bytes()
}

// sectionHead returns what stands before the keys of a table.
func sectionHead(table string) string {
	title, doc := "The top of the file", ""
	if table != "" {
		title = "`[" + table + "]`"
	}
	for _, k := range Keys() {
		own := strings.TrimPrefix(k.Table+"."+k.Name, ".")
		if table == own || table == own+".NAME" || table == own+`."HOST"` {
			doc = k.Doc + "\n\n"
		}
	}
	return "\n## " + title + "\n\n" + doc + "| key | type | default | meaning | example |\n|---|---|---|---|---|\n"
}

func defaultText(k Key) string {
	switch {
	case k.Required:
		return "required"
	case k.Default == "":
		return "one of three"
	}
	return k.Default
}

// cell escapes what would end a cell of a Markdown table.
func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
