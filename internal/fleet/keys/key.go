package keys

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"pennyfarthing/internal/lockfile"
	"pennyfarthing/internal/mistake"
)

// A Key is an actor's private key (Ed25519, RFC 8032). It never prints its
// secret, whatever verb, logger or encoder it is given to. Safe for concurrent
// use.
type Key struct{ private ed25519.PrivateKey }

// GenerateKey makes a key of 32 bytes of random.
func GenerateKey(random io.Reader) (*Key, error) {
	seed := make([]byte, ed25519.SeedSize)
	if _, err := io.ReadFull(random, seed); err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return &Key{ed25519.NewKeyFromSeed(seed)}, nil
}

// Public returns the identity that belongs to the key.
func (k *Key) Public() PublicKey { return PublicKey(k.private[ed25519.SeedSize:]) }

// Derive returns a secret for a purpose, the same each time (HKDF with SHA-256, RFC
// 5869). It tells nothing of the key, nor of the secret for another purpose.
func (k *Key) Derive(purpose string) [32]byte {
	secret, err := hkdf.Key(sha256.New, k.private.Seed(), nil, "pennyfarthing "+purpose, 32)
	if err != nil {
		panic(fmt.Sprintf("keys: derive 32 bytes: %v", err)) // only lengths can be wrong
	}
	return [32]byte(secret)
}

// OpenKey reads a key from a file, a PEM file of PKCS #8 (RFC 8410), or makes
// the file with a new key of random if there is none; made says so then. The
// directory must be there. Any number of processes may do this at once. A file
// that is damaged, or that others can read, is an error and stays as it is.
func OpenKey(file string, random io.Reader) (key *Key, made bool, err error) {
	unlock, err := lockfile.Wait(file + ".lock")
	if err != nil {
		return nil, false, fmt.Errorf("open key: %w", err)
	}
	defer func() {
		if e := unlock(); e != nil && err == nil {
			key, err = nil, fmt.Errorf("open key: %w", e)
		}
	}()
	data, err := readSecret(file)
	switch {
	case err == nil:
		key, err = parseActorKey(file, data)
		return key, false, err
	case !errors.Is(err, fs.ErrNotExist):
		return nil, false, fmt.Errorf("open key: %w", err)
	}
	if key, err = GenerateKey(random); err != nil {
		return nil, false, err
	}
	if err := writeFile(file, key.pem(), 0o600); err != nil {
		return nil, false, fmt.Errorf("write key: %w", err)
	}
	return key, true, nil
}

// readSecret reads a small file that only its owner may read.
func readSecret(file string) ([]byte, error) {
	data, err := readSmall(file)
	if err != nil {
		return nil, err
	}
	return data, checkSecret(file)
}

// parseActorKey reads a key from the PEM of a file.
func parseActorKey(file string, data []byte) (*Key, error) {
	signer, err := parseKey(data)
	if err != nil {
		return nil, &mistake.Error{File: file, What: err.Error(), Hint: "put it back from a backup; a key cannot be made again"}
	}
	private, ok := signer.(ed25519.PrivateKey)
	if !ok {
		return nil, &mistake.Error{File: file, What: fmt.Sprintf("holds a key of another kind than Ed25519 (%T)", signer), Hint: "put it back from a backup"}
	}
	return &Key{private}, nil
}

// pem returns the key as a PEM file.
func (k *Key) pem() []byte {
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		panic(err) // an Ed25519 key always has this form
	}
	return encodePEM(pemKey, der)
}

// String names the key without its secret.
func (k Key) String() string {
	if len(k.private) != ed25519.PrivateKeySize {
		return "no key"
	}
	return "private key of " + k.Public().String()
}

// Format writes what String does, for every verb.
func (k Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// LogValue is what String returns.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalText returns what String does, so that no encoder finds more.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// makeDir makes a directory of secrets, with those above it.
func makeDir(dir string) error {
	if err := os.MkdirAll(filepath.Clean(dir), 0o700); err != nil {
		return fmt.Errorf("make a directory for keys: %w", err)
	}
	return nil
}
