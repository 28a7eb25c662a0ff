package simnet

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// topLevel are the public suffixes of generated names, with their shares of 1,000.
// They are about those of the list that the study of 2024 asked.
//
//nolint:gochecknoglobals // a table
var topLevel = []struct {
	suffix string
	share  uint64
}{
	{"com", 440},
	{"org", 75},
	{"net", 60},
	{"de", 45},
	{"co.uk", 40},
	{"ru", 35},
	{"nl", 25},
	{"com.br", 25},
	{"fr", 25},
	{"it", 25},
	{"pl", 20},
	{"com.au", 20},
	{"jp", 15},
	{"info", 15},
	{"io", 15},
	{"eu", 15},
	{"es", 15},
	{"ch", 12},
	{"ca", 12},
	{"se", 12},
	{"cz", 10},
	{"be", 10},
	{"in", 10},
	{"xyz", 8},
	{"shop", 8},
	{"online", 8},
}

// endings make names longer now and then.
//
//nolint:gochecknoglobals // a table
var endings = []string{"shop", "media", "group", "tech", "hotel", "design", "studio", "news", "travel", "-online", "lab", "24", "auto", "music"}

const (
	consonants = "bdfgjklmnprstvwz" // 16
	vowels     = "aeio"             // 4, so that two letters are six bits
	nameBits   = 24                 // of a name's number, in four pairs of letters
)

// Name is the i-th name of the world's list, for i from 0: a registrable name
// under one of some two dozen public suffixes. No two are the same.
func (w *World) Name(i int) string {
	var b strings.Builder
	n := uint64(i) //nolint:gosec // not negative
	// The order looks random, and no number comes twice: both steps can be undone.
	mixed := (n*0x9e3779b1 + w.seed) & (1<<nameBits - 1)
	mixed ^= mixed >> 11
	for shift := 0; shift < nameBits; shift += 6 {
		pair := mixed >> shift & 63
		b.WriteByte(consonants[pair>>2])
		b.WriteByte(vowels[pair&3])
	}
	d := dice(spread(n ^ w.seed<<32))
	if d.chance(3500) {
		b.WriteString(endings[d.roll(uint64(len(endings)))])
	}
	if high := n >> nameBits; high > 0 { // beyond sixteen million the letters repeat
		b.WriteString("-x" + strconv.FormatUint(high, 36))
	}
	b.WriteByte('.')
	r := d.roll(1000)
	for _, t := range topLevel {
		if r < t.share {
			b.WriteString(t.suffix)
			break
		}
		r -= t.share
	}
	return b.String()
}

const (
	numControls = 16
	numLandings = 8
)

// Controls are names that always answer with 200, over HTTP and over HTTPS with a
// good certificate, with www. before them too. Each has an address in a network
// of its own, where nobody else is.
func (w *World) Controls() []string {
	names := make([]string, numControls)
	for i := range names {
		names[i] = fmt.Sprintf("control%02d.test", i+1)
	}
	return names
}

// landing is where redirects to other sites lead: names that always answer.
func landing(i uint64) string { return fmt.Sprintf("landing%02d.test", i%numLandings+1) }

// reserved reads the names above: which of those that begin so, from 0.
func reserved(base []byte, begin string, limit int) (number int, ok bool) {
	if len(base) != len(begin)+len("01.test") || string(base[:len(begin)]) != begin || string(base[len(begin)+2:]) != ".test" {
		return 0, false
	}
	tens, ones := base[len(begin)]-'0', base[len(begin)+1]-'0'
	number = int(tens)*10 + int(ones) - 1
	return number, tens <= 9 && ones <= 9 && number >= 0 && number < limit
}

// bare is a name without www., and whether it had one. Something must be left that
// can have addresses: www.com is itself.
func bare(host []byte) (base []byte, www bool) {
	const prefix = "www."
	if len(host) <= len(prefix) || string(host[:len(prefix)]) != prefix {
		return host, false
	}
	if slices.Contains(host[len(prefix):], '.') {
		return host[len(prefix):], true
	}
	return host, false
}

// cannotExist reports names that no resolver finds: those of one label, and those
// below top-level names that are not delegated (RFC 6761, RFC 7686).
func cannotExist(host []byte) bool {
	for i := len(host) - 1; i > 0; i-- {
		if host[i] == '.' {
			switch string(host[i+1:]) {
			case "local", "localhost", "internal", "invalid", "onion", "":
				return true
			}
			return false
		}
	}
	return true
}
