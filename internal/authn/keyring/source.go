package keyring

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/safehttp"
)

// Source is what the ring needs to know of one identity provider.
type Source struct {
	UID  string // the resource's uid; the key of everything here
	Name string // for people

	// Where keys come from: JWKSURLs if there are any, else Issuer by discovery; Inline besides or instead.
	Issuer   string
	JWKSURLs []string
	Inline   []byte // a JWK Set

	// The authorities trusted for this provider alone, in place of the system's. CAFile is read again before every
	// fetch, so a new file counts from the next one: within 30 s while fetching fails.
	CAPEM  []byte
	CAFile string

	InsecureHTTP bool // insecureHTTP: plain http away from loopback
	AllowPrivate bool // allowPrivateNetwork

	StaleFor       time.Duration // how long a set is good without a refresh; default 24 h
	RefreshDefault time.Duration // where the provider sends no max-age; default 15 min
}

// Hash covers the fields that decide whose keys are trusted. Where it changes, old keys are dropped.
func (s Source) Hash() string {
	raw, err := json.Marshal([]any{s.Issuer, s.JWKSURLs, s.Inline, s.CAPEM, s.CAFile, s.InsecureHTTP, s.AllowPrivate})
	if err != nil {
		// Strings, bytes and booleans always marshal.
		panic("keyring: hash: " + err.Error())
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

func (s Source) clone() Source {
	s.JWKSURLs, s.Inline, s.CAPEM = slices.Clone(s.JWKSURLs), slices.Clone(s.Inline), slices.Clone(s.CAPEM)
	return s
}

func (s Source) static() bool { return s.Issuer == "" && len(s.JWKSURLs) == 0 || s.inlineOnly() }

// inlineOnly: with inline keys the issuer is a name to compare iss with, not an address.
func (s Source) inlineOnly() bool { return len(s.Inline) > 0 && len(s.JWKSURLs) == 0 }

func (s Source) staleFor() time.Duration       { return cmp.Or(s.StaleFor, 24*time.Hour) }
func (s Source) refreshDefault() time.Duration { return cmp.Or(s.RefreshDefault, 15*time.Minute) }

// address is the URL to show people.
func (s Source) address() string {
	switch {
	case len(s.JWKSURLs) > 0:
		return strings.Join(s.JWKSURLs, " ")
	case s.inlineOnly() || s.Issuer == "":
		return "inline"
	}
	return discoveryURL(s.Issuer)
}

func discoveryURL(issuer string) string {
	return strings.TrimSuffix(issuer, "/") + "/.well-known/openid-configuration"
}

// policy lets a provider reach loopback only where its own manifest names a loopback host.
func (s Source) policy() safehttp.Policy {
	p := safehttp.Policy{AllowPrivate: s.AllowPrivate, AllowPlainHTTP: s.InsecureHTTP}
	for _, raw := range append([]string{s.Issuer}, s.JWKSURLs...) {
		p.AllowLoopback = p.AllowLoopback || safehttp.PolicyFor(raw, false, false).AllowLoopback
	}
	return p
}
