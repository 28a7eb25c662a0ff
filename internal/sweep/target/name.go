package target

import (
	"strings"

	"golang.org/x/net/idna"
	"golang.org/x/net/publicsuffix"
)

// lookup is IDNA's profile for lookups (RFC 5891 §5, UTS 46), lenient about ASCII
// that host names do not have: checkName looks at that.
//
//nolint:gochecknoglobals // it never changes
var lookup = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.StrictDomainName(false), idna.CheckHyphens(false))

// normalName is a name as A-labels in lower case, without a last dot. Labels that are
// ASCII stay as they are, even xn-- with something behind it that is no Punycode:
// whether there is such a name is for the DNS to say.
func normalName(text string) (string, error) {
	if !ascii(text) {
		// What is longer than this cannot end as a name, and is not worth the mapping.
		const maxText = 4 * maxName
		if len(text) > maxText {
			return "", refusedLongName
		}
		name, err := lookup.ToASCII(text)
		if err != nil {
			return "", refusedIDNA
		}
		text = name
	}
	return strings.TrimSuffix(strings.ToLower(text), "."), nil
}

func ascii(text string) bool {
	for i := range len(text) {
		if text[i] >= 0x80 {
			return false
		}
	}
	return true
}

// endsInNumber reports whether a name's last label is a number, decimal or
// hexadecimal: then it is an address or nothing, as to browsers
// (https://url.spec.whatwg.org/#ends-in-a-number-checker).
func endsInNumber(name string) bool {
	last := name[strings.LastIndexByte(name, '.')+1:]
	digits := "0123456789"
	if rest, ok := strings.CutPrefix(last, "0x"); ok {
		last, digits = rest, "0123456789abcdef"
		if last == "" {
			return true
		}
	}
	return last != "" && strings.Trim(last, digits) == ""
}

// checkName says what is wrong with a name in lower case.
func checkName(name string) error {
	if name == "" {
		return refusedEmpty
	}
	if len(name) > maxName {
		return refusedLongName
	}
	dots := false
	for label, rest, more := "", name, true; more; {
		label, rest, more = strings.Cut(rest, ".")
		dots = dots || more
		switch {
		case label == "":
			return refusedLabel
		case len(label) > maxLabel:
			return refusedLongLabel
		}
		for i := range len(label) {
			if c := label[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return refusedCharacter
			}
		}
	}
	if !dots && name != "localhost" {
		return refusedNoDot
	}
	return nil
}

// Registrable is the name at or above host that somebody has registered
// (publicsuffix.org), or host where that cannot be told.
func Registrable(host string) string {
	name, err := publicsuffix.EffectiveTLDPlusOne(host)
	if err != nil {
		return host
	}
	return name
}
