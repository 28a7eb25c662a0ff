package agent

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/mistake"
)

// An Enrolment says to which fleet a POP belongs. It is decided once: an agent
// believes the rosters of this owner and of nobody else.
type Enrolment struct {
	Fleet string         `json:"fleet"`
	POP   string         `json:"pop"`
	Owner keys.PublicKey `json:"owner"`
}

// isZero reports whether nothing was said.
func (e Enrolment) isZero() bool { return e == Enrolment{} }

// Check reports whether the names can be a fleet's and a POP's: labels of host
// names in lower case (RFC 1123 §2.1).
func (e Enrolment) Check() error {
	for what, name := range map[string]string{"fleet": e.Fleet, "POP": e.POP} {
		if !isSiteName(name) || strings.ContainsAny(name, "._") {
			return &mistake.Error{What: fmt.Sprintf("%.80q is not a name for a %s", name, what), Hint: "use lower-case letters, digits and hyphens, at most 63"}
		}
	}
	return nil
}

// maxSmall is more than any of the small files of the state directory needs.
const maxSmall = 1 << 20

// ErrNotEnrolled says that a state directory belongs to no fleet yet.
var ErrNotEnrolled = errors.New("this agent is not enrolled in a fleet")

// Key returns the public key of the agent with a state directory, which it makes,
// with a new key, if there is none. The private one never leaves the directory.
func Key(dir string) (keys.PublicKey, error) {
	d, err := openDirectory(dir)
	if err != nil {
		return keys.PublicKey{}, err
	}
	key, _, err := keys.OpenKey(d.in(keyFile), rand.Reader)
	if err != nil {
		return keys.PublicKey{}, err
	}
	return key.Public(), nil
}

// Enrol returns to which fleet the agent with a state directory belongs, which is
// the one that is asked for if it belongs to none; the error is ErrNotEnrolled if
// none was asked for either. To belong to another one is a mistake.
func Enrol(dir string, asked Enrolment) (Enrolment, error) {
	d, err := openDirectory(dir)
	if err != nil {
		return Enrolment{}, err
	}
	return d.enrol(asked)
}

// enrol returns the enrolment of a state directory, which becomes the one that is
// asked for if it has none.
func (d directory) enrol(asked Enrolment) (Enrolment, error) {
	data, err := d.read(maxSmall, enrolmentFile)
	if errors.Is(err, fs.ErrNotExist) {
		if asked.isZero() {
			return Enrolment{}, ErrNotEnrolled
		}
		if err := asked.Check(); err != nil {
			return Enrolment{}, err
		}
		data, err := json.Marshal(asked)
		if err != nil {
			return Enrolment{}, err
		}
		return asked, d.write(data, enrolmentFile)
	}
	if err != nil {
		return Enrolment{}, fmt.Errorf("read the enrolment: %w", err)
	}
	var has Enrolment
	if err := json.Unmarshal(data, &has); err != nil {
		return Enrolment{}, &mistake.Error{File: d.in(enrolmentFile), What: fmt.Sprintf("it is damaged: %v", err), Hint: "enrol the agent anew: remove the file, and give --owner, --fleet and --pop"}
	}
	if !asked.isZero() && asked != has {
		return Enrolment{}, &mistake.Error{
			File: d.in(enrolmentFile),
			What: fmt.Sprintf("this agent is the POP %s of the fleet %s, which belongs to %s", has.POP, has.Fleet, has.Owner),
			Hint: "leave out --owner, --fleet and --pop, or take another directory with --state",
		}
	}
	return has, nil
}

// InstallLeaf stores the certificate that the owner of a fleet issued for the
// agent with a state directory (PEM). It is for a first time without anybody's word:
// otherwise who renews brings it by the API, as all later ones.
func InstallLeaf(dir string, e Enrolment, pemChain []byte) error {
	d, err := openDirectory(dir)
	if err != nil {
		return err
	}
	if e, err = d.enrol(e); err != nil {
		return err
	}
	key, _, err := keys.OpenKey(d.in(keyFile), rand.Reader)
	if err != nil {
		return err
	}
	if _, err := keys.ParseLeaf(pemChain, key, e.Fleet, e.POP); err != nil {
		return &mistake.Error{What: err.Error(), Hint: "it must be issued for the key " + key.Public().String()}
	}
	return d.write(pemChain, leafFile)
}

// loadLeaf returns the agent's certificate, or nil if it has none.
func (d directory) loadLeaf(key *keys.Key, e Enrolment) (*tls.Certificate, error) {
	data, err := d.read(maxSmall, leafFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return keys.ParseLeaf(data, key, e.Fleet, e.POP)
}
