package v1

import "strings"

// ExternalIdentity stands for the people and programs of somebody else: every
// token of one identity provider whose claims match. They need no account.
type ExternalIdentity struct {
	TypeMeta
	ObjectMeta `json:"metadata"`
	Spec       ExternalIdentitySpec `json:"spec"`
}

// ExternalIdentitySpec says which tokens match.
type ExternalIdentitySpec struct {
	// Description is for people.
	Description string `json:"description,omitempty"`
	// IdentityProvider is the name of an IdentityProvider.
	IdentityProvider string `json:"identityProvider"`
	// Claims must all match. Without any, every token of the provider matches.
	Claims []ClaimMatch `json:"claims,omitempty"`
}

// ClaimMatch is one claim and the values that satisfy it.
type ClaimMatch struct {
	// Path is a claim's name, or a JSON Pointer (RFC 6901) when it starts with "/".
	Path string `json:"path"`
	// AnyOf are the accepted values; one that ends in * accepts every value
	// with that beginning. Where the claim is a list, one element suffices.
	AnyOf Strings `json:"anyOf"`
}

func (x *ExternalIdentity) Type() *TypeMeta        { return &x.TypeMeta }
func (x *ExternalIdentity) Meta() *ObjectMeta      { return &x.ObjectMeta }
func (x *ExternalIdentity) Secrets() []SecretField { return nil }

// Default has nothing to fill in.
func (x *ExternalIdentity) Default() {}

// Validate reports everything that is wrong with the external identity.
func (x *ExternalIdentity) Validate() FieldErrors {
	errs := validateMeta(KindExternalIdentity, x.TypeMeta, x.ObjectMeta)
	errs.name("spec.identityProvider", x.Spec.IdentityProvider)
	errs.claimMatches("spec.claims", x.Spec.Claims)
	return errs
}

func (e *FieldErrors) claimMatches(path string, list []ClaimMatch) {
	for i, c := range list {
		p := index(path, i)
		e.claimPath(p+".path", c.Path)
		if len(c.AnyOf) == 0 {
			e.addf(p+".anyOf", "name at least one value; [\"*\"] accepts any")
		}
		for j, v := range c.AnyOf {
			if v == "" {
				e.addf(index(p+".anyOf", j), "must not be empty")
			}
			if k := strings.IndexByte(v, '*'); k >= 0 && k != len(v)-1 {
				e.addf(index(p+".anyOf", j), "%q: * is allowed at the end only", v)
			}
		}
	}
}

func (e *FieldErrors) claimPath(path, s string) {
	if s == "" || s == "/" {
		e.addf(path, "is required: a claim's name, or a JSON Pointer that starts with /")
		return
	}
	if !strings.HasPrefix(s, "/") {
		return
	}
	for i := 0; i < len(s); i++ {
		if s[i] == '~' && (i+1 == len(s) || (s[i+1] != '0' && s[i+1] != '1')) {
			e.addf(path, "%q is not a JSON Pointer: ~ must be written ~0 and / within a name ~1", s)
			return
		}
	}
}
