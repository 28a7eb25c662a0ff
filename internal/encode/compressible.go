package encode

import "strings"

// Compressible reports whether bodies of a media type become smaller by a
// content coding: text, and binary formats that leave compression to others. It
// takes the value of a Content-Type field, whose parameters and case do
// not matter.
//
// Types it does not know are not compressible, text/event-stream is not because an event
// must not wait for an encoder to fill its block.
func Compressible(contentType string) bool {
	mediaType, _, _ := strings.Cut(contentType, ";")
	mediaType = strings.ToLower(trimOWS(mediaType))
	if kind, _, _ := strings.Cut(mediaType, "/"); kind == "text" {
		return mediaType != "text/event-stream"
	}
	if i := strings.LastIndexByte(mediaType, '+'); i >= 0 {
		return compressibleSuffix(mediaType[i+1:])
	}
	return compressibleType(mediaType)
}

// compressibleSuffix knows the structured syntax suffixes (RFC 6839, RFC 9512).
func compressibleSuffix(suffix string) bool {
	switch suffix {
	case "json", "xml", "yaml", "json-seq":
		return true
	default: // zip, gzip, zstd, and what we do not know
		return false
	}
}

func compressibleType(mediaType string) bool {
	switch mediaType {
	case "application/javascript", "application/x-javascript", "application/ecmascript",
		"application/json", "application/x-ndjson", "application/jsonl", "application/json5",
		"application/xml", "application/xml-dtd",
		"application/yaml", "application/x-yaml", "application/toml",
		"application/x-web-app-manifest", "application/x-sh", "application/sql", "application/graphql",
		"application/rtf", "application/postscript", "application/x-tex", "application/x-subrip":
		return true // text under another name
	case "application/wasm", "application/x-protobuf", "application/vnd.google.protobuf":
		return true
	case "font/ttf", "font/otf", "font/sfnt", "font/collection", "application/font-sfnt",
		"application/x-font-ttf", "application/x-font-otf", "application/x-font-truetype",
		"application/x-font-opentype", "application/vnd.ms-fontobject":
		return true // not woff and woff2, which are compressed
	case "image/x-icon", "image/vnd.microsoft.icon", "image/bmp", "image/x-ms-bmp":
		return true // mostly plain bitmaps
	default:
		return false
	}
}
