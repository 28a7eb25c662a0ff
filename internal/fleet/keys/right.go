package keys

import (
	"fmt"
	"strings"

	"pennyfarthing/internal/mistake"
)

// What a member may be given the right to do.
const (
	Deploy  = "deploy"  // releases, objects, leases and heads of one site, or of all
	Renew   = "renew"   // certificates of sites, and those of POPs
	Operate = "operate" // configuration, rosters, logs, collecting garbage
)

// A Right is one thing that a member may do. Reading the status of the fleet
// needs none.
type Right struct {
	What string // Deploy, Renew or Operate
	Site string // of Deploy: the only site for which it holds; "" for every site
}

// ParseRight reads "deploy", "deploy:example.org", "renew" or "operate".
func ParseRight(s string) (Right, error) {
	what, site, one := strings.Cut(s, ":")
	r := Right{what, site}
	if one && site == "" {
		return Right{}, &mistake.Error{What: fmt.Sprintf("%.300q names no site", s), Hint: "write deploy:example.org, or deploy for every site"}
	}
	if err := r.check(); err != nil {
		return Right{}, err
	}
	return r, nil
}

func (r Right) check() error {
	switch {
	case r.What != Deploy && r.What != Renew && r.What != Operate:
		return &mistake.Error{
			What: fmt.Sprintf("%.80q is not a right", r.String()),
			Hint: "write deploy:SITE, deploy, renew or operate",
		}
	case r.What != Deploy && r.Site != "":
		return &mistake.Error{What: fmt.Sprintf("the right to %s is not for one site", r.What), Hint: "write " + r.What}
	case r.Site == "":
		return nil
	}
	name, err := normalName(r.Site)
	if err != nil {
		return &mistake.Error{What: err.Error(), Hint: "write the site as penny.toml names it: deploy:example.org"}
	}
	if name != r.Site {
		return &mistake.Error{What: fmt.Sprintf("%.300q is not in its plain form", r.Site), Hint: "write deploy:" + name}
	}
	return nil
}

// Covers reports whether who has r has other as well.
func (r Right) Covers(other Right) bool {
	return r == other || r == Right{What: Deploy} && other.What == Deploy
}

// String returns what ParseRight reads.
func (r Right) String() string {
	if r.Site == "" {
		return r.What
	}
	return r.What + ":" + r.Site
}

// MarshalText returns what String does.
func (r Right) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads what [ParseRight] does.
func (r *Right) UnmarshalText(text []byte) error {
	parsed, err := ParseRight(string(text))
	if err != nil {
		return err
	}
	*r = parsed
	return nil
}
