package agent

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"time"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/keys"
)

// shownLeaf is the certificate that members are shown. Before the fleet's CA has issued
// one, it is one that those take who were told the agent's key.
func (a *Agent) shownLeaf() *tls.Certificate {
	if leaf := a.leaf.Load(); leaf != nil {
		return leaf
	}
	return a.first
}

// LeafExpires returns until when the agent's own certificate is valid, or zero if the
// fleet's CA has not issued one yet.
func (a *Agent) LeafExpires() time.Time {
	if leaf := a.leaf.Load(); leaf != nil {
		return leaf.Leaf.NotAfter
	}
	return time.Time{}
}

func (a *Agent) getLeaf(c *call) error {
	return c.answer(api.Leaf{POP: a.enrolment.POP, Key: a.key.Public().String(), Expires: a.LeafExpires()})
}

// putLeaf takes a certificate of the fleet's CA for the agent's own key. New
// connections see it.
func (a *Agent) putLeaf(c *call) error {
	raw, err := c.body(api.MaxPEM)
	if err != nil {
		return err
	}
	pair, err := keys.ParseLeaf(raw, a.key, a.enrolment.Fleet, a.enrolment.POP)
	if err != nil {
		return invalid(err)
	}
	if err := checkLeaf(pair, a.roster.Load().Roster, a.o.Now()); err != nil {
		return invalid(err)
	}
	a.changing.Lock()
	defer a.changing.Unlock()
	if err := a.dir.write(raw, leafFile); err != nil {
		return err
	}
	a.leaf.Store(pair)
	a.log.LogAttrs(c.r.Context(), slog.LevelInfo, "certificate of the agent taken", slog.Time("expires", pair.Leaf.NotAfter))
	return a.getLeaf(c)
}

// checkLeaf refuses a certificate that no client would take, so that who may renew
// cannot lock everybody out. Without a roster there is nothing to compare with. A
// POP whose clock is wrong must not refuse what is right: of dates only the end is
// looked at, with a day's patience.
func checkLeaf(pair *tls.Certificate, roster *keys.Roster, now time.Time) error {
	if pair.Leaf.NotAfter.Before(now.Add(-clockPatience)) {
		return fmt.Errorf("this certificate has expired at %s", pair.Leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	if roster.CA == "" {
		return nil
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(roster.CA)) {
		return fmt.Errorf("roster %d has no certificate of a CA", roster.Number)
	}
	_, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: pair.Leaf.NotAfter, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	if err != nil {
		return fmt.Errorf("this certificate is not of the fleet's CA: %w", err)
	}
	return nil
}

// clockPatience is how wrong the clocks of a POP and of the others may be where
// dates are compared at all.
const clockPatience = 24 * time.Hour
