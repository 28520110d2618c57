package v1

import (
	"regexp"
	"time"
)

// VirtualAccount is an application's identity: it has tokens of its own, or is
// recognised by a token of an identity provider.
type VirtualAccount struct {
	TypeMeta
	ObjectMeta `json:"metadata"`
	Spec       VirtualAccountSpec `json:"spec"`
}

// VirtualAccountSpec says what an application may use and how it proves itself.
type VirtualAccountSpec struct {
	// Description is for people.
	Description string `json:"description,omitempty"`
	// Team owns the account, which then has at most what the team has.
	// Without a team the account is owned centrally by the tenant's admins.
	Team string `json:"team,omitempty"`
	// Enabled: false stops every token of the account. Default true.
	Enabled *bool `json:"enabled,omitempty"`
	// Access lists roles on resources.
	Access []Access `json:"access,omitempty"`
	// Token says how tokens of the account are made.
	Token VirtualAccountToken `json:"token,omitzero"`
	// Tokens are accepted by their digest, for GitOps; nobody but the one who
	// made it ever had the token itself.
	Tokens []TokenDigest `json:"tokens,omitempty"`
	// IdentityProviderMappings recognise the application by its IdP's token.
	IdentityProviderMappings []IdentityProviderMapping `json:"identityProviderMappings,omitempty"`
}

// Access is one role on one resource.
type Access struct {
	// Resource is for example model:openai-main/gpt-4o.
	Resource string `json:"resource"`
	// Role is the name of a built-in or custom role.
	Role string `json:"role"`
}

// VirtualAccountToken holds the defaults of new tokens.
type VirtualAccountToken struct {
	// ExpiresAfter is the life of a new token. Default 90d, at most 3650d.
	ExpiresAfter Duration `json:"expiresAfter,omitempty"`
}

// TokenDigest is a token known by its SHA-256 alone.
type TokenDigest struct {
	// Digest is sha256: followed by 64 hexadecimal digits, over the whole token.
	Digest string `json:"digest"`
	// ExpiresAt is required (RFC 3339).
	ExpiresAt *time.Time `json:"expiresAt"`
}

// IdentityProviderMapping recognises an application by a token that is
// provably its own.
type IdentityProviderMapping struct {
	// IdentityProvider is the name of an IdentityProvider.
	IdentityProvider string `json:"identityProvider"`
	// ClientID is compared with the provider's clientId claim, for tokens that
	// prove to be the client's own and not a person's.
	ClientID string `json:"clientId,omitempty"`
	// Claims must all match (workload identities: repository, service account).
	Claims []ClaimMatch `json:"claims,omitempty"`
}

var digestRE = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

func (v *VirtualAccount) Type() *TypeMeta        { return &v.TypeMeta }
func (v *VirtualAccount) Meta() *ObjectMeta      { return &v.ObjectMeta }
func (v *VirtualAccount) Secrets() []SecretField { return nil }

// Default sets the life of tokens.
func (v *VirtualAccount) Default() {
	if v.Spec.Token.ExpiresAfter == "" {
		v.Spec.Token.ExpiresAfter = "90d"
	}
}

// IsEnabled reports whether the account's tokens work.
func (v *VirtualAccount) IsEnabled() bool { return v.Spec.Enabled == nil || *v.Spec.Enabled }

// Validate reports everything that is wrong with the account.
func (v *VirtualAccount) Validate() FieldErrors {
	errs := validateMeta(KindVirtualAccount, v.TypeMeta, v.ObjectMeta)
	if v.Spec.Team != "" {
		errs.name("spec.team", v.Spec.Team)
		if v.Spec.Team == "everyone" {
			errs.addf("spec.team", "everyone cannot own an account")
		}
	}
	for i, a := range v.Spec.Access {
		p := index("spec.access", i)
		errs.resource(p+".resource", a.Resource)
		errs.name(p+".role", a.Role)
	}
	errs.duration("spec.token.expiresAfter", v.Spec.Token.ExpiresAfter, time.Minute, 3650*24*time.Hour)
	for i, t := range v.Spec.Tokens {
		p := index("spec.tokens", i)
		if !digestRE.MatchString(t.Digest) {
			errs.addf(p+".digest", "must be sha256: and 64 lower-case hexadecimal digits")
		}
		if t.ExpiresAt == nil {
			errs.addf(p+".expiresAt", "is required")
		}
	}
	for i, m := range v.Spec.IdentityProviderMappings {
		p := index("spec.identityProviderMappings", i)
		errs.name(p+".identityProvider", m.IdentityProvider)
		if m.ClientID == "" && len(m.Claims) == 0 {
			errs.addf(p, "name a clientId, or the claims that pin the workload")
		}
		errs.claimMatches(p+".claims", m.Claims)
	}
	return errs
}
