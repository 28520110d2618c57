package identity

import (
	"crypto/rand"
	"time"
)

// sessionAlphabet has 64 letters, so that a byte's six low bits choose one
// without favouring any.
const (
	sessionAlphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_"
	sessionLen      = 43 // 258 random bits
)

// Session is a person's signed-in browser, as it is stored: everything but the
// secret in the cookie.
type Session struct {
	// ID is a UUIDv7; logs, lists and the API name the session by it.
	ID string `json:"id"`
	// Digest is the SHA-256 of the cookie's value.
	Digest Digest `json:"-"`
	// UserUID is whose session it is.
	UserUID string `json:"userUid"`
	// Connection is the SsoConnection by which the person came; "break-glass"
	// for the local administrator.
	Connection string `json:"connection"`
	// Issuer and Subject are the person at the identity provider, and
	// ProviderSession is its name for the session there (OIDC sid, SAML
	// SessionIndex): a back-channel logout names either.
	Issuer          string `json:"issuer,omitempty"`
	Subject         string `json:"subject,omitempty"`
	ProviderSession string `json:"providerSession,omitempty"`
	// AuthenticatedAt, ACR and AMR say when and how the person proved who they
	// are (OpenID Connect Core, 2).
	AuthenticatedAt time.Time `json:"authenticatedAt"`
	ACR             string    `json:"acr,omitempty"`
	AMR             []string  `json:"amr,omitempty"`
	CreatedAt       time.Time `json:"createdAt"`
	// LastSeenAt is coalesced, at most a minute late; it takes no revision.
	LastSeenAt time.Time `json:"lastSeenAt"`
	// ExpiresAt is the absolute end; the idle limit is looked at besides.
	ExpiresAt time.Time `json:"expiresAt"`
	// EndedAt is when it was ended before that, and EndedBy why: sign-out,
	// user, admin, back-channel, front-channel, single-logout, deactivation, idle,
	// reset, break-glass-off, sign-in (another took its place).
	EndedAt *time.Time `json:"endedAt,omitempty"`
	EndedBy string     `json:"endedBy,omitempty"`
	// RemoteAddr and UserAgent are what the sign-in came from.
	RemoteAddr string `json:"remoteAddr,omitempty"`
	UserAgent  string `json:"userAgent,omitempty"`
}

// Token returns the session as the snapshot keeps it, beside the tokens: the
// same lookup, the same revocation.
func (s *Session) Token() Token {
	return Token{ID: s.ID, Kind: TokenSession, Digest: s.Digest, Owner: s.UserUID, CreatedAt: s.CreatedAt, ExpiresAt: s.ExpiresAt}
}

// NewSessionSecret makes the value of a session's cookie.
func NewSessionSecret() string {
	b := make([]byte, sessionLen)
	rand.Read(b)
	for i := range b {
		b[i] = sessionAlphabet[b[i]&63]
	}
	return string(b)
}

// ValidSessionSecret reports whether a cookie's value can be a session's at all.
func ValidSessionSecret(s string) bool {
	if len(s) != sessionLen {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if c != '-' && c != '_' && value62(c) < 0 {
			return false
		}
	}
	return true
}
