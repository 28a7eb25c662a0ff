package simnet

import (
	"encoding/binary"
	"time"
)

// Numbers of RFC 1035 and its successors.
const (
	typeA     = 1
	typeCNAME = 5
	typeSOA   = 6
	typeAAAA  = 28
	typeOPT   = 41

	rcodeFormErr  = 1
	rcodeServFail = 2
	rcodeNXDomain = 3
	rcodeNotImp   = 4
	rcodeRefused  = 5

	optionEDE    = 15 // RFC 8914
	edeBogus     = 6
	edeNoReach   = 22
	edeNetwork   = 23
	dnsHeader    = 12
	maxDNSAnswer = 1232 // what the resolver says it takes over UDP
	maxQuery     = 1500 // bytes; the rest of a longer one is cut off, and it is no query then
)

// Latencies of the real internet, on average.
const (
	dnsLatency  = 30 * time.Millisecond
	httpLatency = 150 * time.Millisecond
	lateDNS     = 300 * time.Millisecond // what a Late name takes longer
)

// A dnsQuery is what matters of one.
type dnsQuery struct {
	end     int // of the question
	kind    uint16
	class   uint16
	edns    bool
	do      bool   // RFC 3225
	name    []byte // in lower case, without the last dot
	nameBuf [255]byte
}

// parse reads a query. It is strict: one question, no compression.
func (q *dnsQuery) parse(b []byte) bool {
	if len(b) < dnsHeader || b[2]&0xf8 != 0 || binary.BigEndian.Uint16(b[4:]) != 1 || binary.BigEndian.Uint32(b[6:]) != 0 {
		return false // an answer, another opcode, or no single question
	}
	p, n := dnsHeader, 0
	for p < len(b) && b[p] != 0 {
		l := int(b[p])
		if l > 63 || p+1+l >= len(b) || n+l+1 > len(q.nameBuf) {
			return false
		}
		if n > 0 {
			q.nameBuf[n] = '.'
			n++
		}
		for _, c := range b[p+1 : p+1+l] {
			if 'A' <= c && c <= 'Z' {
				c += 'a' - 'A'
			}
			q.nameBuf[n] = c
			n++
		}
		p += 1 + l
	}
	if p+5 > len(b) {
		return false
	}
	q.name = q.nameBuf[:n]
	q.kind, q.class = binary.BigEndian.Uint16(b[p+1:]), binary.BigEndian.Uint16(b[p+3:])
	q.end = p + 5
	q.edns, q.do = false, false
	if rest := b[q.end:]; binary.BigEndian.Uint16(b[10:]) > 0 && len(rest) >= 11 && rest[0] == 0 && binary.BigEndian.Uint16(rest[1:]) == typeOPT {
		q.edns, q.do = true, rest[7]&0x80 != 0 // RFC 6891 §6.1.3
	}
	return true
}

// dnsAnswer is what a resolver does about a query.
type dnsAnswer struct {
	before []byte // a message that is sent before the answer, over UDP; mostly none
	packet []byte // the answer; none for silence
	delay  uint16 // in thousandths of the mean latency
	late   bool
}

// resolver answers queries. failsNow is asked about what fails every other time.
type resolver struct {
	world    *World
	failsNow func(key uint64) bool
	query    dnsQuery
	buf      [maxDNSAnswer]byte // of the answer
	buf2     [maxDNSAnswer]byte // of what is sent before it
}

// answer answers a query. The result is valid until the next call. What is no
// query is met with silence.
func (r *resolver) answer(b []byte, overTCP bool) (a dnsAnswer) {
	q := &r.query
	if !q.parse(b) {
		return a
	}
	f := r.world.fate(q.name)
	a.delay, a.late = f.delay, f.Lookup.Quirk == Late
	kind := f.Lookup.Kind
	switch f.Lookup.Quirk {
	case FailsFirst:
		if r.failsNow(hashOf(q.name, flakyDNS+uint64(q.kind))) {
			kind = ServFail
		}
	case SilentFirst:
		if r.failsNow(hashOf(q.name, flakyDNS+uint64(q.kind))) {
			kind = Silent
		}
	case Straight, Truncated, Late, WrongID, WrongQuestion, Junk:
	}
	if kind == Silent {
		return a
	}
	m := message{b: append(r.buf[:0], b[:q.end]...)}
	m.b[2] = 0x80 | b[2]&1 // QR, and RD as it was
	m.b[3] = 0x80          // RA
	clear(m.b[6:dnsHeader])
	if f.Lookup.Quirk == Truncated && !overTCP {
		m.b[2] |= 2
	} else {
		m.say(kind, &f.Lookup, q)
	}
	a.packet = m.b
	if !overTCP && len(m.b) > 0 {
		a.before = r.before(f.Lookup.Quirk, m.b, q)
	}
	return a
}

// before makes what a quirk sends before the answer.
func (r *resolver) before(quirk Quirk, answer []byte, q *dnsQuery) []byte {
	forged := append(r.buf2[:0], answer...)
	switch quirk {
	case WrongID:
		forged[1] ^= 0x55
	case WrongQuestion:
		forged[dnsHeader+1] = 'a' + (forged[dnsHeader+1]|0x20-'a'+1)%26 // the next letter
	case Junk:
		return append(r.buf2[:0], "\xff\xfe\xfdno message of the DNS, and of no use"...)
	default:
		return nil
	}
	if n := len(forged); q.kind == typeA && !q.edns && n > q.end { // who believes it asks where nobody is
		copy(forged[n-4:], []byte{127, closed, 66, 66})
	}
	return forged
}

// message is an answer that grows.
type message struct{ b []byte }

// say writes everything behind the question.
func (m *message) say(kind LookupKind, l *Lookup, q *dnsQuery) {
	ede := uint16(0)
	switch kind {
	case Found:
		m.found(l, q)
	case NXDomain:
		m.b[3] |= rcodeNXDomain
		m.soa(lastLabel(m.b))
	case NoData:
		m.soa(dnsHeader)
	case ServFail:
		m.b[3] |= rcodeServFail
	case ServFailEDE:
		m.b[3] |= rcodeServFail
		ede = edeBogus
	case LameNoReach:
		m.b[3] |= rcodeServFail
		ede = edeNoReach
	case LameNetwork:
		m.b[3] |= rcodeServFail
		ede = edeNetwork
	case Refused:
		m.b[3] |= rcodeRefused
	case FormErr:
		m.b[3] |= rcodeFormErr
	case NotImp:
		m.b[3] |= rcodeNotImp
	case CNAMELoop:
		first := m.alias(dnsHeader, 1)
		second := m.alias(first, 2)
		m.record(second, typeCNAME, 2)
		m.b = append(m.b, 0xc0|byte(first>>8), byte(first))
	case BrokenRecord:
		m.record(dnsHeader, typeA, 4)
		m.b = append(m.b, 127) // and three more are missing
		return
	case Silent:
	}
	if q.edns {
		m.opt(ede, q.do)
	}
}

// found writes addresses, or that there are none of the type.
func (m *message) found(l *Lookup, q *dnsQuery) {
	owner := dnsHeader
	for k := range l.Chain {
		owner = m.alias(owner, k+1)
	}
	switch {
	case q.class == 1 && q.kind == typeA && l.count > 0:
		for _, ip := range l.v4[:l.count] {
			m.record(owner, typeA, 4)
			m.b = append(m.b, ip[:]...)
		}
	case q.class == 1 && q.kind == typeAAAA && l.IPv6:
		m.record(owner, typeAAAA, 16)
		m.b = append(m.b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1)
	default:
		m.soa(owner)
	}
}

// record begins a record in the answer section, whose owner was written at an offset.
func (m *message) record(owner int, kind byte, length byte) {
	m.b[7]++
	m.b = append(m.b, 0xc0|byte(owner>>8), byte(owner), 0, kind, 0, 1, 0, 0, 1, 44, 0, length) //nolint:gosec // 14 bits
}

// alias writes a CNAME and returns the offset of its target.
func (m *message) alias(owner int, number uint8) (target int) {
	const name = "\x02a0\x03cdn\x04test\x00"
	m.record(owner, typeCNAME, byte(len(name)))
	target = len(m.b)
	m.b = append(m.b, name...)
	m.b[target+2] += number
	return target
}

// soa writes the authority section of a negative answer (RFC 2308 §2).
func (m *message) soa(owner int) {
	m.b[9]++
	const (
		names  = "\x01a\x00" + "\x01b\x00"
		number = "\x00\x00\x00\x01" + "\x00\x00\x10\x00" + "\x00\x00\x10\x00" + "\x00\x00\x10\x00" + "\x00\x00\x03\x84"
	)
	m.b = append(m.b, 0xc0|byte(owner>>8), byte(owner), 0, typeSOA, 0, 1, 0, 0, 3, 0x84, 0, byte(len(names)+len(number))) //nolint:gosec // 14 bits
	m.b = append(append(m.b, names...), number...)
}

// opt writes the OPT record (RFC 6891 §6.1), with an extended error unless it is 0.
func (m *message) opt(ede uint16, do bool) {
	m.b[11]++
	flags := byte(0)
	if do {
		flags = 0x80
	}
	m.b = append(m.b, 0, 0, typeOPT, maxDNSAnswer>>8, maxDNSAnswer&0xff, 0, 0, flags, 0, 0)
	if ede == 0 {
		m.b = append(m.b, 0)
		return
	}
	m.b = append(m.b, 6, 0, optionEDE, 0, 2, byte(ede>>8), byte(ede))
}

// lastLabel is the offset of the top-level name in a message's question.
func lastLabel(b []byte) int {
	last := dnsHeader
	for p := dnsHeader; b[p] != 0; p += 1 + int(b[p]) {
		last = p
	}
	return last
}
