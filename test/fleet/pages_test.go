package fleet_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
)

// pages are the paths of the pages of a version of the site.
var pages = []string{"/", "/about", "/deep/page"}

// fileOf is the file of a page.
func fileOf(path string) string {
	if path == "/" {
		return "index.html"
	}
	return strings.TrimPrefix(path, "/") + ".html"
}

// body is text in which every line tells the version, and whose first line is a
// hash of the others: an answer of two versions, or a part of one, is none.
func body(version int, kind string, lines ...string) string {
	var rest strings.Builder
	for _, line := range lines {
		fmt.Fprintf(&rest, "%s v%d;\n", line, version)
	}
	for i := range 200 {
		fmt.Fprintf(&rest, "%s, line %d v%d;\n", kind, i, version)
	}
	sum := sha256.Sum256([]byte(rest.String()))
	return hex.EncodeToString(sum[:]) + "\n" + rest.String()
}

var versions = regexp.MustCompile(`v(\d+);`)

// versionOf returns the version that an answer is, if it is one whole one.
func versionOf(answer string) (version string, err error) {
	sum, rest, _ := strings.Cut(answer, "\n")
	if is := sha256.Sum256([]byte(rest)); hex.EncodeToString(is[:]) != sum {
		return "", fmt.Errorf("%d bytes that begin with %.40q are not what was deployed", len(answer), answer)
	}
	for _, found := range versions.FindAllStringSubmatch(rest, -1) {
		if version == "" {
			version = found[1]
		}
		if found[1] != version {
			return "", fmt.Errorf("it is of version %s and of %s", version, found[1])
		}
	}
	if version == "" {
		return "", fmt.Errorf("%.40q tells no version", answer)
	}
	return version, nil
}

// assetOf is the asset that a page names.
var assetOf = regexp.MustCompile(`<script src="(/assets/[^"]+)">`)

// asset is the path and the content of the script that the pages of a version name.
func asset(version int) (path, content string) {
	content = body(version, "script")
	sum := sha256.Sum256([]byte(content))
	return "/assets/app.a1" + hex.EncodeToString(sum[:5]) + ".js", content
}

// writeVersion makes the site's directory be a version: its pages, their asset, and
// none of another version's.
func (term *terminal) writeVersion(version int) {
	term.t.Helper()
	for old := range term.assets() {
		term.remove(old)
	}
	path, content := asset(version)
	term.write(path, content)
	for _, page := range pages {
		term.write(fileOf(page), body(version, page, `<script src="`+path+`"></script>`))
	}
}
