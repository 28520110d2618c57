// Package keyring keeps the key sets of all identity providers, so that verifying a token needs no network and an
// identity provider's outage is not ours.
//
// It owns: fetching key sets in the background (discovery included), when to fetch again, how long a set is good for,
// the copy on disk, the limit on what bad tokens may cost a provider, and the CA each provider is trusted by. It does
// not own: verifying (authn/jose), which providers exist (the snapshot), or what a token means (authn).
//
// Promises, each with a test of that name:
//   - a start, and Reconcile, never wait for a provider;
//   - the last good set goes on while a provider is away, up to StaleFor, over a restart too;
//   - a new set replaces the old one, so a removed key stops working at the next refresh;
//   - an unknown kid costs a provider one fetch in 30 s, however many tokens carry one; a forged signature costs none;
//   - where the cause is ours or the provider's, the answer is ErrUnavailable (503), never ErrUnknownKid (401).
//
// A set is one immutable value behind an atomic pointer: a known kid costs two map look-ups, no lock, no allocation.
// Each provider that is fetched has one goroutine, the only one that fetches and the owner of everything about
// fetching; Close ends them all.
//
// Callers: authn looks keys up; app reconciles; readyz, metrics and explain read Status.
package keyring
