// Package web holds what people look at in a browser: the welcome site, which `penny up` serves when it is given no site, a few pages
// that say what is running and how to try it; and the page for those whom a sweep asked, which says who asks and how to opt out.
//
// Both are plain files in a directory, like every other site that a POP serves, so they also show what such a directory may hold.
// Whatever the caller hands in may hold any bytes: it is escaped for HTML, and quoted for the shell inside commands. The pages ask
// nobody but the POP that served them, and their Content-Security-Policy lets them do nothing else.
package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

//go:embed welcome/*
var welcomeFiles embed.FS

// WelcomeData is what the welcome site tells about the running fleet.
type WelcomeData struct {
	Version string       // of penny; may be empty
	POPs    []WelcomePOP // at least one, each with an HTTPS address
	Sites   []string     // names of the sites served; may be empty
	CAFile  string       // path of the private CA's certificate in PEM; empty when the certificates need none

	// TrustHint says how a browser or the system learns to trust CAFile: lines of one block that a reader can copy, best commands,
	// with words in # comments. May be empty.
	TrustHint []string
}

// WelcomePOP is one row of the table of POPs.
type WelcomePOP struct {
	Name  string // "au"
	Place string // "Sydney"; may be empty
	HTTPS string // base URL, "https://localhost:8441", with or without the slash
	HTTP  string // base URL of the plain port; may be empty
}

// WriteWelcome writes the welcome site into dir (which exists): static files and rendered pages. Files of the same names are
// replaced, others left alone. It writes nothing when d has mistakes, and then reports them all.
func WriteWelcome(dir string, d WelcomeData) error {
	files, err := renderWelcome(d)
	if err != nil {
		return fmt.Errorf("render the welcome site: %w", err)
	}
	if err := writeFiles(dir, files); err != nil {
		return fmt.Errorf("write the welcome site: %w", err)
	}
	return nil
}

func writeFiles(dir string, files map[string][]byte) error {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := os.WriteFile(filepath.Join(dir, name), files[name], 0o644); err != nil {
			return err
		}
	}
	return nil
}

func mustRead(files embed.FS, name string) []byte {
	content, err := files.ReadFile(name)
	if err != nil {
		panic(err) // the file is part of this package
	}
	return content
}

// page is what the templates see.
type page struct {
	WelcomeData
	Title, Description string
	Path               string // of the page itself, for the menu
	Style, Script      string // file names; Script is empty on pages that need none
	WelcomeScript      string // the script's file name, for the page that lists the files
	POPCount, Places   string // "Three POPs", "Sydney, New York and Strasbourg"
	Stage              string // why places mean little here
	Commands           []command
}

// renderWelcome makes the whole site in memory: file name to content.
func renderWelcome(d WelcomeData) (map[string][]byte, error) {
	d, err := d.checked()
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	read := func(name string) []byte { return mustRead(welcomeFiles, "welcome/"+name) }
	for _, name := range []string{"_headers", "_redirects", "favicon.svg"} {
		files[name] = read(name)
	}
	style := fingerprinted("style.css", read("style.css"))
	files[style] = read("style.css")
	script := fingerprinted("welcome.js", read("welcome.js"))
	files[script] = read("welcome.js")

	templates, err := template.ParseFS(welcomeFiles, "welcome/*.tmpl")
	if err != nil {
		return nil, err
	}
	for _, p := range []struct{ template, title, description, path, script string }{
		{"index", "Pennyfarthing is running", "What is running on this machine, and how to try it.", "/", script},
		{"about", "How Pennyfarthing works", "What penny up starts, and what a site is made of.", "/about", ""},
		{"404", "Not found: Pennyfarthing", "There is no page at this address.", "", ""},
	} {
		var out bytes.Buffer
		err := templates.ExecuteTemplate(&out, p.template, page{
			WelcomeData: d, Title: p.title, Description: p.description, Path: p.path,
			Style: style, Script: p.script, WelcomeScript: script,
			POPCount: popCount(len(d.POPs)), Places: enumerate(places(d.POPs)), Stage: stage(len(d.POPs)),
			Commands: commands(d, style),
		})
		if err != nil {
			return nil, err
		}
		files[p.template+".html"] = out.Bytes()
	}
	return files, nil
}

// checked returns d with addresses in one form (no slash at the end), or every mistake in it.
func (d WelcomeData) checked() (WelcomeData, error) {
	var mistakes []error
	if len(d.POPs) == 0 {
		mistakes = append(mistakes, errors.New("no POPs"))
	}
	d.POPs = slices.Clone(d.POPs)
	for i := range d.POPs {
		p := &d.POPs[i]
		p.HTTPS, p.HTTP = strings.TrimRight(p.HTTPS, "/"), strings.TrimRight(p.HTTP, "/")
		if err := checkURL("https", p.HTTPS); err != nil {
			mistakes = append(mistakes, fmt.Errorf("POP %q: %w", p.Name, err))
		}
		if p.HTTP == "" {
			continue
		}
		if err := checkURL("http", p.HTTP); err != nil {
			mistakes = append(mistakes, fmt.Errorf("POP %q: %w", p.Name, err))
		}
	}
	return d, errors.Join(mistakes...)
}

func checkURL(scheme, raw string) error {
	u, err := url.Parse(raw)
	if err != nil {
		return err
	}
	if u.Scheme != scheme || u.Host == "" {
		return fmt.Errorf("%q is not an absolute %s URL", raw, scheme)
	}
	return nil
}

// fingerprinted puts eight hexadecimal digits of the content's hash into a file name. Tools tell such a name from a word or a date by its
// having both letters and digits, so the first eight of the hash that have both are taken.
func fingerprinted(name string, content []byte) string {
	const n = 8
	sum := sha256.Sum256(content)
	hash := hex.EncodeToString(sum[:])
	digits := hash[:n]
	for i := 0; i+n <= len(hash); i++ {
		if s := hash[i : i+n]; strings.ContainsAny(s, "abcdef") && strings.ContainsAny(s, "0123456789") {
			digits = s
			break
		}
	}
	ext := filepath.Ext(name)
	return strings.TrimSuffix(name, ext) + "." + digits + ext
}

func places(pops []WelcomePOP) []string {
	var names []string
	for _, p := range pops {
		if p.Place != "" {
			names = append(names, p.Place)
		}
	}
	return names
}

// enumerate joins words as a sentence does: "a, b and c".
func enumerate(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " and " + words[last]
}

func popCount(n int) string {
	words := []string{"No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine"}
	number := fmt.Sprint(n)
	if n < len(words) {
		number = words[n]
	}
	if n == 1 {
		return number + " POP"
	}
	return number + " POPs"
}

func stage(pops int) string {
	if pops == 1 {
		return "The POP's place is only a name here."
	}
	return "The POPs share one process, so none of them is farther away than another, whatever its place is called."
}
