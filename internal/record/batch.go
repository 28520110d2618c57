package record

import (
	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// Batch is one change of configuration. It is written whole or not at all, in
// one transaction: conditions, rows, audit, and the revision last.
type Batch struct {
	// Conditions must all hold when the transaction begins.
	Conditions []Condition
	// PutResources creates or replaces resources. The store sets UID (on
	// creation, unless set), Generation (counts changes of the spec),
	// ResourceVersion and CreationTimestamp.
	PutResources []v1.Resource
	// DeleteResources removes resources; one that is not there is no error.
	DeleteResources []identity.ResourceKey
	// Secrets are sealed values to keep for resources of this batch.
	Secrets []SealedSecret
	// UserConditions must all hold when the transaction begins.
	UserConditions []UserCondition
	// PutUsers creates or replaces users with their identities and
	// memberships, by uid. One that becomes inactive loses every token and
	// session for good in the same transaction.
	PutUsers []identity.User
	// DeleteUsers removes users by uid: their tokens are revoked, their
	// sessions end and a tombstone is left.
	DeleteUsers []string
	// LiftTombstones, by uid, lets the addresses and identities of people who
	// were removed be used again, by somebody with a new uid.
	LiftTombstones []string
	// PutTokens creates tokens.
	PutTokens []identity.Token
	// RevokeTokens revokes tokens by id; one that is revoked already is no error.
	RevokeTokens []string
	// PutSessions creates sessions.
	PutSessions []identity.Session
	// EndSessions ends sessions; one that has ended already is no error.
	EndSessions []SessionEnd
	// Audit is written with the change.
	Audit []AuditEntry
}

// SessionEnd ends one session, by id, and says why (identity.Session.EndedBy).
type SessionEnd struct {
	ID string
	By string
}

// UserCondition is what must be true of a person for a batch to be written:
// that nobody has written them since they were read.
type UserCondition struct {
	UID string
	// Version is what identity.User.Version must still be; 0 means that the
	// person must not exist.
	Version uint64
}

// Condition is what must be true of a resource for a batch to be written.
type Condition struct {
	Key identity.ResourceKey
	// ResourceVersion must be the resource's present one; "" means that the
	// resource must not exist.
	ResourceVersion string
}

// SealedSecret is an encrypted secret value of a resource.
type SealedSecret struct {
	// Key is the resource, Path the field (spec.credentials.apiKey).
	Key  identity.ResourceKey
	Path string
	// Digest identifies the value: HMAC or hash that is shown as digest.
	Digest string
	// Sealed is the ciphertext.
	Sealed []byte
}
