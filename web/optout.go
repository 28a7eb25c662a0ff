package web

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"net/url"
	"strconv"
	"strings"
)

//go:embed optout/*
var optoutFiles embed.FS

// OptoutData is what the page for those who were asked by a sweep tells.
type OptoutData struct {
	Host    string // of the page
	Contact string // a mailto: or https: URL
	Agent   string // what every request has as its User-Agent

	HTTPS   string // first, only, never or both
	WWW     bool   // the name with www., or without, is asked too where it does not answer
	Follow  int    // redirects
	Retries int
	Method  string // GET or HEAD
	Body    int    // bytes of a body that are read; 0: what a title needs
	Robots  bool   // robots.txt is obeyed

	AddressRate, NetworkRate, DomainRate float64 // requests a second; 0: no limit
}

// WriteOptout writes the site with the opt-out page into dir (which exists), as
// [WriteWelcome] does. It needs a contact that a browser can follow.
func WriteOptout(dir string, d OptoutData) error {
	files, err := renderOptout(d)
	if err != nil {
		return fmt.Errorf("render the opt-out page: %w", err)
	}
	if err := writeFiles(dir, files); err != nil {
		return fmt.Errorf("write the opt-out page: %w", err)
	}
	return nil
}

// optoutPage is what the templates see.
type optoutPage struct {
	OptoutData
	Title       string
	Home        bool
	Style       string // a file's name
	ContactText string
	What, Often []string // sentences
}

func renderOptout(d OptoutData) (map[string][]byte, error) {
	u, err := url.Parse(d.Contact)
	if err != nil || u.Scheme != "https" && u.Scheme != "mailto" {
		return nil, fmt.Errorf("the contact %q is neither a mailto: nor an https: URL", d.Contact)
	}
	if d.Host == "" {
		return nil, errors.New("the page has no host")
	}
	templates, err := template.ParseFS(optoutFiles, "optout/*.tmpl")
	if err != nil {
		return nil, err
	}
	css := mustRead(welcomeFiles, "welcome/style.css")
	style := fingerprinted("style.css", css)
	files := map[string][]byte{
		style: css, "favicon.svg": mustRead(welcomeFiles, "welcome/favicon.svg"), "_headers": mustRead(optoutFiles, "optout/_headers"),
	}
	p := optoutPage{OptoutData: d, Style: style, ContactText: strings.TrimPrefix(d.Contact, "mailto:"), What: whatIsAsked(d), Often: howOften(d)}
	for name, title := range map[string]string{"index": "Who asked your server: " + d.Host, "404": "Not found: " + d.Host} {
		p.Title, p.Home = title, name == "index"
		var out bytes.Buffer
		if err := templates.ExecuteTemplate(&out, name, p); err != nil {
			return nil, err
		}
		files[name+".html"] = out.Bytes()
	}
	return files, nil
}

// whatIsAsked says what requests a sweep sends.
func whatIsAsked(d OptoutData) []string {
	how := map[string]string{
		"first": "over HTTPS, and over HTTP only if that does not answer", "only": "over HTTPS", "never": "over HTTP", "both": "over HTTPS and over HTTP",
	}[d.HTTPS]
	page := "The front page of a name, " + how + ", with one " + d.Method + " request each."
	if d.WWW {
		page += " If none is answered, the same with www. before the name, or without it."
	}
	all := []string{page}
	if d.Follow > 0 {
		redirects := "one redirect"
		if d.Follow > 1 {
			redirects = fmt.Sprintf("%d redirects", d.Follow)
		}
		all = append(all, "Where a redirect leads, up to "+redirects+". No other links, no forms, no logins.")
	} else {
		all = append(all, "No redirects, no links, no forms, no logins.")
	}
	switch {
	case d.Method == "HEAD":
		all = append(all, "We keep the head of the answer, and how long it took.")
	case d.Body == 0:
		all = append(all, "We keep the head of the answer, how long it took, and the page's title. We read no more of a page than that needs.")
	default:
		all = append(all, fmt.Sprintf("We keep the head of the answer, how long it took, the page's title, and a hash of its first %d bytes. We read no more of it.", d.Body))
	}
	if d.Robots {
		return append(all, "robots.txt comes first, and we do as it says (RFC 9309). To it we are penny.")
	}
	return append(all, "We do not ask for robots.txt: we look at one page, and do not crawl.")
}

// howOften says how fast a sweep is.
func howOften(d OptoutData) []string {
	once := "Once a name in each run."
	if d.Retries > 0 {
		more := "once more"
		if d.Retries > 1 {
			more = fmt.Sprintf("up to %d times more", d.Retries)
		}
		once = "Once a name in each run, and " + more + " when what went wrong may pass, such as a timeout."
	}
	all := []string{once}
	for _, limit := range []struct {
		rate float64
		of   string
	}{{d.AddressRate, "one address"}, {d.NetworkRate, "one network (/24, or /48 with IPv6)"}, {d.DomainRate, "one registered domain"}} {
		if limit.rate > 0 {
			all = append(all, fmt.Sprintf("At most %s to %s.", perTime(limit.rate), limit.of))
		}
	}
	return all
}

// perTime writes a rate in the largest unit that makes it at least one.
func perTime(perSecond float64) string {
	for _, unit := range []struct {
		name    string
		seconds float64
	}{{"second", 1}, {"minute", 60}} {
		if n := perSecond * unit.seconds; n >= 1 {
			return number(n) + " requests a " + unit.name
		}
	}
	return number(perSecond*3600) + " requests an hour"
}

func number(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }
