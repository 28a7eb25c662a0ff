package keys

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"pennyfarthing/internal/lockfile"
)

const (
	// popLifetime is short, because nothing revokes a certificate: the roster's pin
	// does it sooner, for who has the roster.
	popLifetime = 30 * 24 * time.Hour
	// renewPOPUnder is what is left of a POP's certificate when it is renewed.
	renewPOPUnder = popLifetime / 3
)

// OpenAuthority opens the CA of a fleet in a state directory, or makes it. It
// needs no owner's key: who only renews the certificates of POPs has enough with
// it, and can pin nothing, because the roster is the owner's.
func OpenAuthority(stateDir, fleet string, now func() time.Time) (*CA, error) {
	if err := checkName("fleet", fleet); err != nil {
		return nil, fmt.Errorf("open CA: %w", err)
	}
	name := "penny " + fleet
	return OpenCA(filepath.Join(FleetDir(stateDir, fleet), "ca"), name[:min(len(name), maxCommonName)],
		Constraints{Names: []string{zoneOf(fleet)}}, now)
}

// FindAuthority opens the CA of a fleet in a state directory, as [OpenAuthority]
// does, where there is one: it makes none, and replaces none that is about to end.
// The error is fs.ErrNotExist if the CA is not on this machine.
func FindAuthority(stateDir, fleet string, now func() time.Time) (*CA, error) {
	if err := checkName("fleet", fleet); err != nil {
		return nil, fmt.Errorf("find CA: %w", err)
	}
	store := caStore{filepath.Join(FleetDir(stateDir, fleet), "ca")}
	if _, err := os.Stat(store.dir); err != nil {
		return nil, fmt.Errorf("find the CA of the fleet %s: %w", fleet, err)
	}
	unlock, err := lockfile.Wait(filepath.Join(store.dir, "ca.lock"))
	if err != nil {
		return nil, fmt.Errorf("find the CA of the fleet %s: %w", fleet, err)
	}
	err = store.finish()
	var pair caPair
	if err == nil {
		pair, err = store.load()
	}
	if err := errors.Join(err, unlock()); err != nil {
		return nil, fmt.Errorf("find the CA of the fleet %s: %w", fleet, err)
	}
	return &CA{pair: pair, file: store.cert(), now: now}, nil
}

// Pin returns what clients know the CA by before they have a roster.
func (ca *CA) Pin() CAPin { return pinOf(ca.pair.cert) }

// IssuePOP makes the certificate of a POP's agent for the POP's own key, valid
// from an hour ago for 30 days, but no longer than the CA. It returns PEM: the
// certificate, and the CA's after it, by which a client that has no roster yet
// knows it.
func (ca *CA) IssuePOP(fleet, pop string, key PublicKey) ([]byte, error) {
	if err := checkName("POP", pop); err != nil {
		return nil, fmt.Errorf("issue certificate: %w", err)
	}
	if key.weak() {
		return nil, fmt.Errorf("issue certificate for the POP %s: anyone can sign for the key %v", pop, key)
	}
	template, err := ca.leafTemplate([]string{POPName(fleet, pop)}, nil)
	if err != nil {
		return nil, fmt.Errorf("issue certificate for the POP %s: %w", pop, err)
	}
	if end := template.NotBefore.Add(popLifetime); end.Before(template.NotAfter) {
		template.NotAfter = end
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.pair.cert, ed25519.PublicKey(key[:]), ca.pair.key)
	if err != nil {
		return nil, fmt.Errorf("issue certificate for the POP %s: %w", pop, err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("issue certificate for the POP %s: %w", pop, err)
	}
	if err := ca.check(leaf); err != nil {
		return nil, fmt.Errorf("issue certificate for the POP %s: it does not hold: %w", pop, err)
	}
	return append(encodePEM(pemCertificate, der), encodePEM(pemCertificate, ca.pair.cert.Raw)...), nil
}

// RenewPOP reports whether it is time for a POP's next certificate: a third of
// the 30 days is left until the present one expires, or nothing.
func RenewPOP(expires, now time.Time) bool {
	return expires.Sub(now) <= renewPOPUnder
}

// RenewCA reports whether it is time for a CA's successor, which [OpenFleet] makes: no
// more than 30 days are left until it expires.
func RenewCA(expires, now time.Time) bool {
	return expires.Sub(now) <= renewCAUnder
}

// FleetDir returns the directory of a fleet's keys in a user's state directory.
func FleetDir(stateDir, fleet string) string { return filepath.Join(stateDir, "fleets", fleet) }
