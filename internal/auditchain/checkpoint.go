package auditchain

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"
)

// keyPrefix begins the thumbprint of a key.
const keyPrefix = "sha256:"

// Checkpoint is a signed head of a chain.
type Checkpoint struct {
	Chain string
	Head
	// At is when it was signed, in whole milliseconds.
	At time.Time
	// KeyID is the thumbprint of the key that signed it.
	KeyID     string
	Signature []byte
}

// KeyID returns the thumbprint of a public key: "sha256:" and the SHA-256 of its
// SubjectPublicKeyInfo in hexadecimal.
func KeyID(pub ed25519.PublicKey) string {
	sum := sha256.Sum256(spki(pub))
	return keyPrefix + hex.EncodeToString(sum[:])
}

// ValidKeyID reports whether s has the form of a thumbprint.
func ValidKeyID(s string) bool {
	digits, ok := strings.CutPrefix(s, keyPrefix)
	_, err := ParseHash(digits)
	return ok && err == nil
}

// spki is the SubjectPublicKeyInfo of an Ed25519 key, whose DER is the same for
// all keys but for the key itself (RFC 8410 section 4).
func spki(pub ed25519.PublicKey) []byte {
	return append([]byte{0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00}, pub...)
}

func parseSPKI(der []byte) (ed25519.PublicKey, error) {
	prefix := spki(nil)
	if len(der) != len(prefix)+ed25519.PublicKeySize || string(der[:len(prefix)]) != string(prefix) {
		return nil, errors.New("auditchain: it is not the SubjectPublicKeyInfo of an Ed25519 key")
	}
	return ed25519.PublicKey(der[len(prefix):]), nil
}

// MarshalPublicKey writes a key as PEM (RFC 7468 section 13), for --public-key.
func MarshalPublicKey(pub ed25519.PublicKey) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki(pub)})
}

// ParsePublicKeys reads the Ed25519 public keys of a PEM file: one or several.
// It refuses a file that holds something else besides.
func ParsePublicKeys(text []byte) ([]ed25519.PublicKey, error) {
	var keys []ed25519.PublicKey
	blocks := bytes.Count(text, []byte("-----BEGIN"))
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		if block.Type != "PUBLIC KEY" {
			return nil, fmt.Errorf("auditchain: it holds a %q, where only a PUBLIC KEY is expected", block.Type)
		}
		key, err := parseSPKI(block.Bytes)
		if err != nil {
			return nil, err
		}
		keys, text = append(keys, key), rest
	}
	// pem.Decode passes over a block that is damaged; a key must not get lost.
	if len(keys) == 0 || len(keys) != blocks || strings.TrimSpace(string(text)) != "" {
		return nil, errors.New("auditchain: it is not a PEM file of public keys")
	}
	return keys, nil
}

// Sign signs a head. The signer's public key is an ed25519.PublicKey, as that of
// an ed25519.PrivateKey is; At is cut to milliseconds.
func (c Chain) Sign(head Head, at time.Time, signer crypto.Signer) (Checkpoint, error) {
	pub, ok := signer.Public().(ed25519.PublicKey)
	switch {
	case !ok || len(pub) != ed25519.PublicKeySize:
		return Checkpoint{}, errors.New("auditchain: checkpoints are signed with Ed25519 only")
	case c.id == "" || head.Seq == 0 || head.Seq > maxSeq:
		return Checkpoint{}, errors.New("auditchain: there is no entry to sign")
	}
	cp := Checkpoint{Chain: c.id, Head: head, At: toMillis(at), KeyID: KeyID(pub)}
	if y := cp.At.Year(); y < 0 || y > 9999 {
		return Checkpoint{}, fmt.Errorf("auditchain: the year %d cannot be written", y)
	}
	var err error
	if cp.Signature, err = signer.Sign(rand.Reader, cp.signed(), crypto.Hash(0)); err != nil {
		return Checkpoint{}, fmt.Errorf("auditchain: sign a checkpoint: %w", err)
	}
	return cp, nil
}

// SignedBy reports whether the checkpoint was signed with a key.
func (c *Checkpoint) SignedBy(pub ed25519.PublicKey) bool {
	return len(pub) == ed25519.PublicKeySize && c.KeyID == KeyID(pub) && ed25519.Verify(pub, c.signed(), c.Signature)
}

func (c *Checkpoint) signed() []byte { return appendCheckpointBody([]byte(checkpointDomain), c) }
