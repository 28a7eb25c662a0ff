package result

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"pennyfarthing/internal/sweep/evidence"
)

// A record is a row between its end and its commit. It never outlives the process,
// so it has no version.
//
// Integers are zigzag varints. A string is a varint of 0 where it is empty, 1 where
// it is that of another field (a try's host is mostly the target, its resolver that
// of the try before), and otherwise one more than its length, followed by its bytes.
// A time is its distance in microseconds from another. A body's hash is 32 bytes.

// appendRecord adds the record of a row. What a record cannot keep of it is lost
// in every format: fractions of microseconds, time zones, and bytes that are not
// UTF-8, which no reader of Parquet or JSON would take (U+FFFD stands for them).
func appendRecord(b []byte, r *evidence.Row) []byte {
	w := recordWriter{b}
	w.int(r.Rank)
	w.string(r.Target, "")
	w.string(r.Verdict, "")
	w.int(int64(r.Status))
	w.int(int64(r.FirstStatus))
	w.string(r.Error, "")
	w.string(r.Scheme, "")
	w.string(r.FinalURL, "")
	w.int(int64(r.Redirects))
	w.string(r.Address, "")
	w.int(int64(r.Attempts))
	w.int(r.DNSUS)
	w.int(r.ConnectUS)
	w.int(r.TLSUS)
	w.int(r.FirstByteUS)
	w.int(r.TotalUS)
	w.string(r.TLSVersion, "")
	observed := w.time(r.ObservedAt, 0)
	w.time(r.CertNotAfter, observed)
	w.string(r.Server, "")
	w.string(r.ContentType, "")
	w.int(r.ContentLength)
	w.string(r.Title, "")
	w.hash(r.BodySHA256)
	w.int(r.BodyBytes)
	w.bool(r.Suspect)
	w.string(r.Vantage, "")

	w.uint(uint64(len(r.Tries)))
	before := firstBefore(r)
	for i := range r.Tries {
		t := &r.Tries[i]
		w.string(t.Scheme, before.Scheme)
		w.string(t.Host, before.Host)
		w.int(int64(t.Family))
		w.string(t.Address, before.Address)
		w.string(t.Resolver, before.Resolver)
		w.string(t.Rcode, before.Rcode)
		w.int(int64(t.Status))
		w.string(t.Location, r.FinalURL)
		w.string(t.Verdict, before.Verdict)
		w.int(t.DNSUS)
		w.int(t.ConnectUS)
		w.int(t.TLSUS)
		w.int(t.FirstByteUS)
		w.int(t.TotalUS)
		w.time(t.At, observed)
		w.string(t.Vantage, before.Vantage)
		before = t
	}
	return w.b
}

// firstBefore stands for the try before the first.
func firstBefore(r *evidence.Row) *evidence.Try {
	return &evidence.Try{Scheme: r.Scheme, Host: r.Target, Address: r.Address, Verdict: r.Verdict, Vantage: r.Vantage}
}

var errRecord = errors.New("a record that does not end as it began")

// readRecord fills a row from its record. The row's strings are parts of the record,
// its tries are put into the memory of those it had.
func readRecord(record string, r *evidence.Row) error {
	d := recordReader{rest: record}
	*r = evidence.Row{
		Rank:        d.int(),
		Target:      d.string(""),
		Verdict:     d.string(""),
		Status:      d.int32(),
		FirstStatus: d.int32(),
		Error:       d.string(""),
		Scheme:      d.string(""),
		FinalURL:    d.string(""),
		Redirects:   d.int32(),
		Address:     d.string(""),
		Attempts:    d.int32(),
		DNSUS:       d.int(),
		ConnectUS:   d.int(),
		TLSUS:       d.int(),
		FirstByteUS: d.int(),
		TotalUS:     d.int(),
		TLSVersion:  d.string(""),
		Tries:       r.Tries[:0],
	}
	var observed int64
	r.ObservedAt, observed = d.time(0)
	r.CertNotAfter, _ = d.time(observed)
	r.Server = d.string("")
	r.ContentType = d.string("")
	r.ContentLength = d.int()
	r.Title = d.string("")
	r.BodySHA256 = d.hash()
	r.BodyBytes = d.int()
	r.Suspect = d.bool()
	r.Vantage = d.string("")

	n := d.uint()
	if n > uint64(len(d.rest)) { // a try takes more than a byte
		return errRecord
	}
	before := firstBefore(r)
	for range n {
		t := evidence.Try{
			Scheme:   d.string(before.Scheme),
			Host:     d.string(before.Host),
			Family:   d.int32(),
			Address:  d.string(before.Address),
			Resolver: d.string(before.Resolver),
			Rcode:    d.string(before.Rcode),
			Status:   d.int32(),
			Location: d.string(r.FinalURL),
			Verdict:  d.string(before.Verdict),
			DNSUS:    d.int(), ConnectUS: d.int(), TLSUS: d.int(), FirstByteUS: d.int(), TotalUS: d.int(),
		}
		t.At, _ = d.time(observed)
		t.Vantage = d.string(before.Vantage)
		r.Tries = append(r.Tries, t)
		before = &r.Tries[len(r.Tries)-1]
	}
	if d.bad || d.rest != "" {
		return errRecord
	}
	return nil
}

// checkTimes refuses what RFC 3339 cannot say. DER cannot either, so no certificate
// of a stranger's brings it about.
func checkTimes(r *evidence.Row) error {
	const first, last = -62_167_219_200, 253_402_300_799 // 0000-01-01T00:00:00Z and 9999-12-31T23:59:59Z
	ok := func(t time.Time) bool { return first <= t.Unix() && t.Unix() <= last }
	if !ok(r.CertNotAfter) || !ok(r.ObservedAt) {
		return fmt.Errorf("the row of %s has a time outside of the years 0 to 9999", r.Target)
	}
	for i := range r.Tries {
		if !ok(r.Tries[i].At) {
			return fmt.Errorf("try %d of %s has a time outside of the years 0 to 9999", i+1, r.Target)
		}
	}
	return nil
}

type recordWriter struct{ b []byte }

func (w *recordWriter) int(v int64)   { w.b = binary.AppendVarint(w.b, v) }
func (w *recordWriter) uint(v uint64) { w.b = binary.AppendUvarint(w.b, v) }

func (w *recordWriter) bool(v bool) {
	if v {
		w.b = append(w.b, 1)
	} else {
		w.b = append(w.b, 0)
	}
}

func (w *recordWriter) string(s, other string) {
	switch {
	case s == "":
		w.b = append(w.b, 0)
	case s == other && utf8.ValidString(s):
		w.b = append(w.b, 1)
	default:
		if !utf8.ValidString(s) {
			s = strings.ToValidUTF8(s, "\uFFFD")
		}
		w.uint(uint64(len(s)) + 1)
		w.b = append(w.b, s...)
	}
}

// time writes the distance from base, and returns the time in microseconds.
func (w *recordWriter) time(t time.Time, base int64) int64 {
	if t.IsZero() {
		w.b = append(w.b, 0)
		return 0
	}
	us := t.UnixMicro()
	d := us - base
	w.uint(uint64(d<<1^d>>63) + 1) //nolint:gosec // zigzag, and years are few enough for the one
	return us
}

func (w *recordWriter) hash(s string) {
	if len(s) == 64 && strings.Trim(s, "0123456789abcdef") == "" {
		w.b = append(w.b, 1)
		w.b, _ = hex.AppendDecode(w.b, []byte(s)) // it is hexadecimal
		return
	}
	w.b = append(w.b, 0)
	w.string(s, "")
}

// A recordReader takes a record apart. Once something was bad, everything is zero.
type recordReader struct {
	rest string
	bad  bool
}

func (d *recordReader) fail() {
	d.bad = true
	d.rest = ""
}

func (d *recordReader) uint() uint64 {
	var v uint64
	for i := 0; i < len(d.rest) && i < binary.MaxVarintLen64; i++ {
		c := d.rest[i]
		if i == binary.MaxVarintLen64-1 && c > 1 {
			break // it does not fit
		}
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			d.rest = d.rest[i+1:]
			return v
		}
	}
	d.fail()
	return 0
}

func (d *recordReader) int() int64 {
	v := d.uint()
	return int64(v>>1) ^ -int64(v&1) //nolint:gosec // zigzag
}

func (d *recordReader) int32() int32 {
	v := d.int()
	if v < math.MinInt32 || v > math.MaxInt32 {
		d.fail()
		return 0
	}
	return int32(v)
}

func (d *recordReader) bool() bool { return d.take(1) == "\x01" }

func (d *recordReader) take(n uint64) string {
	if n > uint64(len(d.rest)) {
		d.fail()
		return ""
	}
	s := d.rest[:n]
	d.rest = d.rest[n:]
	return s
}

func (d *recordReader) string(other string) string {
	switch n := d.uint(); n {
	case 0:
		return ""
	case 1:
		return other
	default:
		return d.take(n - 1)
	}
}

func (d *recordReader) time(base int64) (time.Time, int64) {
	v := d.uint()
	if v == 0 {
		return time.Time{}, 0
	}
	v--
	us := base + (int64(v>>1) ^ -int64(v&1)) //nolint:gosec // zigzag
	return time.UnixMicro(us).UTC(), us
}

func (d *recordReader) hash() string {
	if !d.bool() {
		return d.string("")
	}
	var digits [64]byte
	return string(hex.AppendEncode(digits[:0], []byte(d.take(32))))
}
