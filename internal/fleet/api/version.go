package api

import (
	"net/url"
	"strconv"
	"strings"
)

// Versions is a range of versions of the API, both ends included.
type Versions struct {
	Min int `json:"min"`
	Max int `json:"max"`
}

// Supported returns the versions that this build speaks, as an agent and as a
// client.
func Supported() Versions { return Versions{Min: 1, Max: 2} }

// Common returns the highest version in both ranges, and false if there is none:
// one side must then be upgraded.
func (v Versions) Common(other Versions) (int, bool) {
	highest := min(v.Max, other.Max)
	return highest, highest >= max(v.Min, other.Min) && highest > 0
}

// Has reports whether a version lies in the range.
func (v Versions) Has(version int) bool { return v.Min <= version && version <= v.Max }

// Path returns the path of something in a version of the API. Elements are
// escaped: Path(1, "sites", "example.org", "head") is
// "/v1/sites/example.org/head".
func Path(version int, elements ...string) string {
	var b strings.Builder
	b.WriteString("/v" + strconv.Itoa(version))
	for _, e := range elements {
		b.WriteString("/" + url.PathEscape(e))
	}
	return b.String()
}

// PathVersion returns the version in a path of the API, and false if the path is
// none of the API.
func PathVersion(path string) (int, bool) {
	rest, ok := strings.CutPrefix(path, "/v")
	if !ok {
		return 0, false
	}
	digits, _, _ := strings.Cut(rest, "/")
	n, err := strconv.Atoi(digits)
	if err != nil || n < 1 || strconv.Itoa(n) != digits {
		return 0, false
	}
	return n, true
}
