package simnet

import (
	"encoding/binary"
	"errors"
	"io"
)

// serverName reads the server's name out of the first record of a TLS client: empty
// where it names none. It is what decides which fate a handshake has before one byte
// is said, so it is read by hand; package tls reads it again.
//
// RFC 8446 §4.1.2 has the message, RFC 6066 §3 the extension.
func serverName(record []byte) (name string, ok bool) {
	r := reader(record)
	header, ok := r.take(5)
	if !ok || header[0] != 22 || header[1] != 3 {
		return "", false
	}
	if len(r) < 4 || r[0] != 1 {
		return "", false
	}
	r = r[4:]
	if _, ok = r.take(2 + 32); !ok { // version, random
		return "", false
	}
	for _, size := range []int{1, 2, 1} { // session, cipher suites, compression methods
		if _, ok = r.vector(size); !ok {
			return "", false
		}
	}
	extensions, ok := r.vector(2)
	if !ok {
		return "", len(r) == 0 // none are allowed
	}
	for len(extensions) > 0 {
		kind, ok := extensions.take(2)
		if !ok {
			return "", false
		}
		body, ok := extensions.vector(2)
		if !ok {
			return "", false
		}
		if binary.BigEndian.Uint16(kind) != 0 {
			continue
		}
		names, ok := body.vector(2)
		if !ok {
			return "", false
		}
		kind, ok = names.take(1)
		if !ok || kind[0] != 0 {
			return "", false
		}
		host, ok := names.vector(2)
		if !ok || !validSNI(host) {
			return "", false
		}
		return string(host), true
	}
	return "", true
}

// validSNI reports names that a certificate can be made for.
func validSNI(host []byte) bool {
	for _, c := range host {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return len(host) > 0 && len(host) <= 253
}

// reader is bytes yet to be read.
type reader []byte

func (r *reader) take(n int) ([]byte, bool) {
	if len(*r) < n {
		return nil, false
	}
	taken := (*r)[:n]
	*r = (*r)[n:]
	return taken, true
}

// vector takes a vector with a length of so many bytes before it.
func (r *reader) vector(size int) (reader, bool) {
	length, ok := r.take(size)
	if !ok {
		return nil, false
	}
	n := 0
	for _, b := range length {
		n = n<<8 | int(b)
	}
	return r.take(n)
}

// readHello reads the first record of a client.
func readHello(conn io.Reader) ([]byte, error) {
	record := make([]byte, 5, 2048)
	if _, err := io.ReadFull(conn, record); err != nil {
		return nil, err
	}
	size := int(binary.BigEndian.Uint16(record[3:]))
	if record[0] != 22 || size > 16<<10 { // RFC 8446 §5.1
		return nil, errors.New("no handshake")
	}
	record = append(record, make([]byte, size)...)
	_, err := io.ReadFull(conn, record[5:])
	return record, err
}
