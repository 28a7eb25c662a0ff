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
	isHex := hex == len(part) && digits > 0 && lower+upper > 0
	return isHex || lower > 0 && upper > 0 && digits > 0 && !wordAndNumber(part)
}

// wordAndNumber reports whether part is a word with a number behind it, like
// "Final2024" or "Screenshot20240101", which people write and bundlers do not.
func wordAndNumber(part string) bool {
	word := strings.TrimRight(part, "0123456789")
	if word == "" || strings.ToLower(word[1:]) != word[1:] {
		return false
	}
	return strings.IndexAny(word, "0123456789") < 0
}
