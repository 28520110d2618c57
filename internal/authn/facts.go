package authn

import (
	"encoding/json"
	"strings"
	"unicode"

	"golang.org/x/net/idna"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/claims"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

// facts are what the claims of a verified token say, in the terms of its
// provider.
type facts struct {
	key           identity.IdentityKey
	email         string
	emailTrusted  bool // the provider may speak for the address, and it is verified
	name          string
	groups        []string
	groupsPresent bool
	groupsCut     bool
	clientID      string
	ownToken      bool // the client's own, not a person's
	externals     []*snapshot.ExternalIdentity
	mapping       *snapshot.Mapping
	ambiguous     bool
	groupTeams    []string
}

// readSubject finds the subject; present and a non-empty string (RFC 7519,
// section 4.1.2). What it is unique within is escaped as in a JSON Pointer, so
// that a/b with c and a with b/c stay two people.
func readSubject(p *snapshot.Provider, c map[string]any) (string, bool) {
	v, _ := claims.First(p.Subject, c)
	sub, ok := v.(string)
	if !ok || sub == "" {
		return "", false
	}
	if p.SubjectWithin == nil {
		return sub, true
	}
	w, _ := p.SubjectWithin.Lookup(c)
	within, ok := w.(string)
	if !ok || within == "" {
		return "", false
	}
	return identity.SubjectWithin(within, sub), true
}

func readFacts(s *snapshot.Snapshot, p *snapshot.Provider, c map[string]any) *facts {
	sub, _ := readSubject(p, c)
	f := &facts{key: identity.IdentityKey{Issuer: p.IdentityIssuer(), Subject: sub}}
	f.email = NormalizeEmail(one(p.Email, c))
	f.emailTrusted = emailTrusted(p, c, f.email)
	f.name = one(p.DisplayName, c)
	f.clientID = one(p.ClientID, c)
	f.ownToken = ownToken(p, c, f.clientID)
	f.groups, f.groupsCut, f.groupsPresent = claims.FirstStrings(p.Groups, c, identity.MaxGroups)
	for _, g := range f.groups {
		f.groupTeams = append(f.groupTeams, s.GroupTeams(p.Name, g)...)
	}
	if p.Spec.Resolve.AcceptsExternalIdentities() {
		for _, x := range p.Externals {
			if ok, _ := claims.MatchAll(x.Matchers, c); ok {
				f.externals = append(f.externals, x)
			}
		}
	}
	if p.Spec.Resolve.AcceptsVirtualAccounts() {
		for _, m := range p.Mappings {
			if !mappingMatches(m, f, c) {
				continue
			}
			f.ambiguous = f.ambiguous || (f.mapping != nil && f.mapping.Account != m.Account)
			f.mapping = m
		}
	}
	return f
}

func one(paths []claims.Path, c map[string]any) string {
	v, _ := claims.First(paths, c)
	s, _ := v.(string)
	return s
}

// mappingMatches reports whether a token is a virtual account's: the client's
// own token of the mapped client, with all the mapped claims.
func mappingMatches(m *snapshot.Mapping, f *facts, c map[string]any) bool {
	if m.ClientID != "" && (m.ClientID != f.clientID || !f.ownToken) {
		return false
	}
	if m.ClientID == "" && len(m.Matchers) == 0 {
		return false
	}
	ok, _ := claims.MatchAll(m.Matchers, c)
	return ok
}

// ownToken reports whether a token is provably the client's own: its subject
// is the client, or the provider's clientTokenWhen holds. A person who signs
// in through the client is not the client.
func ownToken(p *snapshot.Provider, c map[string]any, clientID string) bool {
	for _, path := range p.ClientUnless {
		if _, present := path.Lookup(c); present {
			return false
		}
	}
	if sub, _ := c["sub"].(string); clientID != "" && sub == clientID {
		return true
	}
	if len(p.ClientToken) == 0 {
		return false
	}
	ok, _ := claims.MatchAll(p.ClientToken, c)
	return ok && (p.Spec.Preset != v1.PresetKeycloak || isServiceAccountOf(c, clientID))
}

// isServiceAccountOf: Keycloak names a client's service account after the
// client. A person who took a name with the same beginning is not it.
func isServiceAccountOf(c map[string]any, clientID string) bool {
	name, _ := c["preferred_username"].(string)
	client, isAccount := strings.CutPrefix(name, "service-account-")
	return !isAccount || client == strings.ToLower(clientID)
}

// NormalizeEmail lower-cases an address and writes its domain in IDNA, so that
// one mailbox has one spelling. What is not an address is empty. So is one with
// space around it or with anything but ASCII before the @: Unicode's case
// folding makes one word of two (the Kelvin sign is a k), and who can register
// the one must not be taken for the other. Sign-in takes addresses as it does.
func NormalizeEmail(s string) string {
	at := strings.LastIndexByte(s, '@')
	if at < 1 || strings.TrimSpace(s) != s || strings.ContainsFunc(s[:at], func(r rune) bool { return r > unicode.MaxASCII }) {
		return ""
	}
	s = v1.NormalizeEmail(s)
	at = strings.LastIndexByte(s, '@')
	domain, err := idna.Lookup.ToASCII(s[at+1:])
	if err != nil {
		return ""
	}
	s = s[:at+1] + domain
	if !v1.ValidEmail(s) {
		return ""
	}
	return s
}

// emailTrusted reports whether the provider may speak for an address.
func emailTrusted(p *snapshot.Provider, c map[string]any, email string) bool {
	v, which := claims.First(p.EmailVerified, c)
	assumed := p.Spec.EmailVerified == v1.EmailVerifiedAssumed && p.Spec.Preset != v1.PresetEntra
	return Vouches(p.Spec.EmailDomains, email, v, which < 0 && assumed)
}

// Vouches reports whether an issuer may speak for an address, in a token and at
// sign-in: its domain is among domains, and it is verified. verified is what the
// issuer says about that; where it says nothing, assumed decides. A "false"
// never counts. Nobody speaks for an address that is Gatehouse's own.
func Vouches(domains []string, email string, verified any, assumed bool) bool {
	if email == "" || identity.ReservedEmail(email) || !domainListed(domains, email) {
		return false
	}
	switch v := verified.(type) {
	case bool:
		return v
	case string: // Cognito, and Entra's xms_edov
		return v == "true" || v == "1"
	case json.Number:
		return v == "1"
	}
	return assumed
}

// domainListed reports whether the domains for which an issuer may speak cover
// an address; * is any.
func domainListed(domains []string, email string) bool {
	domain := email[strings.LastIndexByte(email, '@')+1:]
	for _, d := range domains {
		if d == "*" || d == domain {
			return true
		}
		if ascii, err := idna.Lookup.ToASCII(d); err == nil && ascii == domain {
			return true
		}
	}
	return false
}
