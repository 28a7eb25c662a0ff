package target

import (
	"net/netip"
	"strconv"
	"strings"
)

// Limits of a target, in bytes.
const (
	maxName  = 253 // RFC 1035 §2.3.4, in the form without the last dot
	maxLabel = 63
	// MaxLength is that of a whole target. RFC 9110 §4.1 asks servers for 8,000.
	MaxLength = 8000
)

// A Kind is which of the forms of a target was written.
type Kind uint8

// The kinds.
const (
	Name     Kind = iota // a name or an address
	HostPort             // one of them with a port
	URL                  // of http or https
)

// A Target is what is to be asked. The zero value is none; [Parse] makes them.
type Target struct {
	Kind   Kind
	IsIP   bool   // Host is an address
	Port   uint16 // of a HostPort; of a URL where it is not the scheme's; else 0
	Scheme string // of a URL: http or https
	Host   string // a name in lower case, as A-labels (RFC 5890 §2.3.2.1), without a last dot; or an address, without brackets
	Path   string // of a URL: path and query, beginning with a slash
}

// A refusal is why something is no target. It is written for people, and follows
// "not a target: ".
type refusal string

func (r refusal) Error() string { return string(r) }

const (
	refusedEmpty     refusal = "nothing is there"
	refusedScheme    refusal = "its scheme is neither http nor https"
	refusedUser      refusal = "it has user information, or is a mail address"
	refusedPath      refusal = "it has a path, but no scheme: write https:// before it"
	refusedPort      refusal = "its port is not a number from 1 to 65535"
	refusedBracket   refusal = "what is in brackets is not an IPv6 address"
	refusedAddress   refusal = "it looks like an address, and is none"
	refusedZone      refusal = "its address has a zone, which means something on one machine only"
	refusedWildcard  refusal = "it is a wildcard"
	refusedNoDot     refusal = "it is a name without a dot"
	refusedLabel     refusal = "it has an empty label"
	refusedLongLabel refusal = "it has a label of more than 63 bytes"
	refusedLongName  refusal = "its name is longer than 253 bytes"
	refusedCharacter refusal = "its name has a character that names do not have"
	refusedIDNA      refusal = "its name is not one of IDNA"
	refusedControl   refusal = "it has a control character"
	refusedLong      refusal = "it is longer than 8000 bytes"
)

// Parse reads a target: a name, an address, one of them with a port, or a URL of
// http or https. Space around it, upper case and a last dot do not matter. An error
// says why it is refused, in words that follow "not a target:".
//
// Names are more than host names (RFC 1123 §2.1): labels may have underscores and
// hyphens anywhere, because the DNS has such names and servers answer to them. A name
// without a dot is refused, except localhost: we have no search list, and no
// top-level domain is a site to speak of.
func Parse(text string) (Target, error) {
	if plainName(text) {
		return Target{Host: text}, nil
	}
	text = strings.TrimSpace(text)
	if text == "" {
		return Target{}, refusedEmpty
	}
	if scheme, rest, ok := cutScheme(text); ok {
		return parseURL(scheme, rest)
	}
	if strings.Contains(text, "://") {
		return Target{}, refusedScheme
	}
	text = strings.TrimSuffix(text, "/")
	if strings.Contains(text, "@") {
		return Target{}, refusedUser
	}
	if strings.ContainsAny(text, "/?#\\") {
		return Target{}, refusedPath
	}
	host, port, found := cutPort(text)
	t := Target{}
	var err error
	if found {
		t.Kind = HostPort
		if t.Port, err = parsePort(port); err != nil {
			return Target{}, err
		}
	}
	if t.Host, t.IsIP, err = parseHost(host); err != nil {
		return Target{}, err
	}
	return t, nil
}

// String is the target in its one normal form: Parse gives the same target for it.
func (t Target) String() string {
	if t.Kind == Name {
		return t.Host
	}
	return string(t.append(make([]byte, 0, len(t.Scheme)+len(t.Host)+len(t.Path)+len("://[]:65535"))))
}

// append appends the normal form.
func (t Target) append(b []byte) []byte {
	if t.Kind == Name {
		return append(b, t.Host...)
	}
	if t.Kind == URL {
		b = append(b, t.Scheme...)
		b = append(b, "://"...)
	}
	if t.IsIP && strings.IndexByte(t.Host, ':') >= 0 {
		b = append(b, '[')
		b = append(b, t.Host...)
		b = append(b, ']')
	} else {
		b = append(b, t.Host...)
	}
	if t.Port != 0 {
		b = append(b, ':')
		b = strconv.AppendUint(b, uint64(t.Port), 10)
	}
	return append(b, t.Path...)
}

// appendNormal appends the normal form of a target as it is in a list. Nearly all of
// them are in it already, and cost one look at each byte.
func appendNormal(b, text []byte) ([]byte, error) {
	if plainName(text) {
		return append(b, text...), nil
	}
	t, err := Parse(string(text))
	if err != nil {
		return b, err
	}
	return t.append(b), nil
}

// plainName reports whether a text is a name in its normal form.
func plainName[T string | []byte](text T) bool {
	if len(text) > maxName {
		return false
	}
	label, dots, numeric := 0, 0, true
	for i := range len(text) {
		switch c := text[i]; {
		case 'a' <= c && c <= 'z', c == '-', c == '_':
			numeric = false
			label++
		case '0' <= c && c <= '9':
			label++
		case c == '.':
			if label == 0 || label > maxLabel {
				return false
			}
			label, numeric = 0, true
			dots++
		default:
			return false
		}
	}
	if label == 0 || label > maxLabel || numeric || dots == 0 {
		return false
	}
	last := len(text) - label
	return text[last] != '0' // 0x7f ends an address to some: checkName looks closer
}

// cutScheme cuts http:// or https:// off.
func cutScheme(text string) (scheme, rest string, ok bool) {
	for _, scheme := range [...]string{"http", "https"} {
		n := len(scheme) + len("://")
		if len(text) >= n && strings.EqualFold(text[:len(scheme)], scheme) && text[len(scheme):n] == "://" {
			return scheme, text[n:], true
		}
	}
	return "", "", false
}

// cutPort cuts a port off, where there is a colon for one. An address of IPv6 outside
// of brackets has no port.
func cutPort(text string) (host, port string, found bool) {
	if strings.HasPrefix(text, "[") {
		end := strings.IndexByte(text, ']')
		if end < 0 || end+1 == len(text) {
			return text, "", false
		}
		if text[end+1] != ':' {
			return text, "", false // parseHost refuses it
		}
		return text[:end+1], text[end+2:], true
	}
	if strings.Count(text, ":") != 1 {
		return text, "", false
	}
	return strings.Cut(text, ":")
}

func parsePort(text string) (uint16, error) {
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return 0, refusedPort
		}
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return 0, refusedPort
	}
	return uint16(n), nil
}

// parseHost reads a name or an address.
func parseHost(text string) (host string, isIP bool, err error) {
	if inner, ok := strings.CutPrefix(text, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		if !ok || !strings.Contains(inner, ":") {
			return "", false, refusedBracket
		}
		host, err = parseAddress(inner, refusedBracket)
		return host, true, err
	}
	if strings.Contains(text, ":") {
		host, err = parseAddress(text, refusedAddress)
		return host, true, err
	}
	if strings.Contains(text, "*") {
		return "", false, refusedWildcard
	}
	name, err := normalName(text)
	if err != nil {
		return "", false, err
	}
	if endsInNumber(name) {
		host, err = parseAddress(name, refusedAddress)
		return host, true, err
	}
	return name, false, checkName(name)
}

// parseAddress gives an address the form of RFC 5952. An IPv4 address within IPv6 is
// the IPv4 address: that is whom the kernel asks.
func parseAddress(text string, otherwise refusal) (string, error) {
	addr, err := netip.ParseAddr(text)
	switch {
	case err != nil:
		return "", otherwise
	case addr.Zone() != "":
		return "", refusedZone
	}
	return addr.Unmap().String(), nil
}
