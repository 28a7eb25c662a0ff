package api

import (
	"encoding/json"
	"strings"
	"time"
)

// The media types of bodies that are not JSON, and the headers of the API.
const (
	// TypeManifest is a release's manifest, TypePack a pack of objects
	// (docs/release-format.md). A manifest may be sent with Content-Encoding: zstd.
	TypeManifest = "application/vnd.penny.manifest"
	TypePack     = "application/vnd.penny.pack"
	// TypeLines is one JSON value a line.
	TypeLines = "application/x-ndjson"
	// TypePEM is certificates, and a key where one belongs to them.
	TypePEM = "application/x-pem-file"

	// TypeBatch is several requests in one, and the answers to them, and TypeHTTP each
	// of them (RFC 2046 §5.1.3 and RFC 9112 §10.2).
	TypeBatch = "multipart/mixed"
	TypeHTTP  = "application/http"

	// HeaderStatement carries a signed statement, as the standard base64 of its
	// JSON.
	HeaderStatement = "Penny-Statement"
	// HeaderBase names, by its manifest's hash, a release of the same site that the
	// agent has. The manifest in the body is then a patch (see CodingPatch), or zstd
	// with the bytes of that release's manifest as a raw dictionary, and no dictionary
	// ID (RFC 8878 §5).
	HeaderBase = "Penny-Base"
	// CodingPatch is the Content-Encoding of a manifest that comes as what is different
	// about it: a patch (docs/release-format.md) against that of HeaderBase, in zstd. An
	// agent that does not know it answers 415.
	CodingPatch = "penny-patch"
	// HeaderVersion is in every answer: the version of the program.
	HeaderVersion = "Penny-Version"

	// QuerySite asks for the status of one site alone, and QueryReleases for so many of
	// the releases of each, the newest.
	QuerySite     = "site"
	QueryReleases = "releases"
)

// Kinds of signed statements (see package keys).
const (
	KindRoster  = "roster"
	KindHead    = "head"
	KindRelease = "release"
	KindConfig  = "config"
	KindPreview = "preview"
	// KindPreviewEnd ends a preview before it expires.
	KindPreviewEnd = "preview-end"
)

// The limits of requests, in bytes; an agent answers 413 beyond them. What is a
// stream (packs) has none but the disk budget.
const (
	MaxJSON      = 1 << 20   // of any JSON request that is not named here
	MaxRoster    = 1<<20 + 1 // a roster's statement, with a line feed
	MaxConfig    = 1<<20 + 1 // a configuration's statement, with a line feed
	MaxStatement = 16 << 10  // a head's, a release's or a preview's statement
	MaxPEM       = 256 << 10 // certificates and their key
	MaxManifest  = 256 << 20 // a manifest, decoded
	MaxObjects   = 1_000_000 // hashes in one request for objects
	MaxObjectsIn = 80 << 20  // bytes of that request
	MaxBatch     = 16        // requests in one
)

// How generations may rise, so that nobody can spend them all: a head's is at most
// MaxLeap above that of the head before it, 0 if there is none, unless the owner has
// signed it; and never above MaxGeneration.
const (
	MaxLeap       = 1 << 32
	MaxGeneration = 1<<63 - 1
)

// A Head is the payload of a statement of kind "head": which release of a site is
// served. Order is by generation, never by time.
type Head struct {
	Site       string    `json:"site"`
	Generation uint64    `json:"generation"`
	Release    string    `json:"release"` // the manifest's SHA-256, hex
	Time       time.Time `json:"time"`
	Previous   string    `json:"previous,omitempty"` // the release before, "" for none
}

// A Release is the payload of a statement of kind "release": who deployed what.
type Release struct {
	Site    string    `json:"site"`
	Release string    `json:"release"`
	Files   int       `json:"files"`
	Bytes   int64     `json:"bytes"` // of all files in their identity form
	Time    time.Time `json:"time"`
}

// A Preview is the payload of a statement of kind "preview": a release of a site that
// is served at a host of its own until it expires.
type Preview struct {
	Site    string    `json:"site"`
	Release string    `json:"release"`
	Host    string    `json:"host"` // LABEL.preview.HOST, where HOST is one of the site's
	Expires time.Time `json:"expires"`
}

// A PreviewEnd is the payload of a statement of kind "preview-end": the preview at a host
// has ended before it expired. Agents remember it until it would have, so that the preview
// does not come back from a POP that was not told.
type PreviewEnd struct {
	Site    string    `json:"site"`
	Host    string    `json:"host"`
	Expires time.Time `json:"expires"` // of the preview
}

// PreviewZone comes before a site's host in the hosts of its previews.
const PreviewZone = "preview"

// The limits of previews.
const (
	MaxPreviews    = 20                   // of one site at a POP
	MaxPreviewEnds = 100                  // that are remembered of one site at a POP
	MaxPreviewAge  = 366 * 24 * time.Hour // from now until it expires
	// MinPreviewLabel is how long the first label of a preview's host is at least: 128
	// bits in base32.
	MinPreviewLabel = 26
)

// PreviewHost returns the host of a preview with a label below a host of its site.
func PreviewHost(label, siteHost string) string {
	return label + "." + PreviewZone + "." + siteHost
}

// PreviewLabel returns the label of a preview's host, and the host of its site; false
// if the host is none of a preview, or its label could be guessed.
func PreviewLabel(host string) (label, siteHost string, ok bool) {
	label, rest, _ := strings.Cut(host, ".")
	siteHost, ok = strings.CutPrefix(rest, PreviewZone+".")
	other := func(r rune) bool { return (r < 'a' || r > 'z') && (r < '2' || r > '7') }
	return label, siteHost, ok && siteHost != "" && len(label) >= MinPreviewLabel && len(label) <= 63 && len(host) <= 253 && !strings.ContainsFunc(label, other)
}

// A PreviewStatus is one preview that a POP has.
type PreviewStatus struct {
	Preview
	Key       string          `json:"key"` // who signed it
	Statement json.RawMessage `json:"statement"`
}

// Previews is the answer to GET …/previews, that which expires last first.
type Previews struct {
	Previews []PreviewStatus `json:"previews"`
	// Ended are the statements of those that were ended and have not expired yet.
	Ended []json.RawMessage `json:"ended,omitempty"`
}

// A Config is the payload of a statement of kind "config": what a POP serves, as
// compiled from penny.toml without its secrets. A higher number replaces a lower
// one.
type Config struct {
	Number    uint64       `json:"number"`
	Time      time.Time    `json:"time"`
	Sites     []ConfigSite `json:"sites"`
	Edge      ConfigEdge   `json:"edge,omitzero"`
	Retention Retention    `json:"retention,omitzero"`
	// POPs are all of the fleet, and Steer which of them answers whom where the nearest
	// is not the best.
	POPs  []ConfigPOP `json:"pops,omitempty"`
	Steer ConfigSteer `json:"steer,omitzero"`
}

// A ConfigPOP is a POP of the fleet, as others have to know it.
type ConfigPOP struct {
	Name      string   `json:"name"`
	Addresses []string `json:"addresses,omitempty"` // what visitors reach
	Place     string   `json:"place,omitempty"`     // as somebody wrote it
	Default   bool     `json:"default,omitempty"`   // serves who has no better POP
}

// A ConfigSteer names POPs by continent (AF AN AS EU NA OC SA) and by country (ISO
// 3166-1 alpha-2).
type ConfigSteer struct {
	Continents map[string]string `json:"continents,omitempty"`
	Countries  map[string]string `json:"countries,omitempty"`
}

// A ConfigSite is a site of the fleet.
type ConfigSite struct {
	Name    string   `json:"name"`
	Hosts   []string `json:"hosts,omitempty"`   // beside Name
	Dialect string   `json:"dialect,omitempty"` // of _headers and _redirects: "netlify" (the default) or "cloudflare"
	HSTS    int64    `json:"hsts,omitempty"`    // seconds; 0: no Strict-Transport-Security
}

// A ConfigEdge is how POPs take requests. Zero is the edge's default, and what
// changes here needs a restart of the agent.
type ConfigEdge struct {
	TrustedProxies       []string `json:"trusted_proxies,omitempty"` // networks
	ProxyProtocol        bool     `json:"proxy_protocol,omitempty"`
	HeaderBytes          int      `json:"header_bytes,omitempty"`
	HeaderFields         int      `json:"header_fields,omitempty"`
	HeaderTimeout        int64    `json:"header_timeout,omitempty"` // seconds
	IdleTimeout          int64    `json:"idle_timeout,omitempty"`   // seconds
	MinRate              int64    `json:"min_rate,omitempty"`       // bytes a second
	ConnectionsPerClient int      `json:"connections_per_client,omitempty"`
	StreamsPerConnection int      `json:"streams_per_connection,omitempty"`
}

// Retention is what a POP keeps of a site beside what it serves. Zero fields mean
// the defaults.
type Retention struct {
	Releases int   `json:"releases,omitempty"` // the newest, 10
	Age      int64 `json:"age,omitempty"`      // seconds since they were staged or last active, a week
}

// A Status is the answer to GET /v1/status.
type Status struct {
	POP     string    `json:"pop"`
	Fleet   string    `json:"fleet"`
	Key     string    `json:"key"`     // the POP's
	Version string    `json:"version"` // of the program
	API     Versions  `json:"api"`
	Batch   bool      `json:"batch,omitempty"` // POST …/batch is answered
	Time    time.Time `json:"time"`            // by the POP's clock
	Uptime  int64     `json:"uptime"`          // seconds

	Roster      uint64    `json:"roster"` // its number; 0: none yet
	Config      uint64    `json:"config"` // its number; 0: none yet
	LeafExpires time.Time `json:"leaf_expires,omitzero"`
	// ControlSeen is when a member of the fleet was last heard before this, over a restart
	// too; zero if never.
	ControlSeen time.Time `json:"control_seen,omitzero"`

	Sites        []SiteStatus        `json:"sites"`
	Certificates []CertificateStatus `json:"certificates"`

	Disk   DiskStatus   `json:"disk"`
	Memory MemoryStatus `json:"memory"`
	Load   [3]float64   `json:"load"` // over 1, 5 and 15 minutes; zeros where the system does not tell
	CPUs   int          `json:"cpus"`

	// LogsDropped counts lines of the access log that the disk was too slow for.
	LogsDropped int64 `json:"logs_dropped"`
	// Warnings are for people: what is wrong with this POP now.
	Warnings []string `json:"warnings,omitempty"`
}

// A SiteStatus is one site of a POP.
type SiteStatus struct {
	Site       string    `json:"site"`
	Configured bool      `json:"configured"` // by a statement of kind "config"
	Head       *Head     `json:"head,omitempty"`
	HeadKey    string    `json:"head_key,omitempty"` // who signed it
	Active     string    `json:"active,omitempty"`   // the release that is being served
	Since      time.Time `json:"since,omitzero"`     // when it was activated here
	Staged     []string  `json:"staged,omitempty"`   // releases that could be activated, newest first
	Incoming   []string  `json:"incoming,omitempty"` // releases whose manifest is here, but that are not staged
	Files      int       `json:"files"`
	Bytes      int64     `json:"bytes"`
	InMemory   int64     `json:"in_memory"` // bytes of bodies, all codings
	Lease      *Lease    `json:"lease,omitempty"`
	// Previews is a digest of the site's previews: POPs that have the same say the same.
	Previews string `json:"previews,omitempty"`
	Error    string `json:"error,omitempty"` // why the head is not being served
}

// A CertificateStatus is a certificate that the POP shows to visitors.
type CertificateStatus struct {
	Name    string    `json:"name"`
	Names   []string  `json:"names"` // that it covers
	Expires time.Time `json:"expires"`
}

// A DiskStatus is about the store of releases, in bytes.
type DiskStatus struct {
	Used   int64 `json:"used"`
	Budget int64 `json:"budget"` // that the store may use
	Free   int64 `json:"free"`   // of the file system; 0 where the system does not tell
	Size   int64 `json:"size"`   // of the file system; 0 where the system does not tell
}

// A MemoryStatus is about the agent's process, in bytes.
type MemoryStatus struct {
	Resident int64 `json:"resident"` // 0 where the system does not tell
	Limit    int64 `json:"limit"`    // what the machine or its cgroup has; 0 where the system does not tell
	Bodies   int64 `json:"bodies"`   // bodies of answers, outside the heap
}

// A LeaseRequest is the body of PUT …/lease. The same holder with the same key
// renews.
type LeaseRequest struct {
	Holder string `json:"holder"` // says to others who it is, "ada on laptop, 4711"
	TTL    int64  `json:"ttl"`    // seconds, 1 to 3600
}

// A LeaseRelease is the body of DELETE …/lease.
type LeaseRelease struct {
	Holder string `json:"holder"`
}

// A ManifestResult is the answer to PUT …/releases/ID in version 1.
type ManifestResult struct {
	Missing []string `json:"missing"` // hashes of objects, in the order of the manifest
	Bytes   int64    `json:"bytes"`   // of these, in their identity form
	Staged  bool     `json:"staged"`  // there is nothing left to do
}

// A ManifestRuns is the answer to PUT …/releases/ID from version 2 on.
type ManifestRuns struct {
	// Missing are runs of objects by their numbers, which they have in the order in
	// which the manifest's files have them first: the first number, and how many.
	Missing [][2]int `json:"missing"`
	Bytes   int64    `json:"bytes"`
	Staged  bool     `json:"staged"`
}

// A PackResult is the answer to POST …/pack.
type PackResult struct {
	Stored int         `json:"stored"` // objects
	Bytes  int64       `json:"bytes"`  // read from the network
	Bad    []BadObject `json:"bad"`    // to be sent again
}

// A BadObject is an object of a pack that was not stored.
type BadObject struct {
	Object string `json:"object"` // its hash, as the pack says
	Error  string `json:"error"`
}

// Codings is the answer to GET …/releases/ID/codings.
type Codings struct {
	// Lacking are the objects of the release that are worth coding and that the POP does
	// not have in brotli at its best, in the order of the manifest. Those that brotli makes
	// no smaller are always among them.
	Lacking []string `json:"lacking"`
}

// A StageResult is the answer to POST …/stage.
type StageResult struct {
	Files int      `json:"files"`
	Bytes int64    `json:"bytes"`
	Notes []string `json:"notes"` // worth knowing about the release's rules, for people
}

// A HeadResult is the answer to PUT …/head.
type HeadResult struct {
	Active     string `json:"active"`
	Generation uint64 `json:"generation"`
}

// Releases is the answer to GET …/releases, newest first.
type Releases struct {
	Releases []ReleaseStatus `json:"releases"`
}

// A ReleaseStatus is one release that a POP has.
type ReleaseStatus struct {
	Release
	Key        string          `json:"key"` // who deployed it
	Staged     bool            `json:"staged"`
	Active     bool            `json:"active"`
	Here       time.Time       `json:"here"`                 // when its manifest came to this POP
	LastActive time.Time       `json:"last_active,omitzero"` // when it was last activated on this POP
	Statement  json.RawMessage `json:"statement"`
}

// An ObjectsRequest is the body of POST …/objects; the answer is a pack. Objects
// that the POP does not have are left out of it.
type ObjectsRequest struct {
	Objects []string `json:"objects"`
}

// A CollectResult is the answer to POST /v1/collect.
type CollectResult struct {
	Freed   int64  `json:"freed"`             // bytes
	Skipped string `json:"skipped,omitempty"` // why nothing was done
}

// Leaf is the answer to GET /v1/leaf: what the fleet's CA needs to issue the POP's
// certificate.
type Leaf struct {
	POP     string    `json:"pop"`
	Key     string    `json:"key"`
	Expires time.Time `json:"expires,omitzero"` // of the present one; zero if there is none
}

// A RosterResult is the answer to PUT /v1/roster, and a ConfigResult the one to
// PUT /v1/config. Sending what the agent has already is no error.
type RosterResult struct {
	Number uint64 `json:"number"`
}

// A ConfigResult is the answer to PUT /v1/config.
type ConfigResult struct {
	Number  uint64   `json:"number"`
	Restart []string `json:"restart,omitempty"` // what holds only after the next start
}

// A LogLine is one line of GET /v1/logs: of the agent's log, or of the access log
// (docs/access-log.md).
type LogLine struct {
	Time    time.Time       `json:"time"`
	POP     string          `json:"pop"`
	Kind    string          `json:"kind"` // "agent" or "access"
	Level   string          `json:"level,omitempty"`
	Message string          `json:"msg,omitempty"`
	Facts   map[string]any  `json:"facts,omitempty"`
	Access  json.RawMessage `json:"access,omitempty"`
}
