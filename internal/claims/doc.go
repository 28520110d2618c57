// Package claims finds values in the claims of a validated token by the paths
// that an operator wrote in a manifest, and compares them with what the
// operator asked for.
//
// It owns: the two spellings of a path (a member's name, or a JSON Pointer),
// reading a claim as text values, and matching values against exact or prefix
// patterns.
//
// It does not own: verifying tokens or decoding them (authn), which claim is
// the subject or the e-mail (api/v1 and authn), what a match grants (authz).
// It reads nothing but the map that it is given: a claim is never assembled
// from two others, and a text is never split, so "a b" is one value.
//
// Called by: snapshot, which parses paths when it compiles identity providers,
// external identities and virtual accounts; authn, which looks up and matches;
// control/sso for the claims of an ID token or a SAML assertion.
package claims
