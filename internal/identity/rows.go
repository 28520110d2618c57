package identity

import v1 "github.com/gatehouse-ai/gatehouse/api/v1"

// Head is a place in the history of the configuration.
type Head struct {
	// Epoch changes when a database is restored; revisions of different epochs
	// do not compare.
	Epoch string `json:"epoch"`
	// Revision grows by one with every configuration transaction.
	Revision uint64 `json:"revision"`
}

// ResourceKey names a resource.
type ResourceKey struct {
	Kind v1.Kind
	Name string
}

// Rows is configuration as the store hands it to the snapshot: everything, in
// portions, or what has changed. A changed thing is listed whole; a removed
// one by its key.
type Rows struct {
	Resources        []v1.Resource
	Quarantined      []Quarantined
	RemovedResources []ResourceKey
	Users            []User
	RemovedUsers     []string // uids
	Tokens           []Token
	RemovedTokens    []Digest
	Tombstones       []Tombstone
	LiftedTombstones []string // uids
}

// Quarantined is a stored resource that this version cannot read; it denies.
type Quarantined struct {
	Key    ResourceKey
	Reason string
}
