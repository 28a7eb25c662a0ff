package config

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// FileName is what the fleet file is called.
const FileName = "penny.toml"

// MaxSize is how large a fleet file may be, in bytes.
const MaxSize = 1 << 20

// ErrTooLarge says that a fleet file is larger than [MaxSize].
var ErrTooLarge = errors.New("the fleet file is larger than 1 MiB")

// A Fleet is what a fleet file says.
type Fleet struct {
	Name  string
	POPs  []POP  // in the order of the file; may be empty
	Sites []Site // in the order of the file; may be empty

	Edge   Edge
	Steer  Steer
	Certs  Certs
	Watch  Watch
	Sweep  Sweep
	Health Health

	Retention Retention

	File string // the file's name, for messages
	Dir  string // what Load resolved relative paths against; "" after Parse
}

// A Position is a place in the fleet file. Line and Column count from 1, in
// bytes; the zero value is nowhere.
type Position struct {
	Line, Column int
}

// A POP is a machine that serves.
type POP struct {
	Name      string       // a DNS label
	Addresses []netip.Addr // what visitors reach; at least one, in no other POP
	Bind      []netip.Addr // what to listen on instead; empty: Addresses
	SSH       string       // how ssh calls the machine; "" if not said
	Place     string       // where it stands, as the user wrote it; not resolved
	Price     Price        // zero if not said
	Default   bool         // serves who has no better POP; true for one POP at most
	Beside    string       // host:port that gets the names which are not ours; "" if none
	Line      int          // where the POP's table begins
}

// A Dialect says whose rules the _headers and _redirects of a site follow.
type Dialect string

// The dialects. A site that does not say follows Netlify's.
const (
	DialectNetlify    Dialect = "netlify"
	DialectCloudflare Dialect = "cloudflare"
)

// A Site is a host name and what is served there: exactly one of Files, App and
// Origin.
type Site struct {
	Name    string   // the host name, lower case
	Hosts   []string // further host names, from `also`
	Files   string   // a directory
	FilesAt Position // where Files is written
	App     *App
	Origin  *url.URL      // http or https, without user, query and fragment
	Dialect Dialect       // never empty
	HSTS    time.Duration // whole seconds; 0: no Strict-Transport-Security
	Cache   bool          // a shared cache stands before App or Origin
	Line    int           // where the site's table begins
}

// A Kind is what a site serves from.
type Kind int

// The kinds of sites.
const (
	KindFiles Kind = iota + 1
	KindApp
	KindOrigin
)

// String returns the key that makes a site be of kind k.
func (k Kind) String() string {
	switch k {
	case KindFiles:
		return "files"
	case KindApp:
		return "app"
	case KindOrigin:
		return "origin"
	}
	return fmt.Sprintf("Kind(%d)", int(k))
}

// Kind returns what s serves from.
func (s *Site) Kind() Kind {
	switch {
	case s.App != nil:
		return KindApp
	case s.Origin != nil:
		return KindOrigin
	}
	return KindFiles
}

// An App is a program of the user's that POPs run.
type App struct {
	Build   string   // a shell command run before a release; "" if there is none
	Run     string   // the command that starts the program
	Files   string   // a directory released with the program; "" if there is none
	FilesAt Position // where Files is written
	Health  string   // a path that answers 2xx when the program is ready; "" if not said
}

// Edge is how POPs take requests.
type Edge struct {
	TrustedProxies []netip.Prefix // masked; who may name the visitor's address
	ProxyProtocol  bool           // trusted proxies send the PROXY header
	Limits         Limits
}

// Limits bound what one visitor can take of a POP. Zero is the edge's default.
type Limits struct {
	HeaderBytes          int           // bytes of a request's head
	HeaderFields         int           // fields of a request's head
	HeaderTimeout        time.Duration // for the whole head to arrive
	IdleTimeout          time.Duration // between two requests of a connection
	MinRate              int           // bytes per second, below which a transfer is cut
	ConnectionsPerClient int           // connections of one address
	StreamsPerConnection int           // requests at once on one connection
}

// Steer overrides which POP is nearest. A country goes before its continent.
type Steer struct {
	Continents map[string]string // AF AN AS EU NA OC SA to the name of a POP
	Countries  map[string]string // ISO 3166-1 alpha-2 to the name of a POP
}

// The certificate authorities known by name.
const (
	LetsEncrypt        = "letsencrypt"
	LetsEncryptStaging = "letsencrypt-staging"
)

// Certs is how certificates are ordered.
type Certs struct {
	Email string // the account's; "" if not said
	CA    string // LetsEncrypt, LetsEncryptStaging, or the https URL of an ACME directory
}

// Watch is how latency and health are followed over time.
type Watch struct {
	Every time.Duration // at least a second
	Alert []AlertURL
}

// Health is how POPs judge each other.
type Health struct {
	Outside []string // host:port; a POP that reaches none of them does not judge
}

// Retention is what POPs keep of a site beside what they serve.
type Retention struct {
	Releases int           // the latest that were served
	Days     int           // since a release came or was last served
	Preview  time.Duration // from when a preview is opened until it expires
}

// Load reads and parses the fleet file at path. Relative paths in it are
// resolved against its directory. A file that is not there is an
// [io/fs.ErrNotExist]; mistakes are as for [Parse].
func Load(path string) (*Fleet, error) {
	src, err := read(path)
	if err != nil {
		return nil, fmt.Errorf("load fleet: %w", err)
	}
	f, err := Parse(path, src)
	if err != nil {
		return nil, err
	}
	f.resolve(filepath.Dir(path))
	return f, nil
}

// read returns the file at path, and of a file that is too large only as much
// as shows that it is.
func read(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, MaxSize+1))
}

// resolve makes the paths of f relative to where dir is.
func (f *Fleet) resolve(dir string) {
	f.Dir = dir
	for i := range f.Sites {
		site := &f.Sites[i]
		site.Files = under(dir, site.Files)
		if site.App != nil {
			site.App.Files = under(dir, site.App.Files)
		}
	}
	f.Sweep.resolve(dir)
}

// under returns path, which may be "" for none, seen from where dir is.
func under(dir, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// Parse returns the fleet that src, the text of a fleet file, describes; file
// is its name for messages. Paths stay as they are written. The error is
// [ErrTooLarge] or carries a [mistake.List] with every mistake of the file.
func Parse(file string, src []byte) (*Fleet, error) {
	if len(src) > MaxSize {
		return nil, fmt.Errorf("%s: %w", file, ErrTooLarge)
	}
	doc := readDocument(src)
	d := newDecoder(doc)
	f := &Fleet{
		File:  file,
		Certs: Certs{CA: LetsEncrypt},
		Watch: Watch{Every: 30 * time.Second},

		Retention: Retention{Releases: 10, Days: 7, Preview: 14 * 24 * time.Hour},
	}
	if doc.root != nil {
		d.decode(f)
	}
	if err := d.report(file); err != nil {
		return nil, err
	}
	return f, nil
}
