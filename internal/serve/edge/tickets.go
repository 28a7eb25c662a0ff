package edge

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"time"
)

const (
	// ticketRotation is how long one key seals tickets.
	ticketRotation = 12 * time.Hour
	// ticketKeysKept is how many keys open tickets: a visitor of the last day
	// resumes, and no older ticket can be read by who steals the keys.
	ticketKeysKept = 3
	ticketIDSize   = 16
	serialSize     = 8
)

// ticketKeys seal and open TLS session tickets, over TCP and QUIC alike. The set
// of keys is one atomic value: a key that was withdrawn opens nothing from then on,
// whoever has copied the tls.Config (quic-go does).
//
// A ticket lets its client send early data (0-RTT) once: that is what keeps a
// recorded request from being answered again (RFC 8446 §8.1). No other server has
// the keys, so that it is enough to remember here which have been used.
type ticketKeys struct {
	current atomic.Pointer[[]ticketKey]
	serials serials // of tickets for early data
}

// A ticketKey is AES-256-GCM; its name stands in front of each ticket.
type ticketKey struct {
	id   [ticketIDSize]byte
	aead cipher.AEAD
}

func newTicketKeys() (*ticketKeys, error) {
	t := new(ticketKeys)
	return t, t.rotate()
}

// rotate makes a new key for sealing and forgets the oldest.
func (t *ticketKeys) rotate() error {
	key, err := newTicketKey()
	if err != nil {
		return fmt.Errorf("make a key for session tickets: %w", err)
	}
	keys := []ticketKey{key}
	if old := t.current.Load(); old != nil {
		keys = append(keys, (*old)[:min(len(*old), ticketKeysKept-1)]...)
	}
	t.current.Store(&keys)
	return nil
}

func newTicketKey() (ticketKey, error) {
	var k ticketKey
	var secret [32]byte
	_, _ = rand.Read(k.id[:])   // never fails
	_, _ = rand.Read(secret[:]) // never fails
	block, err := aes.NewCipher(secret[:])
	if err != nil {
		return k, err
	}
	k.aead, err = cipher.NewGCMWithRandomNonce(block)
	return k, err
}

// keepRotating rotates until ctx ends.
func (t *ticketKeys) keepRotating(ctx context.Context) error {
	tick := time.NewTicker(ticketRotation)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := t.rotate(); err != nil {
				return err
			}
		}
	}
}

// wrap is for tls.Config.WrapSession.
func (t *ticketKeys) wrap(_ tls.ConnectionState, session *tls.SessionState) ([]byte, error) {
	plain, err := session.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encode session: %w", err)
	}
	var serial uint64 // of tickets without early data
	if session.EarlyData {
		serial = t.serials.issue()
	}
	key := &(*t.current.Load())[0]
	plain = binary.BigEndian.AppendUint64(plain, serial)
	return key.aead.Seal(append([]byte(nil), key.id[:]...), nil, plain, key.id[:]), nil
}

// unwrap is for tls.Config.UnwrapSession. A ticket that no key opens is no error:
// the handshake is then a full one. Early data is allowed to the first who shows a
// ticket, also if that turns out to be somebody who has only seen it; the rightful
// client then sends its requests again when the handshake is complete.
func (t *ticketKeys) unwrap(ticket []byte, _ tls.ConnectionState) (*tls.SessionState, error) {
	if len(ticket) < ticketIDSize {
		return nil, nil
	}
	id, sealed := ticket[:ticketIDSize], ticket[ticketIDSize:]
	for _, key := range *t.current.Load() {
		if string(key.id[:]) != string(id) {
			continue
		}
		plain, err := key.aead.Open(nil, nil, sealed, id)
		if err != nil {
			return nil, nil
		}
		end := len(plain) - serialSize // what we have sealed has one
		session, err := tls.ParseSessionState(plain[:end])
		if err != nil {
			return nil, nil
		}
		session.EarlyData = session.EarlyData && t.serials.use(binary.BigEndian.Uint64(plain[end:]))
		return session, nil
	}
	return nil, nil
}
