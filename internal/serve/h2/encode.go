package h2

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// notSent are fields that HTTP/2 does not have (RFC 9113 §8.2.2).
var notSent = []string{"Connection", "Proxy-Connection", "Keep-Alive", "Transfer-Encoding", "Upgrade"}

// keepEncoded is the largest buffer for header blocks that a connection keeps.
const keepEncoded = 1 << 10

// encode appends one field to the header block that is being made. mu is held.
func (c *conn) encode(name, value string) {
	if len(c.encoded) == 0 {
		c.encoded = c.table.Begin(c.encoded)
	}
	c.encoded = c.table.AppendField(c.encoded, name, value)
}

// encodeAll appends fields in the order of their names. mu is held.
func (c *conn) encodeAll(h http.Header) {
	names := make([]string, 0, len(h))
	for name := range h {
		if !strings.HasPrefix(name, http.TrailerPrefix) && !slices.Contains(notSent, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		lower := strings.ToLower(name)
		if !validName(lower) {
			continue
		}
		for _, value := range h[name] {
			if value = strings.Trim(value, " \t"); validValue(value) {
				c.encode(lower, value)
			}
		}
	}
}

// sendEncoded sends the header block that was made. mu is held, and was since
// the first of its fields was encoded: the order counts (RFC 7541 §2.2).
func (c *conn) sendEncoded(id uint32, ends bool) {
	block := c.encoded
	kind := frameHeaders
	for {
		n := min(len(block), maxFrame)
		var flags uint8
		if n == len(block) {
			flags |= flagEndHeaders
		}
		if ends && kind == frameHeaders {
			flags |= flagEndStream
		}
		c.begin(n, kind, flags, id)
		c.out = append(c.out, block[:n]...)
		block, kind = block[n:], frameContinuation
		if len(block) == 0 {
			break
		}
	}
	if c.encoded = c.encoded[:0]; cap(c.encoded) > keepEncoded {
		c.encoded = nil
	}
}

// appendStatus appends ":status", by its index in the static table where it has one.
// mu is held.
func (c *conn) appendStatus(dst []byte, status int) []byte {
	switch status {
	case http.StatusOK:
		return append(dst, 0x80|8)
	case http.StatusPartialContent:
		return append(dst, 0x80|10)
	case http.StatusNotModified:
		return append(dst, 0x80|11)
	case http.StatusNotFound:
		return append(dst, 0x80|13)
	}
	return c.table.AppendField(dst, ":status", strconv.Itoa(status))
}
