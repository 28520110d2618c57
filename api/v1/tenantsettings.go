package v1

import (
	"net/url"
	"time"
)

// TenantSettings is the one resource of its kind; its name is "default".
type TenantSettings struct {
	TypeMeta
	ObjectMeta `json:"metadata"`
	Spec       TenantSettingsSpec `json:"spec"`
}

// VirtualAccountMode says who may create virtual accounts.
type VirtualAccountMode string

// The modes.
const (
	// VirtualAccountsCentral: tenant admins only. The default.
	VirtualAccountsCentral VirtualAccountMode = "central"
	// VirtualAccountsDelegated: team managers too, for their team.
	VirtualAccountsDelegated VirtualAccountMode = "delegated"
	// VirtualAccountsGitOps: manifests only, never the API.
	VirtualAccountsGitOps VirtualAccountMode = "gitops"
)

// Whether there is a local administrator.
const (
	BreakGlassEnabled  = "enabled"
	BreakGlassDisabled = "disabled"
)

// TenantSettingsSpec holds what the whole installation shares.
type TenantSettingsSpec struct {
	// VirtualAccounts says who may create virtual accounts: central, delegated
	// or gitops. Default central.
	VirtualAccounts VirtualAccountMode `json:"virtualAccounts,omitempty"`
	// PersonalAccessTokenMaxAge is the longest life of a personal access
	// token. Default 365d.
	PersonalAccessTokenMaxAge Duration `json:"personalAccessTokenMaxAge,omitempty"`
	// MembershipMaxAge is how long a membership learned at sign-in holds
	// without another sign-in. Default 30d.
	MembershipMaxAge Duration `json:"membershipMaxAge,omitempty"`
	// BreakGlass is enabled or disabled: the local administrator for
	// emergencies, who signs in with a password when no identity provider can.
	// Default enabled.
	BreakGlass string `json:"breakGlass,omitempty"`
	// CORSOrigins may call the gateway from a browser. Default none.
	CORSOrigins Strings `json:"corsOrigins,omitempty"`
}

func (t *TenantSettings) Type() *TypeMeta        { return &t.TypeMeta }
func (t *TenantSettings) Meta() *ObjectMeta      { return &t.ObjectMeta }
func (t *TenantSettings) Secrets() []SecretField { return nil }

// Default sets the documented defaults.
func (t *TenantSettings) Default() {
	if t.Spec.VirtualAccounts == "" {
		t.Spec.VirtualAccounts = VirtualAccountsCentral
	}
	if t.Spec.PersonalAccessTokenMaxAge == "" {
		t.Spec.PersonalAccessTokenMaxAge = "365d"
	}
	if t.Spec.MembershipMaxAge == "" {
		t.Spec.MembershipMaxAge = "30d"
	}
	setDefault(&t.Spec.BreakGlass, BreakGlassEnabled)
}

// Validate reports everything that is wrong with the settings.
func (t *TenantSettings) Validate() FieldErrors {
	errs := validateMeta(KindTenantSettings, t.TypeMeta, t.ObjectMeta)
	if t.Name != "default" {
		errs.addf("metadata.name", "there is one TenantSettings; its name is default")
	}
	oneOf(&errs, "spec.virtualAccounts", t.Spec.VirtualAccounts, VirtualAccountsCentral, VirtualAccountsDelegated, VirtualAccountsGitOps)
	oneOf(&errs, "spec.breakGlass", t.Spec.BreakGlass, BreakGlassEnabled, BreakGlassDisabled)
	errs.duration("spec.personalAccessTokenMaxAge", t.Spec.PersonalAccessTokenMaxAge, time.Minute, 3650*24*time.Hour)
	errs.duration("spec.membershipMaxAge", t.Spec.MembershipMaxAge, time.Minute, 3650*24*time.Hour)
	for i, o := range t.Spec.CORSOrigins {
		u, err := url.Parse(o)
		if err != nil || u.Scheme == "" || u.Host == "" || u.Scheme+"://"+u.Host != o {
			errs.addf(index("spec.corsOrigins", i), "%q is not an origin; write it like https://app.example.com", o)
		}
	}
	return errs
}
