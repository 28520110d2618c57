package identity

import (
	"net/netip"
	"time"
)

// PrincipalKind says what a principal is.
type PrincipalKind string

// The kinds.
const (
	KindUser           PrincipalKind = "user"
	KindVirtualAccount PrincipalKind = "virtual-account"
	KindExternal       PrincipalKind = "external-identity"
	KindBootstrap      PrincipalKind = "bootstrap"
)

// Principal is who is asking, as of one snapshot. It is immutable.
type Principal struct {
	Kind PrincipalKind
	// UID is the user's or the virtual account's; empty for external identities.
	UID string
	// Name is the user's e-mail, the virtual account's or the first external
	// identity's name.
	Name string
	// Key is the person at their issuer, where a token of an identity provider
	// said so.
	Key IdentityKey
	// Email labels requests in logs; for external identities it is a claim
	// that grants nothing.
	Email string
	// Subjects are all subjects that apply, sorted.
	Subjects []Subject
	// SubjectIDs are the subjects as the snapshot interned them, sorted.
	SubjectIDs []uint32
	// LimitIDs, where not nil, are the subjects of the owner, who must be
	// permitted too: a team's virtual account has at most what the team has.
	LimitIDs []uint32
	// Teams are those that requests can count for, sorted; without everyone.
	Teams []string
	// DefaultTeam is the team that a request counts for unless it says otherwise.
	DefaultTeam string
	// Admin: role:tenant-admin is among the subjects.
	Admin bool
}

// Grant is the credential by which a principal came: what it narrows and when
// it ends. Decide takes all of it.
type Grant struct {
	// Via is how they came: jwt, personal-access-token, virtual-account-token.
	Via string
	// TokenID is the id of a token of ours; empty for others.
	TokenID string
	// Provider is the identity provider's name; empty for tokens of ours.
	Provider string
	// ExpiresAt ends the credential.
	ExpiresAt time.Time
	// Narrowing is nil where the token is as strong as its owner.
	Narrowing *Narrowing
}

// AllowsAddress reports whether the grant works from an address.
func (g *Grant) AllowsAddress(ip netip.Addr) bool {
	if g.Narrowing == nil || g.Narrowing.CIDR == nil {
		return true
	}
	ip = ip.Unmap()
	for _, p := range g.Narrowing.CIDR {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}
