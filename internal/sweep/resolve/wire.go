package resolve

import (
	"encoding/binary"
	"net/netip"
	"strings"

	"pennyfarthing/internal/verdict"
)

// Of RFC 1035 §4.1, and where it is not in there, of the RFC that is named.
const (
	headerSize  = 12
	mostName    = 255 // on the wire, with its final zero
	mostLabel   = 63
	mostPointer = 64 // compressed names follow at most so many pointers

	typeA     = 1
	typeNS    = 2
	typeCNAME = 5
	typeSOA   = 6
	typeAAAA  = 28 // RFC 3596
	typeOPT   = 41 // RFC 6891
	classIN   = 1

	rcodeOK       = 0
	rcodeFormErr  = 1
	rcodeServFail = 2
	rcodeNXDomain = 3
	rcodeNotImp   = 4
	rcodeRefused  = 5
	rcodeBadVers  = 16 // RFC 6891 §9

	optionEDE            = 15 // RFC 8914 §2
	edeNoReachable       = 22 // RFC 8914 §4.23
	edeNetworkError      = 23 // RFC 8914 §4.24
	ednsSize             = 1232
	optSize              = 11
	packetSize           = headerSize + mostName + 4 + optSize
	mostRecords          = 128 // of an answer section
	mostAddresses        = 16
	mostLinks            = 16 // CNAMEs in a chain
	flagResponse    byte = 0x80
	flagTruncated   byte = 0x02
	flagRecursion   byte = 0x01
	opcode          byte = 0x78
)

// validName reports whether name can be asked for: labels of 1 to 63 bytes, in all at
// most 253, without a final dot.
func validName(name string) bool {
	if name == "" || len(name) > mostName-2 {
		return false
	}
	label := 0
	for i := range len(name) {
		c := name[i]
		switch {
		case c == '.':
			if label == 0 {
				return false
			}
			label = 0
			continue
		case c <= ' ' || c >= 0x7f:
			return false
		}
		if label++; label > mostLabel {
			return false
		}
	}
	return label > 0
}

// packQuery writes a query for a valid name, or for the root if it is empty. The case
// of letters is random. It returns the packet's size and its question's; the id is
// zero.
func packQuery(b *[packetSize]byte, name string, qtype uint16, edns bool, random func() uint64) (size, question int) {
	*(*[headerSize]byte)(b[:]) = [headerSize]byte{2: flagRecursion, 5: 1}
	n := headerSize
	if name != "" {
		label, bits, left := n, uint64(0), 0
		n++
		for i := range len(name) {
			c := name[i]
			if c == '.' {
				b[label] = byte(n - label - 1)
				label = n
				n++
				continue
			}
			if l := c | 0x20; 'a' <= l && l <= 'z' {
				if left == 0 {
					bits, left = random(), 64
				}
				c = c&^0x20 | byte(bits&1)<<5
				bits >>= 1
				left--
			}
			b[n] = c
			n++
		}
		b[label] = byte(n - label - 1)
	}
	b[n] = 0
	binary.BigEndian.PutUint16(b[n+1:], qtype)
	binary.BigEndian.PutUint16(b[n+3:], classIN)
	n += 5
	question = n - headerSize
	if edns {
		b[11] = 1
		*(*[optSize]byte)(b[n:]) = [optSize]byte{2: typeOPT, 3: ednsSize >> 8, 4: ednsSize & 0xff}
		n += optSize
	}
	return n, question
}

// An answer is what a response says. It is used again and again: addrs and records
// are valid up to their numbers.
type answer struct {
	verdict   verdict.Code // OK with addresses, None with alias or truncated
	truncated bool
	rcode     uint16 // with the upper bits of RFC 6891 §6.1.3
	ttl       uint32 // seconds, the least of what led to the addresses
	n         int
	addrs     [mostAddresses]netip.Addr
	alias     string // where the chain of CNAMEs ended without more
	links     int    // CNAMEs of this and earlier answers

	records  int
	record   [mostRecords]record
	soa, ns  bool // of the authority section
	extended [4]uint16
	errors   int // extended errors
}

type record struct {
	owner, data, size int // offsets in the packet, and bytes
	ttl               uint32
	kind              uint16
}

// parse reads a response whose header and question are known to be whole and right.
// links are the CNAMEs that led to its question.
func (a *answer) parse(p []byte, question int, qtype uint16, links int) {
	a.verdict, a.truncated, a.n, a.alias, a.links = verdict.DNSMalformed, p[2]&flagTruncated != 0, 0, "", links
	a.records, a.soa, a.ns, a.errors = 0, false, false, 0
	a.rcode = uint16(p[3] & 0x0f)
	if a.truncated {
		a.verdict = verdict.None
		return
	}
	if a.rcode == rcodeNXDomain {
		a.verdict = verdict.DNSNXDomain
		return
	}
	end, ok := a.answers(p, headerSize+question)
	if a.rcode == rcodeOK {
		if !ok {
			return
		}
		if a.records > 0 {
			a.follow(p, qtype)
			return
		}
	}
	whole := ok && a.others(p, end)
	switch a.rcode {
	case rcodeOK:
		switch {
		case !whole:
		case a.ns && !a.soa: // a referral (RFC 2308 §2.2): this one does not recurse, or not to there
			a.verdict = verdict.DNSLame
		default:
			a.verdict = verdict.DNSNoData
		}
	case rcodeServFail:
		a.verdict = verdict.DNSServFail
		for _, code := range a.extended[:a.errors] {
			if code == edeNoReachable || code == edeNetworkError {
				a.verdict = verdict.DNSLame
			}
		}
	case rcodeRefused:
		a.verdict = verdict.DNSLame
	}
}

// answers reads the answer section.
func (a *answer) answers(p []byte, off int) (end int, ok bool) {
	n := int(binary.BigEndian.Uint16(p[6:]))
	if n > mostRecords {
		return 0, false
	}
	for range n {
		r := &a.record[a.records]
		class := uint16(0)
		if off, class, ok = r.read(p, off); !ok {
			return 0, false
		}
		if !isQuestion(p, r.owner) && !wholeName(p, r.owner) {
			return 0, false
		}
		if class == classIN {
			a.records++
		}
	}
	return off, true
}

// read reads a record at off, and returns where the next one is.
func (r *record) read(p []byte, off int) (next int, class uint16, ok bool) {
	r.owner = off
	if off, ok = skipName(p, off); !ok || off+10 > len(p) {
		return 0, 0, false
	}
	r.kind = binary.BigEndian.Uint16(p[off:])
	class = binary.BigEndian.Uint16(p[off+2:])
	r.ttl = binary.BigEndian.Uint32(p[off+4:])
	if r.ttl > 1<<31-1 { // RFC 2181 §8
		r.ttl = 0
	}
	r.size = int(binary.BigEndian.Uint16(p[off+8:]))
	r.data = off + 10
	next = r.data + r.size
	return next, class, next <= len(p)
}

// others reads the authority and additional sections, as far as they matter.
func (a *answer) others(p []byte, off int) bool {
	ns, ar := int(binary.BigEndian.Uint16(p[8:])), int(binary.BigEndian.Uint16(p[10:]))
	for i := range ns + ar {
		var r record
		var class uint16
		var ok bool
		if off, class, ok = r.read(p, off); !ok {
			return false
		}
		switch {
		case i < ns && r.kind == typeSOA:
			a.soa = true
		case i < ns && r.kind == typeNS:
			a.ns = true
		case i >= ns && r.kind == typeOPT:
			_ = class                                            // it is the size that the peer takes
			a.rcode |= uint16(p[r.data-6]) << 4                  // the upper byte of the ttl
			a.options(p[r.data : r.data+r.size : r.data+r.size]) // nothing after them is theirs
		}
	}
	return true
}

// options reads those of an OPT record that matter: extended errors.
func (a *answer) options(p []byte) {
	for len(p) >= 4 {
		code, size := binary.BigEndian.Uint16(p), int(binary.BigEndian.Uint16(p[2:]))
		p = p[4:]
		if size > len(p) {
			return
		}
		if code == optionEDE && size >= 2 && a.errors < len(a.extended) {
			a.extended[a.errors] = binary.BigEndian.Uint16(p)
			a.errors++
		}
		p = p[size:]
	}
}

// follow goes from the question's name to the addresses.
func (a *answer) follow(p []byte, qtype uint16) {
	name := headerSize
	a.ttl = 1<<32 - 1
	for {
		cname := 0
		for i := range a.records {
			r := &a.record[i]
			if r.kind != qtype && r.kind != typeCNAME || !sameName(p, r.owner, name) {
				continue
			}
			switch {
			case r.kind == typeCNAME:
				if end, ok := skipName(p, r.data); !ok || end != r.data+r.size {
					return
				}
				cname = r.data
			case qtype == typeA && r.size == 4:
				a.add(netip.AddrFrom4([4]byte(p[r.data:])))
			case qtype == typeAAAA && r.size == 16:
				a.add(netip.AddrFrom16([16]byte(p[r.data:])))
			case qtype == typeA, qtype == typeAAAA:
				return
			}
			a.ttl = min(a.ttl, r.ttl)
		}
		if a.n > 0 {
			a.verdict = verdict.OK
			return
		}
		if cname == 0 {
			break
		}
		if a.links++; a.links > mostLinks {
			a.verdict = verdict.DNSLoop
			return
		}
		name = cname
	}
	if name == headerSize { // there are records, but none that was asked for
		a.verdict = verdict.DNSNoData
		return
	}
	alias, ok := readName(p, name)
	if !ok {
		return
	}
	a.alias, a.verdict = alias, verdict.None
}

func (a *answer) add(addr netip.Addr) {
	if a.n < len(a.addrs) {
		a.addrs[a.n] = addr
		a.n++
	}
}

// skipName returns where what follows a name begins.
func skipName(p []byte, off int) (next int, ok bool) {
	for begin := off; off < len(p) && off-begin < mostName; {
		switch c := int(p[off]); {
		case c == 0:
			return off + 1, true
		case c >= 0xc0:
			return off + 2, off+2 <= len(p)
		case c > mostLabel:
			return 0, false
		default:
			off += c + 1
		}
	}
	return 0, false
}

// isQuestion reports whether a name, which was skipped, points to the question's, as is
// usual.
func isQuestion(p []byte, off int) bool { return p[off] == 0xc0 && p[off+1] == headerSize }

// wholeName reports whether a name has an end.
func wholeName(p []byte, off int) bool {
	pointers := mostPointer
	for total := 0; total < mostName; {
		_, n, next := label(p, off, &pointers)
		if n <= 0 {
			return n == 0
		}
		total += n + 1
		off = next
	}
	return false
}

// label is the next label of a name: p[at:at+size], and where the one after it is. A
// size of 0 is the name's end, and less a mistake. *pointers counts down.
func label(p []byte, off int, pointers *int) (at, size, next int) {
	for off < len(p) {
		c := int(p[off])
		switch {
		case c < 0xc0:
			if c > mostLabel || off+1+c > len(p) {
				return 0, -1, 0
			}
			return off + 1, c, off + 1 + c
		case off+1 >= len(p) || *pointers == 0:
			return 0, -1, 0
		}
		*pointers--
		off = (c&0x3f)<<8 | int(p[off+1])
	}
	return 0, -1, 0
}

// sameName reports whether two names in a packet are the same but for the case of
// letters.
func sameName(p []byte, a, b int) bool {
	if b == headerSize && isQuestion(p, a) {
		return true
	}
	pa, pb := mostPointer, mostPointer
	for total := 0; total < mostName; {
		at, n, nextA := label(p, a, &pa)
		bt, m, nextB := label(p, b, &pb)
		if n != m || n < 0 {
			return false
		}
		if n == 0 {
			return true
		}
		if !sameFold(p[at:at+n], p[bt:bt+n]) {
			return false
		}
		a, b = nextA, nextB
		total += n + 1
	}
	return false
}

// sameFold compares two strings of the same length without regard to the case of
// ASCII letters.
func sameFold(a, b []byte) bool {
	for i := range a {
		if a[i] != b[i] && (a[i]|0x20 != b[i]|0x20 || a[i]|0x20 < 'a' || a[i]|0x20 > 'z') {
			return false
		}
	}
	return true
}

// readName returns a name of a packet in lower case, if it is one that can be asked
// for.
func readName(p []byte, off int) (string, bool) {
	var b strings.Builder
	pointers := mostPointer
	for b.Len() < mostName {
		at, n, next := label(p, off, &pointers)
		if n < 0 {
			return "", false
		}
		if n == 0 {
			name := strings.ToLower(b.String())
			return name, validName(name)
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		for _, c := range p[at : at+n] {
			if c == '.' {
				return "", false
			}
			b.WriteByte(c)
		}
		off = next
	}
	return "", false
}

// rcodeName is a response code's mnemonic (RFC 1035, RFC 2136, RFC 6891).
func rcodeName(code uint16) string {
	switch code {
	case rcodeOK:
		return "NOERROR"
	case rcodeFormErr:
		return "FORMERR"
	case rcodeServFail:
		return "SERVFAIL"
	case rcodeNXDomain:
		return "NXDOMAIN"
	case rcodeNotImp:
		return "NOTIMP"
	case rcodeRefused:
		return "REFUSED"
	case 6:
		return "YXDOMAIN"
	case 7:
		return "YXRRSET"
	case 8:
		return "NXRRSET"
	case 9:
		return "NOTAUTH"
	case 10:
		return "NOTZONE"
	case rcodeBadVers:
		return "BADVERS"
	}
	return "RCODE"
}
