package keys_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"pennyfarthing/internal/fleet/keys"
)

// identity is what somebody in a small fleet connects with.
func (s *small) identity(t *testing.T, key *keys.Key) *keys.Identity {
	t.Helper()
	id, err := keys.NewIdentity(fleet, "somebody", key, s.owner.Public(), s.ca.Pin())
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// leaf is the certificate of a POP's agent.
func (s *small) leaf(t *testing.T, name string, key *keys.Key) *tls.Certificate {
	t.Helper()
	return leafFrom(t, s.ca, name, key)
}

func leafFrom(t *testing.T, ca *keys.CA, name string, key *keys.Key) *tls.Certificate {
	t.Helper()
	chain, err := ca.IssuePOP(fleet, name, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := keys.ParseLeaf(chain, key, fleet, name)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// shake connects a client with a server over loopback and lets each say a word,
// because in TLS 1.3 a client learns only then that it was refused. It returns
// both sides' errors, and whom the server saw.
func shake(t *testing.T, client, server *tls.Config) (seen keys.PublicKey, clientErr, serverErr error) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1) // the server's one word
	go func() {
		done <- func() error {
			conn, err := l.Accept()
			if err != nil {
				return err
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(time.Minute))
			s := tls.Server(conn, server)
			if err := s.HandshakeContext(t.Context()); err != nil {
				return err
			}
			state := s.ConnectionState()
			seen, _ = keys.PeerKey(&state)
			_, err = io.WriteString(s, "!")
			return errors.Join(err, s.Close())
		}()
	}()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	c := tls.Client(conn, client)
	clientErr = c.HandshakeContext(t.Context())
	if clientErr == nil {
		_, clientErr = io.ReadFull(c, make([]byte, 1))
	}
	_ = conn.Close()
	serverErr = <-done // which comes after seen
	return seen, clientErr, serverErr
}

func TestWhoMayConnectToWhom(t *testing.T) {
	begin := time.Now()
	s := newSmall(t, at(begin))
	stranger, other := actor(t), newSmall(t, at(begin))
	without := func(change func(*keys.Roster)) *keys.Roster {
		r := *s.roster
		r.Number++
		change(&r)
		return s.reopen(t, r)
	}
	deployer := s.members["one-site"]
	fired := without(func(r *keys.Roster) {
		r.Members, r.Revoked = r.Members[1:], []keys.PublicKey{deployer.Public()}
	})
	popGone := without(func(r *keys.Roster) { r.POPs, r.Revoked = r.POPs[1:], []keys.PublicKey{s.pops["au"].Public()} })
	for _, tc := range []struct {
		name string

		key     *keys.Key     // the client's; nil: the owner's
		roster  *keys.Roster  // that the client has; nil: the fleet's
		none    bool          // the client has no roster
		later   time.Duration // by which the client's clock has gone on
		pop     *keys.Key     // the server's; nil: that of au
		ca      *keys.CA      // of the server's certificate; nil: the fleet's
		certFor string        // in it; "": au
		first   bool          // the server has no certificate of a CA yet
		agent   *keys.Roster  // that the server has; nil: the fleet's

		client string // of the client's error; "": it is content
		server string // of the server's, if the client is content with the server
		is     error  // what one of both must be
	}{
		{name: "the owner"},
		{name: "a deployer of one site", key: deployer},
		{name: "somebody who has no roster yet", key: deployer, none: true},
		{name: "a day before a leaf's end", later: 28 * 24 * time.Hour},
		{name: "an expired leaf whose key is pinned", later: 300 * 24 * time.Hour},
		{name: "an expired leaf and a CA that has expired too", later: 20 * 365 * 24 * time.Hour},

		// What is left to a thief of the CA's key: docs/keys.md. The roster shows it then.
		{name: "a new key in a certificate of the fleet's CA, and no roster", none: true, pop: stranger},

		{name: "a new POP whose key is pinned", first: true},
		{name: "a new POP whose clock is years behind", first: true, later: 20 * 365 * 24 * time.Hour},
		{name: "a new POP whose clock is days ahead", first: true, later: -3 * 24 * time.Hour},

		{name: "a new POP, and no roster", first: true, none: true, client: "unknown authority"},
		{name: "another machine in the place of a new POP", first: true, pop: stranger, client: "does not pin", is: keys.ErrNotPinned},
		{name: "another POP in the place of a new one", first: true, pop: s.pops["ny"], client: "does not pin", is: keys.ErrNotPinned},
		{name: "a new POP that says that it is another", first: true, certFor: "ny", client: "au.test.penny.internal"},
		{name: "a new POP that was taken out", first: true, roster: popGone, client: "does not pin", is: keys.ErrNotPinned},

		{name: "an expired leaf, and no roster", none: true, later: 31 * 24 * time.Hour, client: "expired"},
		{name: "a leaf of the future", later: -2 * time.Hour, client: "not yet valid"},
		{name: "another POP's key and certificate", pop: s.pops["ny"], certFor: "ny", client: "does not pin", is: keys.ErrNotPinned},
		{name: "another POP's key in a certificate for this one", pop: s.pops["ny"], client: "does not pin", is: keys.ErrNotPinned},
		{name: "this POP's key in a certificate for another", certFor: "ny", client: "au.test.penny.internal"},
		{name: "this POP's key in an expired certificate for another", certFor: "ny", later: 300 * 24 * time.Hour, client: "au.test.penny.internal"},
		{name: "another POP, and no roster", none: true, pop: s.pops["ny"], certFor: "ny", client: "au.test.penny.internal"},
		{name: "a new key in a certificate of the fleet's CA: the CA was stolen", pop: stranger, client: "does not pin", is: keys.ErrNotPinned},
		{name: "the same, expired", pop: stranger, later: 300 * 24 * time.Hour, client: "does not pin", is: keys.ErrNotPinned},
		{name: "a POP that was taken out", roster: popGone, client: "does not pin", is: keys.ErrNotPinned},
		{name: "a CA of somebody else's", ca: other.ca, client: "unknown authority"},
		{name: "a CA of somebody else's, expired", ca: other.ca, later: 300 * 24 * time.Hour, client: "unknown authority"},
		{name: "a CA of somebody else's, and no roster", none: true, ca: other.ca, client: "unknown authority"},

		{name: "a stranger", key: stranger, server: "does not have this key", is: keys.ErrNotMember},
		{name: "a member who was revoked", key: deployer, agent: fired, server: "does not have this key", is: keys.ErrNotMember},
		{name: "a POP that comes as a client", key: s.pops["ny"], server: "does not have this key", is: keys.ErrNotMember},
		{name: "a member, to an agent that knows its owner only", key: deployer, agent: keys.NewRoster(fleet, s.owner.Public()), server: "does not have this key", is: keys.ErrNotMember},
		{name: "the owner, to an agent that knows its owner only", agent: keys.NewRoster(fleet, s.owner.Public())},
	} {
		t.Run(tc.name, func(t *testing.T) {
			key, popKey, ca, certFor, agent, roster := tc.key, tc.pop, tc.ca, tc.certFor, tc.agent, tc.roster
			if key == nil {
				key = s.owner
			}
			if popKey == nil {
				popKey = s.pops["au"]
			}
			if ca == nil {
				ca = s.ca
			}
			if certFor == "" {
				certFor = "au"
			}
			if agent == nil {
				agent = s.roster
			}
			if roster == nil && !tc.none {
				roster = s.roster
			}
			leaf := leafFrom(t, ca, certFor, popKey)
			if tc.first {
				var err error
				if leaf, err = popKey.SelfSigned(fleet, certFor, begin); err != nil {
					t.Fatal(err)
				}
			}
			client := keys.ClientTLS(s.identity(t, key), "au", func() *keys.Roster { return roster }, at(begin.Add(tc.later)))
			server := keys.ServerTLS(func() *tls.Certificate { return leaf }, func() *keys.Roster { return agent })
			seen, clientErr, serverErr := shake(t, client, server)
			switch {
			case tc.client == "" && tc.server == "":
				if clientErr != nil || serverErr != nil || seen != key.Public() {
					t.Errorf("client: %v, server: %v, who saw %v", clientErr, serverErr, seen)
				}
			case tc.client != "" && (clientErr == nil || !strings.Contains(clientErr.Error(), tc.client)):
				t.Errorf("client: %v, want %q", clientErr, tc.client)
			case tc.server != "" && (clientErr == nil || serverErr == nil || !strings.Contains(serverErr.Error(), tc.server)):
				t.Errorf("client: %v, server: %v, want %q", clientErr, serverErr, tc.server)
			}
			if tc.is != nil && !errors.Is(clientErr, tc.is) && !errors.Is(serverErr, tc.is) {
				t.Errorf("client: %v, server: %v, neither is %v", clientErr, serverErr, tc.is)
			}
		})
	}
}

func TestClientsThatAreNotOursAreRefused(t *testing.T) {
	s := newSmall(t, time.Now)
	leaf := s.leaf(t, "au", s.pops["au"])
	roster := func() *keys.Roster { return s.roster }
	server := keys.ServerTLS(func() *tls.Certificate { return leaf }, roster)
	plain := &tls.Config{InsecureSkipVerify: true}
	ecdsaKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, ecdsaKey.Public(), ecdsaKey)
	if err != nil {
		t.Fatal(err)
	}
	// The certificate of a member, which went over the wire, without its key.
	ours := keys.ClientTLS(s.identity(t, s.owner), "au", roster, time.Now)
	shown, err := ours.GetClientCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	_, wrongKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		client *tls.Config
		want   string
	}{
		"no certificate":         {plain, "didn't provide a certificate"},
		"TLS 1.2":                {&tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}, "unsupported versions"},
		"a key of another kind":  {with(plain, &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: ecdsaKey}), "no certificate of an Ed25519 key"},
		"a certificate it stole": {with(plain, &tls.Certificate{Certificate: shown.Certificate, PrivateKey: wrongKey}), "invalid signature"},
	} {
		t.Run(name, func(t *testing.T) {
			_, clientErr, serverErr := shake(t, tc.client, server)
			if clientErr == nil || serverErr == nil || !strings.Contains(serverErr.Error(), tc.want) {
				t.Errorf("client: %v, server: %v, want %q", clientErr, serverErr, tc.want)
			}
		})
	}
}

// with returns a configuration that shows a certificate, whatever it is asked for.
func with(c *tls.Config, pair *tls.Certificate) *tls.Config {
	c = c.Clone()
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair, nil }
	return c
}

// A certificate goes over the wire for everybody to see. Who shows that of a new POP, and
// has not its key, is refused.
func TestTheFirstCertificateOfAPOPWithoutItsKeyIsRefused(t *testing.T) {
	s := newSmall(t, time.Now)
	shown, err := s.pops["au"].SelfSigned(fleet, "au", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	_, another, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	roster := func() *keys.Roster { return s.roster }
	thief := &tls.Certificate{Certificate: shown.Certificate, PrivateKey: another}
	_, clientErr, _ := shake(t, keys.ClientTLS(s.identity(t, s.owner), "au", roster, time.Now),
		keys.ServerTLS(func() *tls.Certificate { return thief }, roster))
	if clientErr == nil || !strings.Contains(clientErr.Error(), "invalid signature") {
		t.Errorf("client: %v", clientErr)
	}
}

func TestAnAgentWithoutACertificateSaysSo(t *testing.T) {
	s := newSmall(t, time.Now)
	roster := func() *keys.Roster { return s.roster }
	_, _, serverErr := shake(t, keys.ClientTLS(s.identity(t, s.owner), "au", roster, time.Now),
		keys.ServerTLS(func() *tls.Certificate { return nil }, roster))
	if serverErr == nil || !strings.Contains(serverErr.Error(), "no certificate yet") {
		t.Errorf("server: %v", serverErr)
	}
}

func TestAServerThatShowsNoIdentityIsRefused(t *testing.T) {
	s := newSmall(t, time.Now)
	pair, err := s.ca.Issue([]string{keys.POPName(fleet, "au")}, nil) // ECDSA
	if err != nil {
		t.Fatal(err)
	}
	roster := func() *keys.Roster { return s.roster }
	_, clientErr, _ := shake(t, keys.ClientTLS(s.identity(t, s.owner), "au", roster, time.Now),
		keys.ServerTLS(func() *tls.Certificate { return pair }, roster))
	if !errors.Is(clientErr, keys.ErrNotEd25519) {
		t.Errorf("client: %v", clientErr)
	}
}

func TestPeerKeyOfAPlainConnectionIsNobodys(t *testing.T) {
	for name, cs := range map[string]*tls.ConnectionState{"no TLS": nil, "no certificate": {}} {
		if key, ok := keys.PeerKey(cs); ok {
			t.Errorf("%s: %v", name, key)
		}
	}
}
