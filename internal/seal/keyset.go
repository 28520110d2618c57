package seal

import (
	"bytes"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/aead/aesgcm"
	"github.com/tink-crypto/tink-go/v2/insecuresecretdataaccess"
	"github.com/tink-crypto/tink-go/v2/keyset"
	prfsubtle "github.com/tink-crypto/tink-go/v2/prf/subtle"
	tinksubtle "github.com/tink-crypto/tink-go/v2/subtle"
	"github.com/tink-crypto/tink-go/v2/tink"
)

var (
	// ErrWrongKey: the bytes were sealed with a key that this keyset does not hold.
	ErrWrongKey = errors.New("sealed with another master key")
	// ErrAltered: the key is here, but the bytes do not open: they were altered
	// or moved from another place.
	ErrAltered = errors.New("sealed bytes do not open: they were altered, or belong to another place")
)

// keyBytes is the length of every master key: AES-256.
const keyBytes = 32

// Purposes keep the keys that are derived from one master key apart.
const (
	purposeDigest      = "gatehouse/seal/digest/1"
	purposeFingerprint = "gatehouse/seal/fingerprint/1"
	purposeKeyID       = "gatehouse/seal/key-id/1"
	checkPlaintext     = "gatehouse/seal/check/1"
	checkVersion       = "v1"
)

// Keyset is an open master key: one primary key that seals, and the older ones
// that still open. It is safe for concurrent use.
type Keyset struct {
	path     string // where Rotate writes; empty where the key is not in a file
	rotating sync.Mutex
	cur      atomic.Pointer[keys]
}

// keys is what one state of the keyset can do; immutable.
type keys struct {
	handle      *keyset.Handle
	aead        tink.AEAD
	digest      *prfsubtle.HMACPRF
	fingerprint string
	prefixes    [][]byte
}

// Seal encrypts plaintext. The same associated data must be given to Open.
func (k *Keyset) Seal(plaintext, associatedData []byte) ([]byte, error) {
	sealed, err := k.cur.Load().aead.Encrypt(plaintext, associatedData)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return sealed, nil
}

// Open decrypts what Seal returned. Errors are ErrWrongKey and ErrAltered.
func (k *Keyset) Open(sealed, associatedData []byte) ([]byte, error) {
	cur := k.cur.Load()
	plaintext, err := cur.aead.Decrypt(sealed, associatedData)
	switch {
	case err == nil:
		return plaintext, nil
	case cur.holds(sealed):
		return nil, ErrAltered
	default:
		return nil, ErrWrongKey
	}
}

// holds reports whether sealed names one of our keys in its first bytes.
func (k *keys) holds(sealed []byte) bool {
	for _, p := range k.prefixes {
		if bytes.HasPrefix(sealed, p) {
			return true
		}
	}
	return false
}

// AssociatedData binds sealed bytes to one field of one resource, so that they
// do not open when they are copied to another row.
func AssociatedData(resourceUID, path string) []byte {
	b := make([]byte, 0, len(resourceUID)+len(path)+len(checkPlaintext))
	b = append(b, "gatehouse/secret/1"...)
	b = binary.AppendUvarint(b, uint64(len(resourceUID)))
	b = append(b, resourceUID...)
	return append(b, path...)
}

// Digest identifies a stored value without revealing it. It is keyed with the
// master key, so nobody without it can try values against it, and it depends
// on the associated data, so that equal values of two resources look
// different: nobody learns another's password by storing guesses. It changes
// when the primary key does.
func (k *Keyset) Digest(plaintext string, associatedData []byte) string {
	msg := make([]byte, 0, binary.MaxVarintLen64+len(associatedData)+len(plaintext))
	msg = binary.AppendUvarint(msg, uint64(len(associatedData)))
	msg = append(msg, associatedData...)
	msg = append(msg, plaintext...)
	sum, err := k.cur.Load().digest.ComputePRF(msg, 16)
	if err != nil { // Only an output longer than the hash fails, and 16 is not.
		return ""
	}
	return "hmac:" + base64.RawURLEncoding.EncodeToString(sum)
}

// Fingerprint names the primary key without revealing it: 16 hex digits. A
// backup notes it, so that people know which key a restore needs.
func (k *Keyset) Fingerprint() string { return k.cur.Load().fingerprint }

// CheckValue returns what a database keeps so that Verify can tell the wrong
// key. Write it with a new database and again after Rotate.
func (k *Keyset) CheckValue() (string, error) {
	sealed, err := k.Seal([]byte(checkPlaintext), []byte(checkPlaintext))
	if err != nil {
		return "", err
	}
	return checkVersion + "." + k.Fingerprint() + "." + base64.RawURLEncoding.EncodeToString(sealed), nil
}

// Verify says whether this keyset holds the key with which check was made. The
// error is ErrWrongKey with both fingerprints, also for an empty or damaged
// check value: nothing is never the right key.
func (k *Keyset) Verify(check string) error {
	parts := strings.Split(check, ".")
	if len(parts) != 3 || parts[0] != checkVersion {
		return fmt.Errorf("the check value in the database cannot be read, so the master key cannot be verified: %w", ErrWrongKey)
	}
	sealed, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err == nil {
		var plain []byte
		plain, err = k.Open(sealed, []byte(checkPlaintext))
		if err == nil && subtle.ConstantTimeCompare(plain, []byte(checkPlaintext)) == 1 {
			return nil
		}
	}
	return fmt.Errorf("this database needs the master key with the fingerprint %q, the one given has %q; set secrets.masterKey to the key that the database was made with: %w",
		parts[1], k.Fingerprint(), ErrWrongKey)
}

// newKeys derives from a Tink keyset what Keyset needs, and refuses keysets
// that hold anything but AES-256-GCM keys.
func newKeys(h *keyset.Handle) (*keys, error) {
	k := &keys{handle: h}
	for i := range h.Len() {
		entry, err := h.Entry(i)
		if err != nil {
			return nil, errors.New("the keyset cannot be read")
		}
		key, ok := entry.Key().(*aesgcm.Key)
		if !ok || key.KeyBytes().Len() != keyBytes {
			return nil, errors.New("the keyset must hold AES-256-GCM keys only")
		}
		if len(key.OutputPrefix()) == 0 {
			return nil, errors.New("the keyset must not use raw (prefix-less) keys")
		}
		k.prefixes = append(k.prefixes, key.OutputPrefix())
		if !entry.IsPrimary() {
			continue
		}
		raw := key.KeyBytes().Data(insecuresecretdataaccess.Token{})
		sub, err := derive(raw, purposeDigest, keyBytes)
		if err != nil {
			return nil, err
		}
		if k.digest, err = prfsubtle.NewHMACPRF("SHA256", sub); err != nil {
			return nil, fmt.Errorf("derive the digest key: %w", err)
		}
		name, err := derive(raw, purposeFingerprint, 16)
		if err != nil {
			return nil, err
		}
		k.fingerprint = hex.EncodeToString(name[:8])
	}
	if k.digest == nil {
		return nil, errors.New("the keyset has no primary key")
	}
	var err error
	if k.aead, err = aead.New(h); err != nil {
		return nil, errors.New("the keyset cannot be used for encryption")
	}
	return k, nil
}

// derive is HKDF-SHA256 (RFC 5869) with the purpose as info.
func derive(key []byte, purpose string, n uint32) ([]byte, error) {
	out, err := tinksubtle.ComputeHKDF("SHA256", key, nil, []byte(purpose), n)
	if err != nil {
		return nil, fmt.Errorf("derive a key: %w", err)
	}
	return out, nil
}
