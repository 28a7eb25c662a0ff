package encode

import "strings"

// Negotiate chooses the coding of a response by the request's Accept-Encoding
// (RFC 9110 §12.5.3). Present says whether the request has the field at all; the
// values of several field lines are to be joined by commas first. Sizes has the
// length in bytes of the body in each coding, and 0 where there is none; the
// plain body can always be had, so sizes[Identity] may be 0.
//
// The heaviest acceptable coding wins, and among equally heavy ones that of the
// smallest body. More exactly:
//
//   - "*" stands for every coding that is not named, identity among them.
//   - Identity that is neither named nor meant by "*" is acceptable, but comes
//     after everything else that is.
//   - A coding that is named twice has the lower of its weights: what was once
//     refused is not sent. "x-gzip" is another name for gzip.
//   - A member that is not well-formed ("br;q=1.5", "gzip;level=9") counts as
//     not there.
//   - An empty value means identity.
//   - Without the field the RFC allows any coding, but clients that do not send
//     it are mostly those that cannot decode, so it means identity as well.
//
// It returns Identity and false if the client excluded identity and takes
// nothing else that is to be had. The caller may then answer 406 (§15.5.7), or
// disregard the field (§12.1) and send the plain body, which helps more people.
//
// It allocates nothing.
func Negotiate(acceptEncoding string, present bool, sizes *[NumCodings]int64) (Coding, bool) {
	if !present || acceptEncoding == "" {
		return Identity, true
	}
	weights := weigh(acceptEncoding)
	best, found := Identity, weights[Identity] != 0
	for c := Identity + 1; c < NumCodings; c++ {
		if sizes[c] <= 0 || weights[c] <= 0 {
			continue
		}
		if !found || weights[c] > weights[best] || weights[c] == weights[best] && sizes[c] < sizes[best] {
			best, found = c, true
		}
	}
	return best, found
}

// ParseCoding returns the coding that a token of Content-Encoding names (RFC 9110
// §8.4.1), and false for one that is not known.
func ParseCoding(token string) (Coding, bool) {
	i, ok := codingIndex(trimOWS(token))
	if !ok || i == anyCoding {
		return Identity, false
	}
	return Coding(i), true //nolint:gosec // it is below NumCodings
}

// unlisted is the weight of a coding that no member names or means. It is less
// than any weight that can be sent.
const unlisted = -1

// anyCoding is the index of "*" among the weights.
const anyCoding = NumCodings

// weigh returns the weight of each coding in thousandths: 0 is excluded, and
// unlisted is neither asked for nor excluded.
func weigh(value string) [NumCodings + 1]int {
	var weights [NumCodings + 1]int
	for i := range weights {
		weights[i] = unlisted
	}
	for more := true; more; {
		var member string
		member, value, more = strings.Cut(value, ",")
		i, weight, ok := parseMember(member)
		if ok && (weights[i] == unlisted || weight < weights[i]) {
			weights[i] = weight
		}
	}
	for c := range NumCodings {
		if weights[c] == unlisted {
			weights[c] = weights[anyCoding]
		}
	}
	return weights
}

// parseMember returns the index and the weight of a list member such as
// "gzip;q=0.5", and false if it is malformed or of no interest.
func parseMember(member string) (index, weight int, ok bool) {
	name, param, weighted := strings.Cut(member, ";")
	if index, ok = codingIndex(trimOWS(name)); !ok || !weighted {
		return index, 1000, ok
	}
	param = trimOWS(param)
	if len(param) < 3 || param[0]|0x20 != 'q' || param[1] != '=' {
		return 0, 0, false
	}
	weight, ok = parseQvalue(param[2:])
	return index, weight, ok
}

// codingIndex finds a coding by its name, which has no case.
func codingIndex(name string) (int, bool) {
	switch {
	case name == "*":
		return anyCoding, true
	case is(name, "gzip"), is(name, "x-gzip"):
		return int(Gzip), true
	case is(name, "br"):
		return int(Brotli), true
	case is(name, "zstd"):
		return int(Zstd), true
	case is(name, "identity"):
		return int(Identity), true
	default:
		return 0, false
	}
}

// is reports whether name is the token, in any case. The lengths are compared
// because strings.EqualFold takes U+017F, which has two bytes, for an s.
func is(name, token string) bool {
	return len(name) == len(token) && strings.EqualFold(name, token)
}

// parseQvalue reads a weight in thousandths (RFC 9110 §12.4.2):
//
//	qvalue = ( "0" [ "." 0*3DIGIT ] ) / ( "1" [ "." 0*3("0") ] )
func parseQvalue(s string) (int, bool) {
	if s[0] != '0' && s[0] != '1' || len(s) > len("0.000") || len(s) > 1 && s[1] != '.' {
		return 0, false
	}
	weight, unit := int(s[0]-'0')*1000, 100
	for i := 2; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		weight += int(s[i]-'0') * unit
		unit /= 10
	}
	return weight, weight <= 1000
}

// trimOWS removes optional white space (RFC 9110 §5.6.3).
func trimOWS(s string) string {
	for s != "" && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for s != "" && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}
