package devidp

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/go-jose/go-jose/v4"
)

// key is one signing key; the first of the provider's is the default.
type key struct {
	alg jose.SignatureAlgorithm
	jwk jose.JSONWebKey
}

func algorithms() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.EdDSA}
}

// openKeys reads the keys of a file, or makes them, and the file if it has a name.
func openKeys(file string) ([]key, error) {
	if file == "" {
		return newKeys()
	}
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		keys, err := newKeys()
		if err != nil {
			return nil, err
		}
		return keys, writeKeys(file, keys)
	}
	if err != nil {
		return nil, err
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(data, &set); err != nil {
		return nil, fmt.Errorf("%s is not a set of keys: %w", file, err)
	}
	keys := make([]key, 0, len(set.Keys))
	for _, k := range set.Keys {
		keys = append(keys, key{alg: jose.SignatureAlgorithm(k.Algorithm), jwk: k})
	}
	for i, alg := range algorithms() {
		if i >= len(keys) || keys[i].alg != alg || !keys[i].jwk.Valid() || keys[i].jwk.IsPublic() {
			return nil, fmt.Errorf("%s does not hold the private keys that are expected; remove it to have new ones made", file)
		}
	}
	return keys, nil
}

// writeKeys puts the whole file in place at once, readable by its owner alone.
func writeKeys(file string, keys []key) error {
	var set jose.JSONWebKeySet
	for _, k := range keys {
		set.Keys = append(set.Keys, k.jwk)
	}
	data, err := json.Marshal(set)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".devidp-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

func newKeys() ([]key, error) {
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	e, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	var keys []key
	for i, private := range []any{r, e, ed} {
		jwk := jose.JSONWebKey{Key: private, Algorithm: string(algorithms()[i]), Use: "sig"}
		sum, err := jwk.Thumbprint(crypto.SHA256) // RFC 7638
		if err != nil {
			return nil, err
		}
		jwk.KeyID = base64.RawURLEncoding.EncodeToString(sum)
		keys = append(keys, key{alg: algorithms()[i], jwk: jwk})
	}
	return keys, nil
}

// JWKS returns the public keys, as they are served.
func (p *Provider) JWKS() jose.JSONWebKeySet {
	var set jose.JSONWebKeySet
	for _, k := range p.keys {
		set.Keys = append(set.Keys, k.jwk.Public())
	}
	return set
}
