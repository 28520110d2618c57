package v1

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// valid returns a resource of each kind that is right, with defaults.
func valid(k Kind) Resource {
	r := New(k)
	r.Type().APIVersion, r.Type().Kind = APIVersion, k
	r.Meta().Name = "x"
	switch r := r.(type) {
	case *ProviderAccount:
		r.Spec = ProviderAccountSpec{
			Provider:      ProviderOpenAI,
			Credentials:   ProviderCredentials{APIKey: &SecretValue{Value: "sk-1"}},
			Models:        []Model{{Name: "gpt-4o", Cost: &Cost{Input: "2.50"}}, {Name: WildcardModel}},
			Collaborators: []Collaborator{{Subject: "team:everyone", Role: "provider-account-user"}},
		}
	case *IdentityProvider:
		r.Spec = IdentityProviderSpec{Issuer: "https://idp.example.com", Audiences: Strings{"gatehouse"}}
	case *ExternalIdentity:
		r.Spec = ExternalIdentitySpec{IdentityProvider: "okta", Claims: []ClaimMatch{{Path: "/org", AnyOf: Strings{"acme"}}}}
	case *Team:
		r.Spec = TeamSpec{Managers: []string{"a@example.com"}, IdentityProviderGroups: []GroupRef{{IdentityProvider: "okta", Group: "eng"}}}
	case *VirtualAccount:
		end := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
		r.Spec = VirtualAccountSpec{
			Team: "research", Access: []Access{{"model:openai-main/gpt-4o", "model-user"}},
			Tokens:                   []TokenDigest{{"sha256:" + strings.Repeat("0a", 32), &end}},
			IdentityProviderMappings: []IdentityProviderMapping{{IdentityProvider: "okta", ClientID: "booking"}},
		}
	case *Role:
		r.Spec = RoleSpec{Permissions: []string{"model:use"}}
	case *RoleBinding:
		r.Spec = RoleBindingSpec{Subjects: Strings{"team:research"}, Role: "model-user", Resources: Strings{"tenant"}}
	case *AuthzRules:
		r.Spec = AuthzRulesSpec{Rules: []AuthzRule{{Models: []string{"openai-main/gpt-4o"}, Users: []string{"ada", "a@example.com"}}}}
	case *SecretStore:
		r.Spec = SecretStoreSpec{Provider: SecretStoreVault, Address: "https://vault.example.com", Credentials: &SecretValue{Env: "VAULT_TOKEN"}}
	case *TenantSettings:
		r.Name = "default"
		r.Spec = TenantSettingsSpec{CORSOrigins: []string{"https://app.example.com"}}
	}
	r.Default()
	return r
}

func TestEveryKindHasAValidExample(t *testing.T) {
	for _, k := range Kinds() {
		if errs := valid(k).Validate(); len(errs) > 0 {
			t.Errorf("%s: %v", k, errs)
		}
	}
	if New("Nonsense") != nil {
		t.Error("New of an unknown kind must be nil")
	}
}

func TestDefaultIsIdempotentAndSurvivesJSON(t *testing.T) {
	for _, k := range Kinds() {
		r := valid(k)
		before, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		again := New(k)
		if err := json.Unmarshal(before, again); err != nil {
			t.Fatalf("%s: %v", k, err)
		}
		again.Default()
		after, _ := json.Marshal(again)
		if d := cmp.Diff(string(before), string(after)); d != "" {
			t.Errorf("%s changes by a second Default (-before +after):\n%s", k, d)
		}
	}
}

func TestKindNamesAreUniqueAndParse(t *testing.T) {
	seen := map[string]Kind{}
	for _, k := range Kinds() {
		for _, s := range []string{string(k), k.Slug(), k.Plural(), strings.ToUpper(string(k))} {
			if got, ok := ParseKind(s); !ok || got != k {
				t.Errorf("ParseKind(%q) = %q, %v; want %s", s, got, ok, k)
			}
		}
		for _, s := range []string{k.Slug(), k.Plural()} {
			if other, ok := seen[s]; ok && other != k {
				t.Errorf("%s and %s are both %q", k, other, s)
			}
			seen[s] = k
		}
	}
	if got := KindProviderAccount.Slug(); got != "provider-account" {
		t.Errorf("Slug = %q", got)
	}
	if got := KindExternalIdentity.Plural(); got != "external-identities" {
		t.Errorf("Plural = %q", got)
	}
	if _, ok := ParseKind("pod"); ok {
		t.Error("pod is no kind of ours")
	}
}

func TestMetadataIsValidatedForEveryKind(t *testing.T) {
	many := map[string]string{}
	for i := range 65 {
		many[string(rune('0'+i))] = ""
	}
	for _, k := range Kinds() {
		for _, c := range []struct {
			path string
			do   func(Resource)
		}{
			{"apiVersion", func(r Resource) { r.Type().APIVersion = "v2" }},
			{"kind", func(r Resource) { r.Type().Kind = "Other" }},
			{"metadata.name", func(r Resource) { r.Meta().Name = "" }},
			{"metadata.name", func(r Resource) { r.Meta().Name = "Upper" }},
			{"metadata.name", func(r Resource) { r.Meta().Name = strings.Repeat("a", 64) }},
			{"metadata.name", func(r Resource) { r.Meta().Name = "-a" }},
			{"metadata.labels", func(r Resource) { r.Meta().Labels = many }},
			{"metadata.labels", func(r Resource) { r.Meta().Labels = map[string]string{"": "x"} }},
			{"metadata.annotations", func(r Resource) {
				r.Meta().Annotations = map[string]string{strings.Repeat("k", 254): ""}
			}},
		} {
			r := valid(k)
			c.do(r)
			wantPath(t, string(k), r.Validate(), c.path)
		}
	}
	long := valid(KindTeam)
	long.Meta().Labels = map[string]string{strings.Repeat("é", 253): ""} // characters, not bytes
	if errs := long.Validate(); len(errs) > 0 {
		t.Error(errs)
	}
}

func wantPath(t *testing.T, name string, errs FieldErrors, path string) {
	t.Helper()
	for _, e := range errs {
		if e.Path == path {
			if e.Message == "" {
				t.Errorf("%s: %s has no message", name, path)
			}
			return
		}
	}
	t.Errorf("%s: no error at %s; got %v", name, path, errs)
}

// change gives a case its resource: a valid one, changed.
func change[T Resource](k Kind, f func(T)) func() Resource {
	return func() Resource {
		r := valid(k)
		f(r.(T))
		return r
	}
}

type validationCase struct {
	name, path string
	make       func() Resource
}

func TestValidateNamesTheField(t *testing.T) {
	for _, cases := range [][]validationCase{accountCases(), modelCases(), providerCases(), providerClaimCases(), peopleCases(), applicationCases(), roleCases(), settingsCases()} {
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) { wantPath(t, c.name, c.make().Validate(), c.path) })
		}
	}
}

func accountCases() []validationCase {
	pa := func(f func(*ProviderAccountSpec)) func() Resource {
		return change(KindProviderAccount, func(a *ProviderAccount) { f(&a.Spec) })
	}
	return []validationCase{
		{"reserved account name", "metadata.name", change(KindProviderAccount, func(a *ProviderAccount) { a.Name = "virtual" })},
		{"unknown provider", "spec.provider", pa(func(s *ProviderAccountSpec) { s.Provider = "opnai" })},
		{"no address", "spec.baseURL", pa(func(s *ProviderAccountSpec) { s.BaseURL = "" })},
		{"plain http", "spec.baseURL", pa(func(s *ProviderAccountSpec) { s.BaseURL = "http://api.example.com" })},
		{"password in URL", "spec.baseURL", pa(func(s *ProviderAccountSpec) { s.BaseURL = "https://u:p@api.example.com" })},
		{"query in URL", "spec.baseURL", pa(func(s *ProviderAccountSpec) { s.BaseURL = "https://api.example.com?a=b" })},
		{"other scheme", "spec.baseURL", pa(func(s *ProviderAccountSpec) { s.BaseURL = "ftp://api.example.com" })},
		{"api version elsewhere", "spec.apiVersion", pa(func(s *ProviderAccountSpec) { s.APIVersion = "v1" })},
		{"two secrets", "spec.credentials.apiKey", pa(func(s *ProviderAccountSpec) { s.Credentials.APIKey = &SecretValue{Value: "x", Env: "Y"} })},
		{"no secret", "spec.credentials.apiKey", pa(func(s *ProviderAccountSpec) { s.Credentials.APIKey = &SecretValue{} })},
		{"bad env", "spec.credentials.apiKey.env", pa(func(s *ProviderAccountSpec) { s.Credentials.APIKey = &SecretValue{Env: "A-B"} })},
		{"relative file", "spec.credentials.apiKey.file", pa(func(s *ProviderAccountSpec) { s.Credentials.APIKey = &SecretValue{File: "key"} })},
		{"store without path", "spec.credentials.apiKey.path", pa(func(s *ProviderAccountSpec) { s.Credentials.APIKey = &SecretValue{Store: "v"} })},
		{"path without store", "spec.credentials.apiKey", pa(func(s *ProviderAccountSpec) { s.Credentials.APIKey = &SecretValue{Env: "A", Path: "p"} })},
		{"digest without stored", "spec.credentials.apiKey.digest", pa(func(s *ProviderAccountSpec) { s.Credentials.APIKey = &SecretValue{Env: "A", Digest: "d"} })},
		{"two CAs", "spec.caCert", pa(func(s *ProviderAccountSpec) { s.CACert = &CACert{PEM: "x", File: "/y"} })},
		{"no PEM", "spec.caCert.pem", pa(func(s *ProviderAccountSpec) { s.CACert = &CACert{PEM: "x"} })},
		{"relative CA", "spec.caCert.file", pa(func(s *ProviderAccountSpec) { s.CACert = &CACert{File: "ca.pem"} })},
		{"timeout", "spec.timeouts.firstByte", pa(func(s *ProviderAccountSpec) { s.Timeouts.FirstByte = "25h" })},
		{"idle timeout", "spec.timeouts.streamIdle", pa(func(s *ProviderAccountSpec) { s.Timeouts.StreamIdle = "1ms" })},
	}
}

func modelCases() []validationCase {
	pa := func(f func(*ProviderAccountSpec)) func() Resource {
		return change(KindProviderAccount, func(a *ProviderAccount) { f(&a.Spec) })
	}
	return []validationCase{
		{"model without a name", "spec.models[0].name", pa(func(s *ProviderAccountSpec) { s.Models[0].Name = "" })},
		{"model that climbs", "spec.models[0].name", pa(func(s *ProviderAccountSpec) { s.Models[0].Name = "a/../b" })},
		{"model twice", "spec.models[1].name", pa(func(s *ProviderAccountSpec) { s.Models[1].Name = "gpt-4o" })},
		{"wildcard with an id", "spec.models[1].model", pa(func(s *ProviderAccountSpec) { s.Models[1].Model = "x" })},
		{"unknown type", "spec.models[0].types[0]", pa(func(s *ProviderAccountSpec) { s.Models[0].Types = []ModelType{"chatt"} })},
		{"empty types", "spec.models[0].types", pa(func(s *ProviderAccountSpec) { s.Models[0].Types = []ModelType{} })},
		{"cost", "spec.models[0].cost.input", pa(func(s *ProviderAccountSpec) { s.Models[0].Cost.Input = "2,50" })},
		{"cost", "spec.models[0].cost.output", pa(func(s *ProviderAccountSpec) { s.Models[0].Cost.Output = "-1" })},
		{"collaborator", "spec.collaborators[0].subject", pa(func(s *ProviderAccountSpec) { s.Collaborators[0].Subject = "ada" })},
		{"role as a collaborator", "spec.collaborators[0].subject", pa(func(s *ProviderAccountSpec) { s.Collaborators[0].Subject = "role:tenant-admin" })},
		{"collaborator's role", "spec.collaborators[0].role", pa(func(s *ProviderAccountSpec) { s.Collaborators[0].Role = "" })},
		{"collaborator twice", "spec.collaborators[1]", pa(func(s *ProviderAccountSpec) { s.Collaborators = append(s.Collaborators, s.Collaborators[0]) })},
		{"model's collaborator", "spec.models[0].collaborators[0].subject", pa(func(s *ProviderAccountSpec) { s.Models[0].Collaborators = []Collaborator{{"x", "model-user"}} })},
		{"echo elsewhere", "spec.echo", pa(func(s *ProviderAccountSpec) { s.Echo = &Echo{} })},
		{"echo with a key", "spec", pa(func(s *ProviderAccountSpec) { s.Provider = ProviderEcho })},
		{"echo status", "spec.echo.status", pa(func(s *ProviderAccountSpec) { s.Echo = &Echo{Status: 302} })},
		{"echo delay", "spec.echo.delay", pa(func(s *ProviderAccountSpec) { s.Echo = &Echo{Delay: "2h"} })},
	}
}

func providerCases() []validationCase {
	ip := func(f func(*IdentityProviderSpec)) func() Resource {
		return change(KindIdentityProvider, func(p *IdentityProvider) { f(&p.Spec) })
	}
	return []validationCase{
		{"preset", "spec.preset", ip(func(s *IdentityProviderSpec) { s.Preset = "ping" })},
		{"no keys", "spec.issuer", ip(func(s *IdentityProviderSpec) { s.Issuer = "" })},
		{"issuer over http", "spec.issuer", ip(func(s *IdentityProviderSpec) { s.Issuer = "http://idp.example.com" })},
		{"issuer with fragment", "spec.issuer", ip(func(s *IdentityProviderSpec) { s.Issuer = "https://idp.example.com/#x" })},
		{"two key sources", "spec.jwks", ip(func(s *IdentityProviderSpec) {
			s.JWKSURLs, s.JWKS = Strings{"https://a.example.com"}, json.RawMessage(`{"keys":[{}]}`)
		})},
		{"empty jwks", "spec.jwks", ip(func(s *IdentityProviderSpec) { s.JWKS = json.RawMessage(`{"keys":[]}`) })},
		{"key of no type", "spec.jwks.keys[0]", ip(func(s *IdentityProviderSpec) { s.JWKS = json.RawMessage(`{"keys":[{"kid":"a"}]}`) })},
		{"two shapes", "spec.config", ip(func(s *IdentityProviderSpec) { s.Config = &IdentityProviderConfig{Issuer: "https://other.example.com"} })},
		{"many key URLs", "spec.jwksURLs", ip(func(s *IdentityProviderSpec) { s.JWKSURLs = make(Strings, 9) })},
		{"key URL", "spec.jwksURLs[0]", ip(func(s *IdentityProviderSpec) { s.JWKSURLs = Strings{"jwks"} })},
		{"no audience", "spec.audiences", ip(func(s *IdentityProviderSpec) { s.Audiences = nil })},
		{"empty audience", "spec.audiences[0]", ip(func(s *IdentityProviderSpec) { s.Audiences[0] = "" })},
		{"skip and audience", "spec.insecureSkipAudience", ip(func(s *IdentityProviderSpec) { s.InsecureSkipAudience = true })},
		{"audienceFrom", "spec.audienceFrom[0]", ip(func(s *IdentityProviderSpec) { s.AudienceFrom = Strings{"sub"} })},
		{"no algorithms", "spec.algorithms", ip(func(s *IdentityProviderSpec) { s.Algorithms = Strings{} })},
	}
}

func providerClaimCases() []validationCase {
	ip := func(f func(*IdentityProviderSpec)) func() Resource {
		return change(KindIdentityProvider, func(p *IdentityProvider) { f(&p.Spec) })
	}
	return []validationCase{
		{"skew", "spec.clockSkew", ip(func(s *IdentityProviderSpec) { s.ClockSkew = "6m" })},
		{"max age", "spec.maxAge", ip(func(s *IdentityProviderSpec) { s.MaxAge = "0s" })},
		{"stale", "spec.staleFor", ip(func(s *IdentityProviderSpec) { s.StaleFor = "8d" })},
		{"token type", "spec.tokenType", ip(func(s *IdentityProviderSpec) { s.TokenType = "refresh" })},
		{"no subject claim", "spec.claims.subject", ip(func(s *IdentityProviderSpec) { s.Claims.Subject = Strings{} })},
		{"claim pointer", "spec.claims.groups[0]", ip(func(s *IdentityProviderSpec) { s.Claims.Groups = Strings{"/a~2b"} })},
		{"subject within", "spec.claims.subjectWithin", ip(func(s *IdentityProviderSpec) { s.Claims.SubjectWithin = "/" })},
		{"client rule", "spec.clientTokenWhen[0].anyOf", ip(func(s *IdentityProviderSpec) { s.ClientTokenWhen = []ClaimMatch{{Path: "a"}} })},
		{"linkBy", "spec.linkBy", ip(func(s *IdentityProviderSpec) { s.LinkBy = "name" })},
		{"linkBy without domains", "spec.emailDomains", ip(func(s *IdentityProviderSpec) { s.LinkBy = LinkByEmail })},
		{"create without domains", "spec.emailDomains", ip(func(s *IdentityProviderSpec) { s.Resolve.Users = UsersCreate })},
		{"domain", "spec.emailDomains[0]", ip(func(s *IdentityProviderSpec) { s.EmailDomains = Strings{"@acme.com"} })},
		{"users", "spec.resolve.users", ip(func(s *IdentityProviderSpec) { s.Resolve.Users = "always" })},
		{"emailVerified", "spec.emailVerified", ip(func(s *IdentityProviderSpec) { s.EmailVerified = "no" })},
	}
}

func peopleCases() []validationCase {
	return []validationCase{
		{"provider of external identity", "spec.identityProvider", change(KindExternalIdentity, func(x *ExternalIdentity) { x.Spec.IdentityProvider = "" })},
		{"claim path", "spec.claims[0].path", change(KindExternalIdentity, func(x *ExternalIdentity) { x.Spec.Claims[0].Path = "" })},
		{"claim without values", "spec.claims[0].anyOf", change(KindExternalIdentity, func(x *ExternalIdentity) { x.Spec.Claims[0].AnyOf = nil })},
		{"empty value", "spec.claims[0].anyOf[0]", change(KindExternalIdentity, func(x *ExternalIdentity) { x.Spec.Claims[0].AnyOf = Strings{""} })},
		{"star inside", "spec.claims[0].anyOf[0]", change(KindExternalIdentity, func(x *ExternalIdentity) { x.Spec.Claims[0].AnyOf = Strings{"a*b"} })},
		{"team everyone", "metadata.name", change(KindTeam, func(r *Team) { r.Name = "everyone" })},
		{"manager", "spec.managers[0]", change(KindTeam, func(r *Team) { r.Spec.Managers = []string{"ada"} })},
		{"member", "spec.members[0]", change(KindTeam, func(r *Team) { r.Spec.Members = []string{"A <a@b.c>"} })},
		{"group", "spec.identityProviderGroups[0].group", change(KindTeam, func(r *Team) { r.Spec.IdentityProviderGroups[0].Group = "" })},
		{"group's provider", "spec.identityProviderGroups[0].identityProvider", change(KindTeam, func(r *Team) { r.Spec.IdentityProviderGroups[0].IdentityProvider = "O" })},
	}
}

func applicationCases() []validationCase {
	va := func(f func(*VirtualAccountSpec)) func() Resource {
		return change(KindVirtualAccount, func(v *VirtualAccount) { f(&v.Spec) })
	}
	return []validationCase{
		{"owner everyone", "spec.team", va(func(s *VirtualAccountSpec) { s.Team = "everyone" })},
		{"access resource", "spec.access[0].resource", va(func(s *VirtualAccountSpec) { s.Access[0].Resource = "model:gpt-4o" })},
		{"access role", "spec.access[0].role", va(func(s *VirtualAccountSpec) { s.Access[0].Role = "" })},
		{"token life", "spec.token.expiresAfter", va(func(s *VirtualAccountSpec) { s.Token.ExpiresAfter = "3651d" })},
		{"digest", "spec.tokens[0].digest", va(func(s *VirtualAccountSpec) { s.Tokens[0].Digest = "sha256:00" })},
		{"digest's end", "spec.tokens[0].expiresAt", va(func(s *VirtualAccountSpec) { s.Tokens[0].ExpiresAt = nil })},
		{"mapping of everything", "spec.identityProviderMappings[0]", va(func(s *VirtualAccountSpec) { s.IdentityProviderMappings[0].ClientID = "" })},
		{"mapping's provider", "spec.identityProviderMappings[0].identityProvider", va(func(s *VirtualAccountSpec) { s.IdentityProviderMappings[0].IdentityProvider = "" })},
	}
}

func roleCases() []validationCase {
	return []validationCase{
		{"role without permissions", "spec.permissions", change(KindRole, func(r *Role) { r.Spec.Permissions = nil })},
		{"binding without subjects", "spec.subjects", change(KindRoleBinding, func(r *RoleBinding) { r.Spec.Subjects = nil })},
		{"binding's subject", "spec.subjects[0]", change(KindRoleBinding, func(r *RoleBinding) { r.Spec.Subjects[0] = "everyone" })},
		{"binding's role", "spec.role", change(KindRoleBinding, func(r *RoleBinding) { r.Spec.Role = "" })},
		{"binding without resources", "spec.resources", change(KindRoleBinding, func(r *RoleBinding) { r.Spec.Resources = Strings{} })},
		{"binding's resource", "spec.resources[0]", change(KindRoleBinding, func(r *RoleBinding) { r.Spec.Resources[0] = "everything" })},
	}
}

func settingsCases() []validationCase {
	return []validationCase{
		{"rules absent", "spec.rules", change(KindAuthzRules, func(r *AuthzRules) { r.Spec.Rules = nil })},
		{"rule without models", "spec.rules[0].models", change(KindAuthzRules, func(r *AuthzRules) { r.Spec.Rules[0].Models = nil })},
		{"rule's model", "spec.rules[0].models[0]", change(KindAuthzRules, func(r *AuthzRules) { r.Spec.Rules[0].Models[0] = "gpt-4o" })},
		{"rule without users", "spec.rules[0].users", change(KindAuthzRules, func(r *AuthzRules) { r.Spec.Rules[0].Users = []string{} })},
		{"rule's user", "spec.rules[0].users[0]", change(KindAuthzRules, func(r *AuthzRules) { r.Spec.Rules[0].Users[0] = "group:x" })},
		{"store provider", "spec.provider", change(KindSecretStore, func(s *SecretStore) { s.Spec.Provider = "keychain" })},
		{"vault without address", "spec.address", change(KindSecretStore, func(s *SecretStore) { s.Spec.Address = "" })},
		{"store's credentials", "spec.credentials", change(KindSecretStore, func(s *SecretStore) { s.Spec.Credentials = &SecretValue{} })},
		{"settings' name", "metadata.name", change(KindTenantSettings, func(s *TenantSettings) { s.Name = "other" })},
		{"mode", "spec.virtualAccounts", change(KindTenantSettings, func(s *TenantSettings) { s.Spec.VirtualAccounts = "open" })},
		{"PAT age", "spec.personalAccessTokenMaxAge", change(KindTenantSettings, func(s *TenantSettings) { s.Spec.PersonalAccessTokenMaxAge = "0s" })},
		{"membership age", "spec.membershipMaxAge", change(KindTenantSettings, func(s *TenantSettings) { s.Spec.MembershipMaxAge = "x" })},
		{"origin", "spec.corsOrigins[0]", change(KindTenantSettings, func(s *TenantSettings) { s.Spec.CORSOrigins[0] = "https://app.example.com/" })},
	}
}

func TestSecurityNoneAndHMACAreNeverAccepted(t *testing.T) {
	for _, alg := range []string{"none", "HS256", "HS384", "HS512", "", "rs256"} {
		r := valid(KindIdentityProvider).(*IdentityProvider)
		r.Spec.Algorithms = Strings{"RS256", alg}
		wantPath(t, alg, r.Validate(), "spec.algorithms[1]")
	}
}

func TestSecurityEntraMailIsNeverAssumedVerified(t *testing.T) {
	r := valid(KindIdentityProvider).(*IdentityProvider)
	r.Spec.Preset, r.Spec.EmailVerified = PresetEntra, EmailVerifiedAssumed
	wantPath(t, "entra", r.Validate(), "spec.emailVerified")
}

func TestSecurityProviderWithoutIssuerCannotVouchForUsers(t *testing.T) {
	r := valid(KindIdentityProvider).(*IdentityProvider)
	r.Spec.Issuer, r.Spec.JWKSURLs, r.Spec.Resolve.Users = "", Strings{"https://a.example.com/jwks"}, UsersExisting
	wantPath(t, "no issuer", r.Validate(), "spec.resolve.users")
	r.Spec.TrustUsers = true
	if errs := r.Validate(); len(errs) > 0 {
		t.Errorf("with trustUsers: %v", errs)
	}
}

func TestEveryJSONFieldOfEveryKindHasAName(t *testing.T) {
	var walk func(reflect.Type, map[reflect.Type]bool)
	walk = func(typ reflect.Type, seen map[reflect.Type]bool) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || seen[typ] || typ == reflect.TypeFor[time.Time]() {
			return
		}
		seen[typ] = true
		for i := range typ.NumField() {
			f := typ.Field(i)
			if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name == "" && !f.Anonymous {
				t.Errorf("%s.%s has no name in JSON", typ, f.Name)
			}
			walk(f.Type, seen)
		}
	}
	for _, k := range Kinds() {
		walk(reflect.TypeOf(New(k)), map[reflect.Type]bool{})
	}
}

// Of two shapes one would win unseen: an audience that somebody wrote would not
// be asked for.
func TestSecurityAnIdentityProviderIsWrittenInOneShape(t *testing.T) {
	for name, spec := range map[string]IdentityProviderSpec{
		"issuer":    {Issuer: "https://idp.example.com"},
		"audiences": {Audiences: Strings{"gatehouse"}},
		"jwksURLs":  {JWKSURLs: Strings{"https://idp.example.com/keys"}},
		"jwks":      {JWKS: json.RawMessage(`{"keys":[{"kty":"EC"}]}`)},
	} {
		spec.Config = &IdentityProviderConfig{Issuer: "https://other.example.com", JWKSURI: "https://other.example.com/keys"}
		p := valid(KindIdentityProvider).(*IdentityProvider)
		p.Spec = spec
		p.Default()
		wantPath(t, name, p.Validate(), "spec.config")
	}
}
