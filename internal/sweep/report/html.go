package report

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"
)

//go:embed page.tmpl
var pageTemplate string

//go:embed page.css
var pageStyle string

// A page is what page.tmpl shows.
type page struct {
	Policy          string
	Style           template.CSS
	Title, Subtitle string
	Identity, Key   []fact
	Parts           []part
	Stack           template.HTML
	More            string // about the classes
	Classes         []chartLine
	Verdicts        chartTable
	Definitions     []chartTable
	Answers         []chartTable
	Phases          []phaseLine
	TLS             []chartTable
	Soonest         []fact
	Who             []chartTable
	Running, Trust  []fact
	Tries           *chartTable
	BadLines        []fact
	Bills           []pageBill
}

type (
	part       struct{ Anchor, Name string }
	chartTable struct {
		Title, What, Note string
		Rows              []chartLine
	}
	chartLine struct {
		line
		Bar, Swatch template.HTML
	}
	phaseLine struct {
		phase
		Curve template.HTML
	}
	pageBill struct {
		billLine
		Sentence string
	}
)

// WriteHTML writes the report as one page, which needs nothing else: no script, no
// picture, no font. Its policy (CSP) lets it load nothing, and apply no style but
// its own.
func (r *Report) WriteHTML(w io.Writer) error {
	t, err := template.New("page").Parse(pageTemplate)
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	if err := t.Execute(w, r.page()); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

func (r *Report) page() *page {
	s := r.Summary
	hash := sha256.Sum256([]byte(pageStyle))
	p := &page{
		Policy: "default-src 'none'; img-src data:; style-src 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) + "'; base-uri 'none'; form-action 'none'",
		Style:  template.CSS(pageStyle), //nolint:gosec // our own file
		Title:  "Sweep of " + number(s.Targets) + " targets", Subtitle: r.subtitle(),
		Identity: r.identity(), Key: r.key(), Running: r.running(), Trust: r.trust(), BadLines: r.badLines(),
		Stack: stack(r.classes()), More: r.more(),
		Verdicts: charted("Verdicts", "verdict", "", r.verdicts()),
	}
	for _, l := range r.classes() {
		p.Classes = append(p.Classes, chartLine{line: l, Swatch: swatch(l.Class)})
	}
	for _, d := range r.definitions() {
		p.Definitions = append(p.Definitions, charted(d.Name, "class", "", d.Lines))
	}
	p.Answers = some(
		charted("Status of the last answer", "status", "", r.statuses()),
		charted("Types of content", "type", doubt(&s.ContentTypes), names(&s.ContentTypes, topNames)),
		charted("Redirects", "of chains", "", r.redirects()),
	)
	for _, one := range r.phases() {
		p.Phases = append(p.Phases, phaseLine{one, curve(one)})
	}
	p.TLS = some(charted("Versions", "version", "", r.tlsVersions()), charted("Certificates", "when seen", "", r.certificates()))
	for _, c := range s.Certificates.Soonest[:min(topNames, len(s.Certificates.Soonest))] {
		p.Soonest = append(p.Soonest, fact{plain(c.Target, 60), c.NotAfter.UTC().Format(time.DateOnly)})
	}
	p.Who = some(
		charted("Servers", "calls itself", doubt(&s.Servers), names(&s.Servers, topNames)),
		charted("Networks", "/24 or /48", doubt(&s.Networks), names(&s.Networks, topNames)),
	)
	if lines := r.triesATarget(); len(lines) > 0 {
		tries := charted("Tries a target", "tries", "", lines)
		p.Tries = &tries
	}
	for _, b := range r.bills() {
		sentence := plain(b.String(), 200)
		p.Bills = append(p.Bills, pageBill{b, strings.ToUpper(sentence[:1]) + sentence[1:]})
	}
	p.Parts = p.parts()
	return p
}

func (r *Report) subtitle() string {
	s := fmt.Sprintf("%s gave an HTTP answer.", share(r.Summary.Answered, r.Summary.Targets))
	if r.Summary.Targets == 0 {
		s = "There are no rows yet."
	}
	if r.Summary.Suspect > 0 {
		s += fmt.Sprintf(" %s rows are suspect: our own line was in doubt.", number(r.Summary.Suspect))
	}
	return s
}

// parts are the sections that there are.
func (p *page) parts() []part {
	all := []part{{"targets", "Targets"}}
	for _, one := range []struct {
		there bool
		part
	}{
		{len(p.Definitions) > 0, part{"definitions", "Dead?"}},
		{len(p.Answers) > 0, part{"answers", "Answers"}},
		{len(p.Phases) > 0, part{"phases", "Time"}},
		{len(p.TLS) > 0, part{"tls", "TLS"}},
		{len(p.Who) > 0, part{"who", "Servers and networks"}},
		{true, part{"run", "The run"}},
		{len(p.Bills) > 0, part{"bill", "The bill"}},
	} {
		if one.there {
			all = append(all, one.part)
		}
	}
	return all
}

// charted are lines with bars that are relative to the longest.
func charted(title, what, note string, lines []line) chartTable {
	s := chartTable{Title: title, What: what, Note: note}
	for _, l := range lines {
		s.Rows = append(s.Rows, chartLine{line: l, Bar: bar(l)})
	}
	return s
}

// some are those sections that have lines.
func some(all ...chartTable) []chartTable {
	var out []chartTable
	for _, s := range all {
		if len(s.Rows) > 0 {
			out = append(out, s)
		}
	}
	return out
}
