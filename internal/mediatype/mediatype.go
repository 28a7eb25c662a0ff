// Package mediatype says what the Content-Type of a file is: by its name, and by
// a look at its content where the name leaves something open. The edge and the
// releases both ask it, so that a file has one type wherever it is.
//
// It is a leaf, and reads no files.
package mediatype

import (
	"bytes"
	"path"
	"strings"
	"unicode/utf8"
)

// byExtension maps file name extensions to media types. It is our own and
// whole, so that a site is served alike on every machine: the system's tables
// differ.
// Types marked by a trailing ";" get "charset=utf-8" if the content is UTF-8.
var byExtension = map[string]string{
	// documents
	".html": "text/html;", ".htm": "text/html;", ".xhtml": "application/xhtml+xml;", ".txt": "text/plain;",
	".text": "text/plain;", ".log": "text/plain;", ".md": "text/markdown;", ".markdown": "text/markdown;", ".csv": "text/csv;",
	".tsv": "text/tab-separated-values;", ".vtt": "text/vtt;", ".srt": "application/x-subrip", ".ics": "text/calendar;",
	".vcf": "text/vcard;", ".pdf": "application/pdf", ".rtf": "application/rtf", ".epub": "application/epub+zip",
	".xml": "application/xml", ".xsl": "application/xslt+xml", ".xslt": "application/xslt+xml", ".rss": "application/rss+xml", ".atom": "application/atom+xml", ".opml": "text/x-opml;",
	".gpx": "application/gpx+xml", ".kml": "application/vnd.google-earth.kml+xml", ".yaml": "application/yaml", ".yml": "application/yaml",
	".toml": "application/toml", ".asc": "text/plain;", ".sh": "text/x-sh;", ".c": "text/plain;", ".h": "text/plain;", ".go": "text/plain;",
	".py": "text/plain;", ".rs": "text/plain;", ".diff": "text/plain;", ".patch": "text/plain;", ".conf": "text/plain;", ".ini": "text/plain;",
	// code and data of pages
	".css": "text/css;", ".js": "text/javascript;", ".mjs": "text/javascript;", ".cjs": "text/javascript;", ".map": "application/json",
	".json": "application/json", ".jsonld": "application/ld+json", ".geojson": "application/geo+json", ".topojson": "application/json", ".json5": "application/json5",
	".ndjson": "application/x-ndjson", ".jsonl": "application/x-ndjson", ".webmanifest": "application/manifest+json",
	".wasm": "application/wasm", ".ts": "video/mp2t", ".bin": "application/octet-stream", ".glb": "model/gltf-binary", ".gltf": "model/gltf+json",
	".parquet": "application/vnd.apache.parquet", ".sqlite": "application/vnd.sqlite3", ".pmtiles": "application/octet-stream",
	// pictures
	".svg": "image/svg+xml", ".png": "image/png", ".apng": "image/apng", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".jfif": "image/jpeg",
	".gif": "image/gif", ".webp": "image/webp", ".avif": "image/avif", ".jxl": "image/jxl", ".heic": "image/heic", ".ico": "image/vnd.microsoft.icon",
	".bmp": "image/bmp", ".tif": "image/tiff", ".tiff": "image/tiff",
	// fonts
	".woff2": "font/woff2", ".woff": "font/woff", ".ttf": "font/ttf", ".otf": "font/otf", ".eot": "application/vnd.ms-fontobject",
	// sound and film
	".mp3": "audio/mpeg", ".m4a": "audio/mp4", ".aac": "audio/aac", ".ogg": "audio/ogg", ".oga": "audio/ogg", ".opus": "audio/ogg", ".wav": "audio/wav", ".flac": "audio/flac",
	".weba": "audio/webm", ".mid": "audio/midi", ".midi": "audio/midi",
	".mp4": "video/mp4", ".m4v": "video/mp4", ".webm": "video/webm", ".ogv": "video/ogg", ".mov": "video/quicktime", ".avi": "video/x-msvideo", ".mkv": "video/x-matroska",
	".m3u8": "application/vnd.apple.mpegurl", ".mpd": "application/dash+xml", ".m4s": "video/iso.segment",
	// archives and programs
	".zip": "application/zip", ".gz": "application/gzip", ".tgz": "application/gzip", ".bz2": "application/x-bzip2", ".xz": "application/x-xz", ".zst": "application/zstd",
	".br": "application/octet-stream", ".7z": "application/x-7z-compressed", ".rar": "application/vnd.rar", ".tar": "application/x-tar", ".jar": "application/java-archive",
	".deb": "application/vnd.debian.binary-package", ".rpm": "application/x-rpm", ".apk": "application/vnd.android.package-archive", ".dmg": "application/x-apple-diskimage",
	".iso": "application/x-iso9660-image", ".exe": "application/vnd.microsoft.portable-executable", ".msi": "application/x-msi",
	".doc": "application/msword", ".xls": "application/vnd.ms-excel", ".ppt": "application/vnd.ms-powerpoint",
	".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
	".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
	".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
	".odt":  "application/vnd.oasis.opendocument.text", ".ods": "application/vnd.oasis.opendocument.spreadsheet", ".odp": "application/vnd.oasis.opendocument.presentation",
}

// SniffLength is how many bytes of a file's beginning are enough to tell its
// [Nature] when the whole is not in memory.
const SniffLength = 64 << 10

// A Nature is what content shows of itself, whatever its name is. It says all
// about the content that its type depends on, so that who keeps it need not read
// the file again to know its type.
type Nature uint8

const (
	// Binary is neither of the others.
	Binary Nature = iota
	// UTF8 is valid UTF-8, with control characters or without any content.
	UTF8
	// Text is UTF-8 that has no control characters but those of text.
	Text
)

// Of returns the Content-Type of a file by its name, looking at its beginning
// only for the charset and for names that say nothing. Content is the whole
// file, or SniffLength bytes of it and more.
func Of(name string, content []byte) string {
	if known, ok := byExtension[strings.ToLower(path.Ext(name))]; ok && known != transportStream && !strings.HasSuffix(known, ";") {
		return known
	}
	return OfNature(name, Look(content))
}

// OfNature is [Of] for content that was looked at before.
func OfNature(name string, nature Nature) string {
	known, ok := byExtension[strings.ToLower(path.Ext(name))]
	if !ok {
		if nature == Text {
			return "text/plain; charset=utf-8"
		}
		return "application/octet-stream"
	}
	if known == transportStream && nature == Text {
		return "text/plain; charset=utf-8" // TypeScript, not a film
	}
	base, isTextType := strings.CutSuffix(known, ";")
	if isTextType && nature >= UTF8 {
		return base + "; charset=utf-8"
	}
	return base // a document in another encoding names it itself
}

// transportStream is the type of ".ts", which two kinds of files share.
const transportStream = "video/mp2t"

// Look returns the nature of content, which is a whole file or at least the first
// SniffLength bytes of it.
func Look(content []byte) Nature {
	switch {
	case !utf8Prefix(content):
		return Binary
	case len(content) == 0 || bytes.ContainsFunc(content, isControl):
		return UTF8
	default:
		return Text
	}
}

func isControl(r rune) bool {
	return r < ' ' && r != '\n' && r != '\r' && r != '\t' && r != '\f' && r != '\x1b' || r == 0x7f
}

// utf8Prefix reports whether content is valid UTF-8, forgiving a rune that is
// cut off at its end.
func utf8Prefix(content []byte) bool {
	for range utf8.UTFMax {
		if utf8.Valid(content) {
			return true
		}
		if len(content) < SniffLength {
			return false
		}
		content = content[:len(content)-1]
	}
	return false
}
