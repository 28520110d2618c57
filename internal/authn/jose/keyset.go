package jose

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
)

const (
	maxKeys    = 100
	minRSABits = 2048
	maxRSABits = 8192
)

// Key is one public key that may verify signatures. It is immutable.
type Key struct {
	Kid        string // "" where the JWK has none
	Alg        string // "" where the JWK leaves it open
	Kty        string // RSA, EC or OKP
	Crv        string // P-256, P-384, P-521 or Ed25519; "" for RSA
	Thumbprint string // RFC 7638, SHA-256, base64url

	public crypto.PublicKey
}

// ParseKeySet reads a JWK Set. err means that the document as a whole is no key set (HTML, no keys member, more than
// 100 keys) and the caller keeps the one it has. problems names each key that was left out and why: private and
// symmetric keys, encryption keys, unknown types, weak ones. One bad key does not spoil the set.
// A kid that two keys share is allowed (RFC 7517 section 4.5): both are candidates.
func ParseKeySet(data []byte) (keys []Key, problems []error, err error) {
	raw, err := splitKeySet(data)
	if err != nil {
		return nil, nil, fmt.Errorf("not a JWK Set: %w", err)
	}
	for i, one := range raw {
		key, err := parseKey(one)
		if err != nil {
			problems = append(problems, fmt.Errorf("key %d (kid %.80q): %w", i, key.Kid, err))
			continue
		}
		keys = append(keys, key)
	}
	return keys, problems, nil
}

// splitKeySet finds the keys without decoding them, so that a broken one breaks only itself.
func splitKeySet(data []byte) ([]json.RawMessage, error) {
	if !json.Valid(data) {
		if trimmed := bytes.TrimSpace(data); len(trimmed) > 0 && trimmed[0] == '<' {
			return nil, errors.New("it is HTML or XML")
		}
		return nil, errors.New("it is not JSON")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	if first, err := dec.Token(); err != nil || first != json.Delim('{') {
		return nil, errors.New("it is not a JSON object")
	}
	var keys []json.RawMessage
	found := false
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, err
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return nil, err
		}
		if name != "keys" {
			continue
		}
		if found {
			return nil, errors.New("it has two keys members")
		}
		found = true
		if raw[0] != '[' {
			return nil, errors.New("keys is not a list")
		}
		if err := json.Unmarshal(raw, &keys); err != nil {
			return nil, err
		}
	}
	if !found {
		return nil, errors.New("it has no keys member")
	}
	if len(keys) > maxKeys {
		return nil, fmt.Errorf("it has %d keys, at most %d are read", len(keys), maxKeys)
	}
	return keys, nil
}

func parseKey(raw []byte) (Key, error) {
	jwk, err := decodeObject(string(raw))
	if err != nil {
		return Key{}, err
	}
	var k Key
	for name, field := range map[string]*string{"kid": &k.Kid, "alg": &k.Alg, "kty": &k.Kty, "crv": &k.Crv} {
		if v, present := jwk[name]; present {
			s, ok := v.(string)
			if !ok {
				return k, fmt.Errorf("%s is not a string", name)
			}
			*field = s
		}
	}
	if err := checkUse(jwk); err != nil {
		return k, err
	}
	switch k.Kty {
	case "RSA":
		k.Crv = ""
		err = k.readRSA(jwk)
	case "EC":
		err = k.readEC(jwk)
	case "OKP":
		err = k.readOKP(jwk)
	case "oct":
		err = errors.New("a symmetric key can never verify a token here")
	default:
		err = fmt.Errorf("kty %.40q is not supported", k.Kty)
	}
	if err != nil {
		return k, err
	}
	if k.Alg != "" {
		a, ok := lookupAlgorithm(k.Alg)
		if !ok || a.kty != k.Kty || a.crv != k.Crv {
			return k, fmt.Errorf("alg %.40q does not fit a %s %s key", k.Alg, k.Kty, k.Crv)
		}
	}
	return k, nil
}

// checkUse keeps what is published for verifying. A set that shows private parts shows them to everybody: that key is
// no longer anyone's proof.
func checkUse(jwk map[string]any) error {
	for _, name := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"} {
		if _, present := jwk[name]; present {
			return fmt.Errorf("it has the private or symmetric member %q: whoever reads the set can sign with it", name)
		}
	}
	if use, present := jwk["use"]; present && use != "sig" {
		return errors.New("its use is not sig")
	}
	if ops, present := jwk["key_ops"]; present {
		list, ok := ops.([]any)
		if !ok || !slices.Contains(list, any("verify")) {
			return errors.New("its key_ops do not contain verify")
		}
	}
	return nil
}

func octets(jwk map[string]any, name string) ([]byte, error) {
	s, ok := jwk[name].(string)
	if !ok || s == "" {
		return nil, fmt.Errorf("%s is missing", name)
	}
	b, err := decodeBase64(nil, s)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return b, nil
}

func (k *Key) readRSA(jwk map[string]any) error {
	nBytes, err := octets(jwk, "n")
	if err != nil {
		return err
	}
	eBytes, err := octets(jwk, "e")
	if err != nil {
		return err
	}
	n, e := new(big.Int).SetBytes(nBytes), new(big.Int).SetBytes(eBytes)
	switch {
	case n.BitLen() < minRSABits || n.BitLen() > maxRSABits:
		return fmt.Errorf("RSA of %d bits; %d to %d are accepted", n.BitLen(), minRSABits, maxRSABits)
	case n.Bit(0) == 0:
		return errors.New("the RSA modulus is even")
	case e.BitLen() > 31 || e.Bit(0) == 0 || e.Cmp(big.NewInt(3)) < 0:
		return errors.New("the RSA exponent is not an odd number from 3 to 2^31-1")
	case isROCA(n):
		return errors.New("the RSA key has the ROCA weakness (CVE-2017-15361): its private key can be computed")
	}
	k.public = &rsa.PublicKey{N: n, E: int(e.Int64())}
	k.Thumbprint = thumbprint(fmt.Sprintf(`{"e":"%s","kty":"RSA","n":"%s"}`, encode(e.Bytes()), encode(n.Bytes())))
	return nil
}

func (k *Key) readEC(jwk map[string]any) error {
	var curve elliptic.Curve
	switch k.Crv {
	case "P-256":
		curve = elliptic.P256()
	case "P-384":
		curve = elliptic.P384()
	case "P-521":
		curve = elliptic.P521()
	default:
		return fmt.Errorf("curve %.40q is not supported", k.Crv)
	}
	x, err := octets(jwk, "x")
	if err != nil {
		return err
	}
	y, err := octets(jwk, "y")
	if err != nil {
		return err
	}
	size := (curve.Params().BitSize + 7) / 8
	if len(x) != size || len(y) != size { // RFC 7518 section 6.2.1.2
		return fmt.Errorf("coordinates of %d and %d bytes do not fit %s", len(x), len(y), k.Crv)
	}
	point := slices.Concat([]byte{4}, x, y)
	if k.public, err = ecdsa.ParseUncompressedPublicKey(curve, point); err != nil {
		return fmt.Errorf("the point is not on %s", k.Crv)
	}
	k.Thumbprint = thumbprint(fmt.Sprintf(`{"crv":"%s","kty":"EC","x":"%s","y":"%s"}`, k.Crv, encode(x), encode(y)))
	return nil
}

func (k *Key) readOKP(jwk map[string]any) error {
	if k.Crv != "Ed25519" {
		return fmt.Errorf("curve %.40q is not supported", k.Crv)
	}
	x, err := octets(jwk, "x")
	if err != nil {
		return err
	}
	if len(x) != ed25519.PublicKeySize {
		return fmt.Errorf("x of %d bytes does not fit Ed25519", len(x))
	}
	k.public = ed25519.PublicKey(x)
	k.Thumbprint = thumbprint(fmt.Sprintf(`{"crv":"Ed25519","kty":"OKP","x":"%s"}`, encode(x)))
	return nil
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func thumbprint(canonical string) string {
	sum := sha256.Sum256([]byte(canonical))
	return encode(sum[:])
}

// isROCA is the fingerprint of Nemec et al., "The Return of Coppersmith's Attack" (2017): the modulus of a weak key is
// a power of 65537 modulo each of the first primes. By chance that happens less than once in 2^150 moduli.
func isROCA(n *big.Int) bool {
	primes := []int64{
		3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97,
		101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
	}
	rest := new(big.Int)
	for _, p := range primes {
		want := rest.Mod(n, big.NewInt(p)).Int64()
		power, found := int64(1), false
		for range p {
			if power == want {
				found = true
				break
			}
			power = power * 65537 % p
		}
		if !found {
			return false
		}
	}
	return true
}
