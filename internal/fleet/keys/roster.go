package keys

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"pennyfarthing/internal/mistake"
)

// KindRoster is the kind of statement that a roster is in.
const KindRoster = "roster"

// The limits of a roster. It must fit into a statement besides.
const (
	maxMembers = 1000
	maxRights  = 100 // of one member
	maxPOPs    = 1000
	maxRevoked = 4000
	maxCAs     = 4 // one, and those that it replaces
)

// A Member is somebody whom the owner has given rights.
type Member struct {
	Name string    `json:"name"` // like a host name's label
	Key  PublicKey `json:"key"`
	May  []Right   `json:"may"`
}

// A POPKey says which key a POP has.
type POPKey struct {
	Name string    `json:"name"`
	Key  PublicKey `json:"key"`
}

// A Roster is who belongs to a fleet, and what each may do. Who is not in it may
// do nothing. Every change of it has the next number, and is signed by the
// owner, who may do everything; agents take no lower number than they have.
//
// It is a value: whoever changes one makes another first. [OpenRoster] and
// [NewRoster] make one that knows its owner, without which nobody owns it.
type Roster struct {
	Fleet   string      `json:"fleet"`
	Number  uint64      `json:"number"`
	Time    time.Time   `json:"time"` // when it was signed, in whole seconds of UTC
	CA      string      `json:"ca"`   // certificates of the fleet's CA, PEM, the one in use first
	Members []Member    `json:"members"`
	POPs    []POPKey    `json:"pops"`
	Revoked []PublicKey `json:"revoked"` // the latest that were taken out; they cannot come back

	owner PublicKey
}

// NewRoster returns the roster of a fleet of which nothing is known but its
// owner: its number is 0, and any other replaces it. An agent begins with it.
func NewRoster(fleet string, owner PublicKey) *Roster {
	return &Roster{Fleet: fleet, owner: owner, Members: []Member{}, POPs: []POPKey{}, Revoked: []PublicKey{}}
}

// OpenRoster returns the roster of a statement, if it is one of the fleet, its
// owner has signed it, and it makes sense.
func OpenRoster(st *Statement, owner PublicKey, fleet string) (*Roster, error) {
	payload, err := st.Verify(fleet, KindRoster)
	if err != nil {
		return nil, err
	}
	if st.Key != owner {
		return nil, fmt.Errorf("verify a roster: it is signed by %v, but the owner of the fleet %q is %v", st.Key, fleet, owner)
	}
	r := Roster{owner: owner}
	if err := decodeStrictly(payload, &r); err != nil {
		return nil, fmt.Errorf("read the roster of the fleet %q: %w", fleet, err)
	}
	if r.Fleet != fleet {
		return nil, fmt.Errorf("read the roster of the fleet %q: it says that it is of %.80q", fleet, r.Fleet)
	}
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("read roster %d of the fleet %q: %w", r.Number, fleet, err)
	}
	return &r, nil
}

// sign checks a roster and signs it with its owner's key.
func (r *Roster) sign(key *Key) (*Statement, error) {
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("sign roster %d of the fleet %q: %w", r.Number, r.Fleet, err)
	}
	payload, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("sign roster %d of the fleet %q: %w", r.Number, r.Fleet, err)
	}
	return key.Sign(KindRoster, r.Fleet, payload)
}

// check finds everything in a roster that cannot be meant.
func (r *Roster) check() error {
	wrong := []error{checkName("fleet", r.Fleet), r.checkSize()}
	if r.Number == 0 {
		wrong = append(wrong, errors.New("its number is 0"))
	}
	if !r.Time.Equal(r.Time.Truncate(time.Second)) || r.Time.Location() != time.UTC {
		wrong = append(wrong, errors.New("its time is not in whole seconds of UTC"))
	}
	if _, err := r.authorities(); err != nil {
		wrong = append(wrong, err)
	}
	holders := map[PublicKey]string{r.owner: "the owner"}
	holds := func(key PublicKey, who string) {
		if other, taken := holders[key]; taken {
			wrong = append(wrong, fmt.Errorf("%s has the key of %s", who, other))
		}
		holders[key] = who
		if key.weak() {
			wrong = append(wrong, fmt.Errorf("%s has a key for which anyone can sign", who))
		}
	}
	for i, m := range r.Members {
		wrong = append(wrong, checkName("member", m.Name), m.checkRights())
		if slices.ContainsFunc(r.Members[:i], func(o Member) bool { return o.Name == m.Name }) {
			wrong = append(wrong, fmt.Errorf("there are two members %q", m.Name))
		}
		holds(m.Key, fmt.Sprintf("the member %q", m.Name))
	}
	for i, p := range r.POPs {
		wrong = append(wrong, checkName("POP", p.Name))
		if slices.ContainsFunc(r.POPs[:i], func(o POPKey) bool { return o.Name == p.Name }) {
			wrong = append(wrong, fmt.Errorf("there are two POPs %q", p.Name))
		}
		holds(p.Key, fmt.Sprintf("the POP %q", p.Name))
	}
	for _, key := range r.Revoked {
		holds(key, "somebody revoked")
	}
	return errors.Join(wrong...)
}

func (r *Roster) checkSize() error {
	for _, list := range []struct {
		what      string
		len, most int
	}{
		{"members", len(r.Members), maxMembers},
		{"POPs", len(r.POPs), maxPOPs},
		{"revoked keys", len(r.Revoked), maxRevoked},
	} {
		if list.len > list.most {
			return fmt.Errorf("it has %d %s; at most %d are possible", list.len, list.what, list.most)
		}
	}
	return nil
}

func (m Member) checkRights() error {
	switch {
	case len(m.May) == 0:
		return fmt.Errorf("the member %q may do nothing", m.Name)
	case len(m.May) > maxRights:
		return fmt.Errorf("the member %q has %d rights; at most %d are possible", m.Name, len(m.May), maxRights)
	}
	var wrong []error
	for _, right := range m.May {
		wrong = append(wrong, right.check())
	}
	return errors.Join(wrong...)
}

// authorities returns the certificates of the fleet's CA.
func (r *Roster) authorities() ([]*x509.Certificate, error) {
	certs, err := parseCertificates([]byte(r.CA))
	if err != nil {
		return nil, fmt.Errorf("its CA %w", err)
	}
	if len(certs) > maxCAs {
		return nil, fmt.Errorf("it has %d certificates of CAs; at most %d are possible", len(certs), maxCAs)
	}
	for _, cert := range certs {
		if !cert.IsCA {
			return nil, fmt.Errorf("the certificate of %s in it is not of a CA", nameOf(cert))
		}
	}
	return certs, nil
}

// CAExpires returns until when the fleet's CA is valid, or zero if the roster has none.
func (r *Roster) CAExpires() time.Time {
	certs, err := r.authorities()
	if err != nil {
		return time.Time{}
	}
	return certs[0].NotAfter
}

// Owner returns the key of the fleet's owner.
func (r *Roster) Owner() PublicKey { return r.owner }

// Member returns the member with a key. The owner is none.
func (r *Roster) Member(key PublicKey) (Member, bool) {
	i := slices.IndexFunc(r.Members, func(m Member) bool { return m.Key == key })
	if i < 0 {
		return Member{}, false
	}
	return r.Members[i], true
}

// Knows reports whether a key is the owner's or a member's: who may read the
// status of the fleet.
func (r *Roster) Knows(key PublicKey) bool {
	_, member := r.Member(key)
	return member || r.isOwner(key)
}

// May reports whether who has a key has a right. The owner has every one. The
// zero Site of a deploy asks for every site.
func (r *Roster) May(key PublicKey, right Right) bool {
	if r.isOwner(key) {
		return true
	}
	m, ok := r.Member(key)
	return ok && slices.ContainsFunc(m.May, func(has Right) bool { return has.Covers(right) })
}

// isOwner guards against a roster that knows no owner: the zero key is not one.
func (r *Roster) isOwner(key PublicKey) bool { return key == r.owner && !key.weak() }

// POP returns the key that the roster pins for a POP.
func (r *Roster) POP(name string) (PublicKey, bool) {
	i := slices.IndexFunc(r.POPs, func(p POPKey) bool { return p.Name == name })
	if i < 0 {
		return PublicKey{}, false
	}
	return r.POPs[i].Key, true
}

// clone returns a copy that shares nothing that can be changed.
func (r *Roster) clone() *Roster {
	c := *r
	c.Members, c.POPs, c.Revoked = slices.Clone(r.Members), slices.Clone(r.POPs), slices.Clone(r.Revoked)
	return &c
}

// checkName refuses what is not a label of a host name in lower case (RFC 1123
// §2.1): fleets, members and POPs have such names.
func checkName(what, name string) error {
	err := checkLabel(name)
	if err == nil && strings.Contains(name, "_") {
		err = errors.New("it has the character '_'")
	}
	if err == nil {
		return nil
	}
	return &mistake.Error{
		What: fmt.Sprintf("%.80q is not a name for a %s: %v", name, what, err),
		Hint: "use lower-case letters, digits and hyphens, at most 63",
	}
}

// sameStatement reports whether two statements are the same, signatures
// included.
func sameStatement(a, b *Statement) bool { return bytes.Equal(a.encode(), b.encode()) }
