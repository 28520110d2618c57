package identity

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"hash/crc32"
	"math/big"
	"net/netip"
	"strings"
	"time"
	"unsafe"
)

// TokenKind is what a token of ours is for; it stands in its prefix.
type TokenKind byte

// The kinds.
const (
	TokenPersonal       TokenKind = 'p' // gtp_: a person's own
	TokenVirtualAccount TokenKind = 'v' // gtv_: an application's
	TokenAgent          TokenKind = 'a' // gta_
	TokenSCIM           TokenKind = 's' // gts_
	TokenRefresh        TokenKind = 'r' // gtr_

	// TokenSession marks a browser's session beside the tokens in the
	// snapshot. No bearer token has it: ParseToken refuses the letter.
	TokenSession TokenKind = 'c'
)

// String returns the kind's name in answers and logs.
func (k TokenKind) String() string {
	switch k {
	case TokenPersonal:
		return "personal-access-token"
	case TokenVirtualAccount:
		return "virtual-account-token"
	case TokenAgent:
		return "agent-token"
	case TokenSCIM:
		return "scim-token"
	case TokenRefresh:
		return "refresh-token"
	case TokenSession:
		return "session"
	default:
		return "unknown"
	}
}

// MarshalText writes the kind as a word, as in answers and logs.
func (k TokenKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (k *TokenKind) UnmarshalText(b []byte) error {
	for _, kind := range []TokenKind{TokenPersonal, TokenVirtualAccount, TokenAgent, TokenSCIM, TokenRefresh, TokenSession} {
		if kind.String() == string(b) {
			*k = kind
			return nil
		}
	}
	return Errorf(CodeInvalidRequest, "%q is not a kind of token", b)
}

// Digest is the SHA-256 of a whole token. Tokens carry 256 random bits, so it
// needs neither salt nor pepper.
type Digest [sha256.Size]byte

// DigestOf returns the digest of a token.
func DigestOf(token string) Digest { return sha256.Sum256([]byte(token)) }

// String returns sha256: and the digest in hexadecimal, as in manifests.
func (d Digest) String() string { return "sha256:" + hex.EncodeToString(d[:]) }

// ParseDigest reads what String writes.
func ParseDigest(s string) (Digest, bool) {
	var d Digest
	h, ok := strings.CutPrefix(s, "sha256:")
	if !ok || len(h) != 2*len(d) {
		return d, false
	}
	_, err := hex.Decode(d[:], []byte(h))
	return d, err == nil
}

const (
	base62       = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	secretLen    = 43 // 256 bits in base62
	checksumLen  = 6  // 32 bits in base62
	prefixLen    = 4  // "gtp_"
	tokenTextLen = prefixLen + secretLen + checksumLen
)

// NewToken makes a token: gt, the kind, an underscore, 256 random bits in
// base62 and a checksum that lets secret scanners and typing errors be told
// from real tokens without asking anybody.
func NewToken(kind TokenKind) string {
	var raw [32]byte
	_, _ = rand.Read(raw[:]) // never fails: crypto/rand
	body := "gt" + string(byte(kind)) + "_" + encode62(new(big.Int).SetBytes(raw[:]), secretLen)
	return body + checksum(body)
}

func checksum(body string) string {
	return encode62(big.NewInt(int64(crc32.ChecksumIEEE([]byte(body)))), checksumLen)
}

func encode62(n *big.Int, width int) string {
	out := make([]byte, width)
	base, rem := big.NewInt(62), new(big.Int)
	for i := width - 1; i >= 0; i-- {
		n.DivMod(n, base, rem)
		out[i] = base62[rem.Int64()]
	}
	return string(out)
}

// LooksLikeOurs reports whether a credential has the beginning of a token of
// ours, right or wrong; such a thing is never shown to anybody else.
func LooksLikeOurs(s string) bool {
	return len(s) >= prefixLen && s[0] == 'g' && s[1] == 't' && s[3] == '_'
}

// ParseToken checks the form and the checksum of a token.
func ParseToken(s string) (TokenKind, bool) {
	if len(s) != tokenTextLen || !LooksLikeOurs(s) {
		return 0, false
	}
	kind := TokenKind(s[2])
	switch kind {
	case TokenPersonal, TokenVirtualAccount, TokenAgent, TokenSCIM, TokenRefresh:
	default:
		return 0, false
	}
	// Without big numbers: this runs on every request.
	var sum uint64
	for i := prefixLen; i < tokenTextLen; i++ {
		v := value62(s[i])
		if v < 0 {
			return 0, false
		}
		if i >= tokenTextLen-checksumLen {
			sum = sum*62 + uint64(v)
		}
	}
	return kind, sum == uint64(crcString(s[:tokenTextLen-checksumLen]))
}

// crcString is crc32.ChecksumIEEE for a string, which takes bytes only.
func crcString(s string) uint32 {
	return crc32.ChecksumIEEE(unsafe.Slice(unsafe.StringData(s), len(s)))
}

func value62(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'A' && c <= 'Z':
		return int(c-'A') + 10
	case c >= 'a' && c <= 'z':
		return int(c-'a') + 36
	default:
		return -1
	}
}

// Token is a token of ours as it is stored: everything but itself.
type Token struct {
	// ID is a UUIDv7; logs and the API name the token by it.
	ID string `json:"id"`
	// Kind must equal the prefix of the token.
	Kind TokenKind `json:"kind"`
	// Name is for people.
	Name string `json:"name"`
	// Digest finds the token.
	Digest Digest `json:"-"`
	// Owner is the uid of a user or of a virtual account; empty for the
	// bootstrap token.
	Owner string `json:"owner"`
	// Bootstrap marks the one-time admin token of an empty installation. It
	// stops working when the first admin exists.
	Bootstrap bool `json:"bootstrap,omitempty"`
	// CreatedAt and ExpiresAt are UTC. A token always expires.
	CreatedAt time.Time `json:"createdAt"`
	ExpiresAt time.Time `json:"expiresAt"`
	// Revoked tokens are kept so that the audit can name them.
	RevokedAt *time.Time `json:"revokedAt,omitempty"`
	// Narrowing limits the token below its owner; nil is no limit.
	Narrowing *Narrowing `json:"narrowing,omitempty"`
	// CreatedBy is the subject that made it.
	CreatedBy string `json:"createdBy,omitempty"`
	// LastUsedAt and LastUsedFrom (an address) are coalesced, at most a minute
	// late. They take no revision.
	LastUsedAt   *time.Time `json:"lastUsedAt,omitempty"`
	LastUsedFrom string     `json:"lastUsedFrom,omitempty"`
}

// Narrowing limits a token below its owner. A nil list is no limit; an empty
// one permits nothing.
type Narrowing struct {
	// Models are fully qualified names; account/* is all of an account.
	Models []string `json:"models,omitzero"`
	// MCPServers and Agents are names.
	MCPServers []string `json:"mcpServers,omitzero"`
	Agents     []string `json:"agents,omitzero"`
	// CIDR are the addresses from which the token works.
	CIDR []netip.Prefix `json:"cidr,omitzero"`
	// NotAfter ends it before its expiry.
	NotAfter *time.Time `json:"notAfter,omitempty"`
}

// TokenUse is when a token was used, and from which address.
type TokenUse struct {
	At   time.Time
	From string
}
