package site

import (
	"path"
	"strings"
)

// minFingerprint is the least length of a fingerprint in a file name. Bundlers
// write eight characters or more; shorter runs are too often words.
const minFingerprint = 8

// Fingerprinted reports whether a file name carries a hash of its content, as
// bundlers write them (app.3f9c2b1e.js, index-BxK9dQ2f.css), so that the name
// will never mean other content. It is cautious: the last part of the name must
// be hexadecimal with letters and digits, or mix upper case, lower case and
// digits. Pages are never taken for fingerprinted: their names are chosen by
// people.
func Fingerprinted(name string) bool {
	base := path.Base(name)
	ext := path.Ext(base)
	if ext == ".map" { // app.3f9c2b1e.js.map goes with app.3f9c2b1e.js
		base = strings.TrimSuffix(base, ext)
		ext = path.Ext(base)
	}
	if ext == "" || strings.HasPrefix(ext, ".htm") {
		return false
	}
	base = strings.TrimSuffix(base, ext)
	return looksHashed(base[strings.LastIndexAny(base, ".-_")+1:])
}

// looksHashed judges one part of a name.
func looksHashed(part string) bool {
	if len(part) < minFingerprint {
		return false
	}
	var lower, upper, digits, hex int
	for _, c := range []byte(part) {
		switch {
		case '0' <= c && c <= '9':
			digits++
		case 'a' <= c && c <= 'z':
			lower++
		case 'A' <= c && c <= 'Z':
			upper++
		default:
			return false
		}
		if fromHex(c) >= 0 {
			hex++
		}
	}
	if isHex := hex == len(part) && digits > 0 && lower+upper > 0; isHex {
		return !wordAndYear(part)
	}
	return lower > 0 && upper > 0 && digits > 0 && !words(part)
}

// words reports whether part is made of words and numbers, like "Final2024",
// "iPhone15" or "Web3Guide", which people write and bundlers do not: in words,
// capitals are rare.
func words(part string) bool {
	for run := range strings.FieldsFuncSeq(part, func(r rune) bool { return '0' <= r && r <= '9' }) {
		capitals := 0
		for _, c := range []byte(run) {
			if 'A' <= c && c <= 'Z' {
				capitals++
			}
		}
		if capitals*3 > len(run) {
			return false
		}
	}
	return true
}

// wordAndYear reports whether part is a word with a year behind it, or a date,
// that happens to look hexadecimal: "cafe2024", "decade20240101".
func wordAndYear(part string) bool {
	number := strings.TrimLeft(part, "abcdefABCDEF")
	return (len(number) == 4 || len(number) == 8) && (strings.HasPrefix(number, "19") || strings.HasPrefix(number, "20")) &&
		strings.Trim(number, "0123456789") == ""
}
