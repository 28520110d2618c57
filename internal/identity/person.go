package identity

import (
	"encoding/json"
	"strings"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
)

// User is a person. The uid never changes and is never used again.
type User struct {
	UID string `json:"uid"`
	// Email is lower case and unique.
	Email string `json:"email"`
	// UserName is unique where it is set; set by an admin or SCIM, never by a JWT.
	UserName    string `json:"userName,omitempty"`
	DisplayName string `json:"displayName,omitempty"`
	// Active: false stops everything of theirs. The write that makes it false
	// revokes their tokens and ends their sessions for good.
	Active    bool      `json:"active"`
	CreatedAt time.Time `json:"createdAt"`
	// Version grows with every write of the person; writers state the one that
	// they have read (record.UserCondition). Set by the store.
	Version uint64 `json:"version,omitempty"`
	// Manager is who owns the person's data: api, or scim:NAME for a directory.
	// Empty means api.
	Manager string `json:"manager,omitempty"`
	// ExternalID is the directory's own id for the person (RFC 7643, 3.1).
	ExternalID string `json:"externalId,omitempty"`
	// Attributes are what else a directory keeps about the person, as a JSON
	// object; nothing is decided by them.
	Attributes json.RawMessage `json:"attributes,omitempty"`
	// Identities are how identity providers name the person.
	Identities []UserIdentity `json:"identities,omitempty"`
	// Memberships are those that do not stand in a Team's manifest.
	Memberships []Membership `json:"memberships,omitempty"`
}

// FromDirectory reports whether a SCIM directory owns the person. It alone says
// then which groups they are in: what a sign-in or a token says counts for
// nothing.
func (u *User) FromDirectory() bool { return v1.FromDirectory(u.Manager) }

// UserIdentity is how one issuer names a person.
type UserIdentity struct {
	// Issuer is the token's iss, or urn:gatehouse:idp:UID for a provider
	// without one.
	Issuer string `json:"issuer"`
	// Subject is the token's subject at that issuer.
	Subject  string    `json:"subject"`
	LinkedAt time.Time `json:"linkedAt"`
}

// IdentityKey is a person at an issuer; it keys everything personal.
type IdentityKey struct {
	Issuer  string
	Subject string
}

// SubjectWithin is the subject of somebody whom an issuer names uniquely only
// within something else, such as a tenant. The first / separates the two.
func SubjectWithin(within, subject string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(within) + "/" + subject
}

// MaxGroups is how many groups of a token or a sign-in are read.
const MaxGroups = 256

// Membership says that a user belongs to a team, and who says so.
type Membership struct {
	Team string `json:"team"`
	// Source is manual, scim or sso:ISSUER.
	Source string `json:"source"`
	// Manager: the user manages the team too.
	Manager bool `json:"manager,omitempty"`
	// ExpiresAt ends a membership learned at sign-in.
	ExpiresAt *time.Time `json:"expiresAt,omitempty"`
}

// Tombstone keeps somebody who was removed from being made again by a token
// that is still valid.
type Tombstone struct {
	UID        string        `json:"uid"`
	Email      string        `json:"email"`
	Identities []IdentityKey `json:"identities,omitempty"`
	DeletedAt  time.Time     `json:"deletedAt"`
}

// LocalAdministrator is the e-mail address of the local administrator, who is
// for the day on which no identity provider works. Its domain exists nowhere
// (RFC 2606, section 2).
const LocalAdministrator = "break-glass@gatehouse.invalid"

// ReservedEmail reports whether an address is one that Gatehouse keeps for
// itself: nobody speaks for it, is given it, or is linked to who has it.
func ReservedEmail(email string) bool { return strings.HasSuffix(email, "@gatehouse.invalid") }

// Arrival is a person whom a token describes and whom the snapshot does not
// know: what the directory needs to create or link them.
type Arrival struct {
	Key         IdentityKey
	Email       string
	DisplayName string
	// Create: a person who does not exist may be created.
	Create bool
	// LinkByEmail: an existing user with this address may be linked.
	LinkByEmail bool
	// Via, RemoteAddr and RequestID are for the audit: through what credential
	// and from where. Through is the resource that vouches for the person.
	Via        string
	Through    string
	RemoteAddr string
	RequestID  string
}

// Decide says what becomes of an arrival whose identity nobody has: whether a
// user is created, or else the one with the same e-mail address is linked.
// exists: there is one. linked: that user has another identity of the issuer.
//
// Errors: identity_conflict, not_found.
func (a *Arrival) Decide(exists, linked bool) (create bool, err error) {
	conflict := func(detail string) error {
		return &Error{Code: CodeIdentityConflict, Message: "this identity conflicts with an existing user; ask an administrator", Detail: detail}
	}
	switch {
	case ReservedEmail(a.Email):
		return false, conflict("the address is the local administrator's; nobody else has it")
	case exists && !a.LinkByEmail:
		return false, conflict("a user with this e-mail address exists, and this identity provider does not link by e-mail")
	case exists && linked:
		return false, conflict("the user is linked to another subject of this issuer; an admin may unlink it")
	case exists:
		return false, nil
	case a.Create && v1.ValidEmail(a.Email):
		return true, nil
	}
	return false, &Error{
		Code: CodeNotFound, Message: "there is no user for this token",
		Detail: "creating needs resolve.users: create and a valid e-mail address in the token",
	}
}
