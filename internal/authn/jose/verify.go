package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"math/big"
)

// Verify checks the token's signature with this key. Before any arithmetic the key must fit the token: type and curve
// for its alg, the JWK's own alg where it has one, the same kid where both have one.
// Errors: AlgorithmNotAllowed, UnknownKey, BadSignature.
func (k *Key) Verify(t *Token) error {
	if err := k.fits(t); err != nil {
		return err
	}
	a, _ := lookupAlgorithm(t.Alg)
	ok := false
	switch public := k.public.(type) {
	case *rsa.PublicKey:
		ok = verifyRSA(public, a, t)
	case *ecdsa.PublicKey:
		ok = verifyECDSA(public, a, t)
	case ed25519.PublicKey:
		ok = ed25519.Verify(public, []byte(t.input), t.signature)
	}
	if !ok {
		return Refuse(BadSignature, "the %s signature does not verify with key %.80q", t.Alg, k.Kid)
	}
	return nil
}

func (k *Key) fits(t *Token) error {
	a, ok := lookupAlgorithm(t.Alg)
	switch {
	case !ok:
		return Refuse(AlgorithmNotAllowed, "alg %.40q", t.Alg)
	case a.kty != k.Kty || a.crv != k.Crv:
		return Refuse(AlgorithmNotAllowed, "alg %s does not fit the %s %s key %.80q", t.Alg, k.Kty, k.Crv, k.Kid)
	case k.Alg != "" && k.Alg != t.Alg: // RFC 8725 section 3.1: one key, one algorithm
		return Refuse(AlgorithmNotAllowed, "the token's alg is %s, key %.80q is for %s", t.Alg, k.Kid, k.Alg)
	case t.Kid != "" && k.Kid != "" && t.Kid != k.Kid:
		return Refuse(UnknownKey, "the token names key %.80q, this is %.80q", t.Kid, k.Kid)
	}
	return nil
}

// VerifyAny tries the keys that fit and returns the one that verified. With none that fits the error is that of the
// last key (UnknownKey where there is no key at all); otherwise BadSignature.
func VerifyAny(t *Token, keys []*Key) (*Key, error) {
	var last error = Refuse(UnknownKey, "there is no key to try")
	tried := false
	for _, k := range keys {
		fit := k.fits(t)
		if fit != nil && tried {
			continue
		}
		err := fit
		if fit == nil {
			tried = true
			if err = k.Verify(t); err == nil {
				return k, nil
			}
		}
		last = err
	}
	return nil, last
}

func verifyRSA(public *rsa.PublicKey, a algorithm, t *Token) bool {
	if a.pss { // RFC 7518 section 3.5: the salt is as long as the hash
		opts := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: a.hash}
		return rsa.VerifyPSS(public, a.hash, digest(a.hash, t.input), t.signature, opts) == nil
	}
	return rsa.VerifyPKCS1v15(public, a.hash, digest(a.hash, t.input), t.signature) == nil
}

// digest hashes what was signed. The usual hash is called by its name, so that the text need not be copied.
func digest(hash crypto.Hash, input string) []byte {
	if hash == crypto.SHA256 {
		sum := sha256.Sum256([]byte(input))
		return sum[:]
	}
	h := hash.New()
	h.Write([]byte(input))
	return h.Sum(nil)
}

func verifyECDSA(public *ecdsa.PublicKey, a algorithm, t *Token) bool {
	size := (public.Curve.Params().BitSize + 7) / 8
	if len(t.signature) != 2*size { // RFC 7518 section 3.4: R and S at full length, no DER
		return false
	}
	r := new(big.Int).SetBytes(t.signature[:size])
	s := new(big.Int).SetBytes(t.signature[size:])
	return ecdsa.Verify(public, digest(a.hash, t.input), r, s)
}
