// Package route keeps what lives longer than a snapshot on the way to the
// providers: a transport for each provider account, and for accounts with a
// wildcard the catalogue of the provider's models.
//
// A transport belongs to one account and one set of trust fields (address, CA,
// network flags): while they do not change it is kept, with its connections;
// when one does it is dropped and never used again. Reconcile never waits for
// the network.
//
// It does not own what is sent over a transport (gateway/llm, gateway), nor
// who may see a catalogue's models (internal/authz). Called by
// internal/gateway for every call, and by app for each snapshot.
package route
