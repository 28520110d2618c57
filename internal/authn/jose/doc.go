// Package jose reads and verifies one signed JWT, and reads the key sets that verify it. It is pure: no clock, no I/O,
// no state. Cheap limits come before cryptography, and what is not understood is refused.
//
// It owns: the compact JWS form (RFC 7515), key sets (RFC 7517), thumbprints (RFC 7638), the signature algorithms of
// RFC 7518 and RFC 8037 that are not HMAC, and the checks that need nothing but the token and the time. It does not
// own: which keys belong to which provider (authn/keyring), issuers, audiences and subjects as configured (authn), or
// how claims become a principal.
//
// Only primitives of the standard library verify signatures, so there is no algorithm dispatch of somebody else's to
// constrain: "none", HMAC, JWE, detached and JSON-serialised forms have no code here that could accept them. go-jose
// takes part in the tests, as the other opinion.
//
// Callers: authn and authn/keyring.
package jose
