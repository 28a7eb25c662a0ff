package site

import (
	"bytes"
	"path"
	"strings"
	"unicode/utf8"
)

// mediaTypes maps file name extensions to media types. It is our own and whole,
// so that a site is served alike on every machine: the system's tables differ.
// Types marked by a trailing ";" get "charset=utf-8" if the content is UTF-8.
var mediaTypes = map[string]string{
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

// sniffLength is how much of a file decides whether it is UTF-8 text when its
// name says nothing, or when the whole is not in memory.
const sniffLength = 64 << 10

// mediaType returns the Content-Type of a file by its name, looking at its
// beginning only for the charset and for names that say nothing.
func mediaType(name string, content []byte) string {
	known, ok := mediaTypes[strings.ToLower(path.Ext(name))]
	if !ok {
		if isText(content) {
			return "text/plain; charset=utf-8"
		}
		return "application/octet-stream"
	}
	if known == "video/mp2t" && isText(content) {
		return "text/plain; charset=utf-8" // TypeScript, not a film
	}
	base, isTextType := strings.CutSuffix(known, ";")
	if isTextType && utf8Prefix(content) {
		return base + "; charset=utf-8"
	}
	return base // a document in another encoding names it itself
}

// isText reports whether content is UTF-8 without control characters.
func isText(content []byte) bool {
	return len(content) > 0 && utf8Prefix(content) && bytes.IndexFunc(content, isControl) < 0
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
		if len(content) < sniffLength {
			return false
		}
		content = content[:len(content)-1]
	}
	return false
}
