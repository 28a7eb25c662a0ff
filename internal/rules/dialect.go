package rules

import (
	"fmt"
	"strconv"

	"pennyfarthing/internal/mistake"
)

// A Dialect says whose meaning the lines of a file have.
type Dialect uint8

const (
	// Netlify is the default: 301 unless a line says otherwise, content of the
	// site comes before a rule without "!", and a slash at the end of a path does
	// not count.
	Netlify Dialect = iota
	// Cloudflare stands for Cloudflare Pages: 302 unless a line says otherwise,
	// rules come before content, and paths are compared to the letter.
	Cloudflare
)

// String returns the name that ParseDialect reads.
func (d Dialect) String() string {
	switch d {
	case Netlify:
		return "netlify"
	case Cloudflare:
		return "cloudflare"
	}
	return "Dialect(" + strconv.Itoa(int(d)) + ")"
}

// ParseDialect returns the dialect of that name, or a *mistake.Error that has
// no place yet.
func ParseDialect(name string) (Dialect, error) {
	known := []string{Netlify.String(), Cloudflare.String()}
	for d, k := range known {
		if name == k {
			return Dialect(d), nil
		}
	}
	hint := `write "netlify" or "cloudflare"`
	if near, ok := mistake.Nearest(name, known); ok {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	return 0, &mistake.Error{What: fmt.Sprintf("dialect %q is not known", name), Hint: hint}
}
