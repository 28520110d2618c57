// Package authn turns a credential into a principal.
//
// It owns how a credential is recognised by its look, how a token of an
// identity provider is judged, how a person, an application and an external
// identity are found from what it says, and the cache of verified tokens. It
// does not own key sets (authn/keyring), signatures (authn/jose), or what the
// principal may do (internal/authz). The gateway and the control API call it
// once a request; explain calls it with a trace and without side effects.
package authn
