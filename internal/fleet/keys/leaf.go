package keys

import (
	"crypto/tls"
	"fmt"
)

// ParseLeaf reads the certificate of a POP's agent, as [CA.IssuePOP] makes it, and
// joins it to the POP's key. It must be for that key and for the POP's name;
// dates are not looked at, because an agent serves with one that has expired.
func ParseLeaf(pemChain []byte, key *Key, fleet, pop string) (*tls.Certificate, error) {
	if len(pemChain) > maxFile {
		return nil, fmt.Errorf("read the certificate of the POP %s: it has more than %d bytes", pop, maxFile)
	}
	certs, err := parseCertificates(pemChain)
	if err != nil {
		return nil, fmt.Errorf("read the certificate of the POP %s: it %w", pop, err)
	}
	if !samePublicKey(certs[0].PublicKey, key.private.Public()) {
		return nil, fmt.Errorf("read the certificate of the POP %s: it is for another key than this POP's", pop)
	}
	if err := certs[0].VerifyHostname(POPName(fleet, pop)); err != nil {
		return nil, fmt.Errorf("read the certificate of the POP %s: %w", pop, err)
	}
	pair := &tls.Certificate{PrivateKey: key.private, Leaf: certs[0]}
	for _, cert := range certs {
		pair.Certificate = append(pair.Certificate, cert.Raw)
	}
	return pair, nil
}
