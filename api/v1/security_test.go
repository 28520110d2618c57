package v1

import (
	"strings"
	"testing"
)

// TestSecurityAPartOfADestinationCannotPassForAnother: a stored key stays where
// it is when what is sent where changes, however the parts are cut.
func TestSecurityAPartOfADestinationCannotPassForAnother(t *testing.T) {
	account := func(f func(*ProviderAccountSpec)) string {
		a := &ProviderAccount{Spec: ProviderAccountSpec{
			Provider: ProviderOpenAICompatible, BaseURL: "https://a.example.com", APIVersion: "v1",
			CACert: &CACert{File: "/etc/ca.pem"}, Credentials: ProviderCredentials{APIKey: &SecretValue{Value: "sk-1"}},
		}}
		f(&a.Spec)
		return a.Secrets()[0].Destination
	}
	store := func(f func(*SecretStoreSpec)) string {
		s := &SecretStore{Spec: SecretStoreSpec{
			Provider: SecretStoreVault, Address: "https://v.example.com", Region: "r", Project: "p",
			Credentials: &SecretValue{Value: "t"},
		}}
		f(&s.Spec)
		return s.Secrets()[0].Destination
	}
	seen := map[string]string{}
	for name, d := range map[string]string{
		"account":                account(func(*ProviderAccountSpec) {}),
		"provider":               account(func(s *ProviderAccountSpec) { s.Provider = ProviderOpenAI }),
		"baseURL":                account(func(s *ProviderAccountSpec) { s.BaseURL = "https://b.example.com" }),
		"apiVersion":             account(func(s *ProviderAccountSpec) { s.APIVersion = "" }),
		"CA file":                account(func(s *ProviderAccountSpec) { s.CACert = &CACert{File: "/etc/other.pem"} }),
		"no CA":                  account(func(s *ProviderAccountSpec) { s.CACert = nil }),
		"CA as text":             account(func(s *ProviderAccountSpec) { s.CACert = &CACert{PEM: "/etc/ca.pem"} }),
		"insecureHTTP":           account(func(s *ProviderAccountSpec) { s.InsecureHTTP = true }),
		"the CA within the URL":  account(func(s *ProviderAccountSpec) { s.BaseURL += " /etc/ca.pem"; s.CACert = nil }),
		"the version in the URL": account(func(s *ProviderAccountSpec) { s.BaseURL += ",2:v1"; s.APIVersion = "" }),
		"cut here":               account(func(s *ProviderAccountSpec) { s.APIVersion = "a b" }),
		"cut there":              account(func(s *ProviderAccountSpec) { s.BaseURL += " a"; s.APIVersion = "b" }),
		"store":                  store(func(*SecretStoreSpec) {}),
		"store's provider":       store(func(s *SecretStoreSpec) { s.Provider = SecretStoreAzure }),
		"store's address":        store(func(s *SecretStoreSpec) { s.Address = "https://w.example.com" }),
		"store's region":         store(func(s *SecretStoreSpec) { s.Region = "" }),
		"store's project":        store(func(s *SecretStoreSpec) { s.Project = "" }),
		"region as project":      store(func(s *SecretStoreSpec) { s.Region, s.Project = "", "rp" }),
	} {
		if other, twice := seen[d]; twice {
			t.Errorf("%s and %s are one destination: %q", name, other, d)
		}
		seen[d] = name
	}
}

func TestSecurityAPastedSecretIsNotRepeatedInErrors(t *testing.T) {
	const pasted = "sk-proj-AbC/dEf-123"
	for name, v := range map[string]*SecretValue{
		"env": {Env: pasted}, "file": {File: pasted}, "store": {Store: pasted}, "key": {Key: pasted}, "path": {Path: pasted},
		"digest": {Env: "A", Digest: pasted}, "env and file": {Env: pasted, File: pasted},
	} {
		a := valid(KindProviderAccount).(*ProviderAccount)
		a.Spec.Credentials.APIKey = v
		errs := a.Validate()
		if len(errs) == 0 || strings.Contains(errs.Error(), "AbC") {
			t.Errorf("%s: %v", name, errs)
		}
	}
}

func TestSecurityEmailDomainsAreASCII(t *testing.T) {
	for _, d := range []string{"b\u00fccher.example", "\u0430cme.com", "\u212aube.example", "acme\u3002com"} {
		p := valid(KindIdentityProvider).(*IdentityProvider)
		p.Spec.EmailDomains = Strings{d}
		p.Default()
		if errs := p.Validate(); len(errs) != 1 || errs[0].Path != "spec.emailDomains[0]" || !strings.Contains(errs[0].Message, "xn--") {
			t.Errorf("emailDomains %q: %v", d, errs)
		}
		if ValidEmail(NormalizeEmail("a@" + d)) {
			t.Errorf("a@%s is a valid address", d)
		}
		team := valid(KindTeam).(*Team)
		team.Spec.Members = Strings{"a@" + d}
		team.Default()
		wantPath(t, d, team.Validate(), "spec.members[0]")
		if errs := team.Validate(); !strings.Contains(errs.Error(), "xn--") {
			t.Errorf("member a@%s: %v", d, errs)
		}
		rules := valid(KindAuthzRules).(*AuthzRules)
		rules.Spec.Rules[0].Users[0] = "a@" + d
		rules.Default()
		wantPath(t, d, rules.Validate(), "spec.rules[0].users[0]")
	}
	if !ValidEmail("a@xn--bcher-kva.example") || !ValidEmail("j\u00fcrgen@acme.com") {
		t.Error("a domain in IDNA form, or a name that is not ASCII, is refused")
	}
}

// TestSecurityALetterOfAnotherScriptIsNotAnASCIIOne: else somebody with a
// Kelvin sign in the name is somebody else.
func TestSecurityALetterOfAnotherScriptIsNotAnASCIIOne(t *testing.T) {
	for in, want := range map[string]string{
		"\u212aim@acme.com": "\u212aim@acme.com", "\u0130da@acme.com": "\u0130da@acme.com",
		" Kim@ACME.com ": "kim@acme.com", "J\u00dcRGEN@acme.com": "j\u00fcrgen@acme.com",
	} {
		if got := NormalizeEmail(in); got != want {
			t.Errorf("NormalizeEmail(%q) = %q; want %q", in, got, want)
		}
	}
}

func TestSecurityClientTokenUnlessIsValidated(t *testing.T) {
	p := valid(KindIdentityProvider).(*IdentityProvider)
	for _, bad := range []string{"", "/", "/a~2b"} {
		p.Spec.ClientTokenUnless = Strings{"sid", bad}
		wantPath(t, bad, p.Validate(), "spec.clientTokenUnless[1]")
	}
}
