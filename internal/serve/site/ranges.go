package site

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// maxRanges is how many ranges of a file one request may ask for. More get the
// whole file: nobody needs them, and they are dear (RFC 9110 §14.2, §17.15).
const maxRanges = 10

// A span is a run of a representation: start included, end not.
type span struct{ start, end int64 }

// rangeVerdict says what a Range field asks for.
type rangeVerdict uint8

const (
	rangeIgnored     rangeVerdict = iota // not a range we understand, or too much: send everything
	rangeHonoured                        // send the spans
	rangeUnsatisfied                     // 416
)

// parseRange reads a Range field (RFC 9110 §14.1.2, §14.2) for a representation
// of size bytes, appending to buf.
func parseRange(value string, size int64, buf []span) ([]span, rangeVerdict) {
	unit, set, ok := strings.Cut(value, "=")
	if !ok || !strings.EqualFold(unit, "bytes") {
		return nil, rangeIgnored
	}
	asked := 0
	for item := range strings.SplitSeq(set, ",") {
		item = strings.Trim(item, " \t")
		if item == "" {
			continue // empty list members are allowed (RFC 9110 §5.6.1.2)
		}
		s, ok := parseSpan(item, size)
		if asked++; !ok || asked > maxRanges {
			return nil, rangeIgnored
		}
		if s.start < s.end {
			buf = append(buf, s)
		}
	}
	switch {
	case asked == 0:
		return nil, rangeIgnored
	case len(buf) == 0:
		return nil, rangeUnsatisfied
	case overlapping(buf):
		return nil, rangeIgnored
	}
	return buf, rangeHonoured
}

// parseSpan reads "first-last", "first-" or "-suffix". An unsatisfiable one is
// empty; ok is false for a malformed one.
func parseSpan(item string, size int64) (s span, ok bool) {
	first, last, found := strings.Cut(item, "-")
	if !found {
		return span{}, false
	}
	if first == "" {
		n, ok := parseDigits(last)
		return span{max(0, size-n), size}, ok
	}
	start, ok := parseDigits(first)
	if !ok {
		return span{}, false
	}
	if last == "" {
		return span{min(start, size), size}, true
	}
	end, ok := parseDigits(last)
	if !ok || end < start {
		return span{}, false
	}
	return span{min(start, size), min(end, size-1) + 1}, true
}

// parseDigits reads a decimal number without a sign; one too large for any file
// becomes one that is still so.
func parseDigits(s string) (int64, bool) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		n = math.MaxInt64 / 2
	}
	return min(n, math.MaxInt64/2), true
}

func overlapping(spans []span) bool {
	sorted := slices.SortedFunc(slices.Values(spans), func(a, b span) int { return cmp.Compare(a.start, b.start) })
	for i := range len(sorted) - 1 {
		if sorted[i+1].start < sorted[i].end {
			return true
		}
	}
	return false
}

// contentRange formats Content-Range (RFC 9110 §14.4).
func contentRange(s span, size int64) string {
	return fmt.Sprintf("bytes %d-%d/%d", s.start, s.end-1, size)
}

// byteRanges lays out the spans as multipart/byteranges: the parts with their
// heads, the boundary, and the length of it all (RFC 9110 §14.6).
func byteRanges(spans []span, size int64, contentType string) (parts []part, boundary string, length int64) {
	boundary = rand.Text()
	for i, s := range spans {
		head := "\r\n--" + boundary + "\r\nContent-Type: " + contentType + "\r\nContent-Range: " + contentRange(s, size) + "\r\n\r\n"
		if i == 0 {
			head = head[2:]
		}
		parts = append(parts, part{head: head, start: s.start, end: s.end})
		length += int64(len(head)) + s.end - s.start
	}
	last := part{head: "\r\n--" + boundary + "--\r\n"}
	return append(parts, last), boundary, length + int64(len(last.head))
}
