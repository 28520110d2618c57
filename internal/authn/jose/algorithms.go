package jose

import (
	"crypto"
	_ "crypto/sha256" // the hashes of RFC 7518
	_ "crypto/sha512"
	"slices"
)

// algorithm is what a signature algorithm asks of its key.
type algorithm struct {
	kty  string
	crv  string // EC and OKP
	hash crypto.Hash
	pss  bool
}

// Algorithms are all we verify, and the default of an identity provider's algorithms field. HMAC and none are not in
// the list and cannot be put there.
func Algorithms() []string {
	return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
}

func lookupAlgorithm(name string) (algorithm, bool) {
	switch name {
	case "RS256":
		return algorithm{kty: "RSA", hash: crypto.SHA256}, true
	case "RS384":
		return algorithm{kty: "RSA", hash: crypto.SHA384}, true
	case "RS512":
		return algorithm{kty: "RSA", hash: crypto.SHA512}, true
	case "PS256":
		return algorithm{kty: "RSA", hash: crypto.SHA256, pss: true}, true
	case "PS384":
		return algorithm{kty: "RSA", hash: crypto.SHA384, pss: true}, true
	case "PS512":
		return algorithm{kty: "RSA", hash: crypto.SHA512, pss: true}, true
	case "ES256":
		return algorithm{kty: "EC", crv: "P-256", hash: crypto.SHA256}, true
	case "ES384":
		return algorithm{kty: "EC", crv: "P-384", hash: crypto.SHA384}, true
	case "ES512":
		return algorithm{kty: "EC", crv: "P-521", hash: crypto.SHA512}, true
	case "EdDSA": // RFC 8037, Ed25519 only
		return algorithm{kty: "OKP", crv: "Ed25519"}, true
	}
	return algorithm{}, false
}

// CheckAlgorithm refuses a token whose alg is not among allowed. An empty list allows nothing.
func CheckAlgorithm(t *Token, allowed []string) error {
	if !slices.Contains(allowed, t.Alg) {
		return Refuse(AlgorithmNotAllowed, "the token is signed with %s; this provider allows %v", t.Alg, allowed)
	}
	return nil
}
