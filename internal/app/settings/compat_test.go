package settings_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/app/settings"
)

func TestSecurityAuthenticationIsOnUnlessSaidOtherwise(t *testing.T) {
	for _, c := range []struct {
		environ     []string
		enabled, is bool
	}{
		{nil, true, false},
		{[]string{"AUTH_ENABLE="}, true, false},
		{[]string{"AUTH_ENABLE=true"}, true, true},
		{[]string{"AUTH_ENABLED=TRUE"}, true, true},
		{[]string{"AUTH_ENABLE=false"}, false, true},
		{[]string{"AUTH_ENABLED=false"}, false, true},
		{[]string{"AUTH_ENABLE=false", "AUTH_ENABLED=0"}, false, true},
	} {
		s, _, err := load(t, nil, c.environ, "")
		if err != nil || s.Compat.AuthEnabled != c.enabled || s.Compat.Set != c.is {
			t.Errorf("%v: %+v, %v", c.environ, s.Compat, err)
		}
	}
}

func TestSecurityMisspeltSwitchesStopTheStart(t *testing.T) {
	checkRefusals(t, []refusal{
		{"unknown", nil, []string{"AUTH_ENALBE=true"}, "", `AUTH_ENALBE: is not a variable that Gatehouse knows; did you mean AUTH_ENABLED?\?.*`},
		{"far away", nil, []string{"AUTH_X=true"}, "", `AUTH_X: is not a variable that Gatehouse knows .*`},
		{"empty is no excuse", nil, []string{"AUTH_X="}, "", `AUTH_X: is not a variable that Gatehouse knows .*`},
		{"agent kit issuer", nil, []string{"AUTH_ISSUER_URL=x"}, "", `AUTH_ISSUER_URL: is not read; did you mean AUTH_OIDC_ISSUER\?`},
		{"agent kit client", nil, []string{"AUTH_CLIENT_ID=x"}, "", `AUTH_CLIENT_ID: is not read; did you mean AUTH_OIDC_CLIENT_ID\?`},
		{"agent kit secret", nil, []string{"AUTH_CLIENT_SECRET=x"}, "", `AUTH_CLIENT_SECRET: is not read; did you mean AUTH_OIDC_CLIENT_SECRET\?`},
		{"unequal", nil, []string{"AUTH_ENABLE=true", "AUTH_ENABLED=false"}, "", `AUTH_ENABLED: contradicts AUTH_ENABLE; .*`},
		{"unequal the other way", nil, []string{"AUTH_ENABLE=false", "AUTH_ENABLED=true"}, "", `AUTH_ENABLED: contradicts AUTH_ENABLE; .*`},
		{"word", nil, []string{"AUTH_ENABLE=off"}, "", `AUTH_ENABLE: "off" is not known; use true or false`},
		{"no audience", nil, []string{"AUTH_OIDC_ISSUER=https://idp.example"}, "", `AUTH_OIDC_CLIENT_ID: is required with AUTH_OIDC_ISSUER: .*`},
	})
}

func TestSecurityAuthenticationOffIsForLoopbackAlone(t *testing.T) {
	checkRefusals(t, []refusal{
		{
			"everywhere",
			settings.Flags{"server-address": "0.0.0.0:8080"},
			[]string{"AUTH_ENABLE=false"},
			"",
			`AUTH_ENABLE=false: is refused because --server-address \(0.0.0.0:8080\) is not a loopback address: .*`,
		},
		{
			"no host", nil,
			[]string{"AUTH_ENABLED=false", "GATEHOUSE_SERVER_ADDRESS=:8080"},
			"",
			`AUTH_ENABLED=false: is refused because GATEHOUSE_SERVER_ADDRESS \(:8080\) is not a loopback address: .*`,
		},
	})
	_, notices, err := load(t, settings.Flags{"server-address": "localhost:8080"}, []string{"AUTH_ENABLE=false"}, "")
	if err != nil || len(notices) != 1 || !strings.Contains(notices[0].Message, "authentication is off") {
		t.Error(notices, err)
	}
}

func resources(t *testing.T, environ []string, dev bool) ([]v1.Resource, []settings.Notice) {
	t.Helper()
	s, _, err := settings.Load(nil, environ, "")
	if err != nil {
		t.Fatal(err)
	}
	list, notices, err := settings.EnvResources(s.Compat, environ, dev)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range list {
		if errs := r.Validate(); len(errs) > 0 {
			t.Errorf("%s: %v", r.Meta().Name, errs)
		}
	}
	return list, notices
}

func names(list []v1.Resource) string {
	var s []string
	for _, r := range list {
		s = append(s, r.Type().Kind.Slug()+":"+r.Meta().Name)
	}
	return strings.Join(s, " ")
}

func TestIssuerMakesAProviderAndItsCallers(t *testing.T) {
	for _, c := range []struct {
		environ  []string
		audience string
	}{
		{[]string{"AUTH_OIDC_CLIENT_ID=inference-gateway", "AUTH_OIDC_CLIENT_SECRET=s"}, "inference-gateway"},
		{[]string{"AUTH_OIDC_CLIENT_ID=inference-gateway", "AUTH_OIDC_AUDIENCE=api"}, "api"},
		{[]string{"AUTH_OIDC_AUDIENCE=api"}, "api"},
	} {
		list, _ := resources(t, append(c.environ, "AUTH_OIDC_ISSUER=https://idp.example/realms/r", "OPENAI_API_KEY=k"), false)
		if got := names(list); got != "identity-provider:env external-identity:env-callers provider-account:openai" {
			t.Fatal(got)
		}
		got := list[0].(*v1.IdentityProvider).Spec
		if got.Issuer != "https://idp.example/realms/r" || fmt.Sprint(got.Audiences) != "["+c.audience+"]" || fmt.Sprint(got.AudienceFrom) != "[client_id azp]" ||
			got.LinkBy != "email" || fmt.Sprint(got.EmailDomains) != "[*]" || got.EmailVerified != "assumed" || got.Resolve.Users != v1.UsersCreate || got.InsecureSkipAudience {
			t.Errorf("%+v", got)
		}
		x := list[1].(*v1.ExternalIdentity).Spec
		if x.IdentityProvider != "env" || len(x.Claims) != 0 {
			t.Errorf("%+v", x)
		}
	}
}

func TestPlainHTTPIssuerIsForLoopbackAlone(t *testing.T) {
	c := settings.Compat{Issuer: "http://keycloak:8080/realms/r", Audience: "a"}
	_, _, err := settings.EnvResources(c, nil, false)
	if err == nil || !strings.HasPrefix(err.Error(), "AUTH_OIDC_ISSUER: plain http is accepted on loopback only") {
		t.Error(err)
	}
	c.Issuer = "http://127.0.0.1:8081"
	if _, _, err := settings.EnvResources(c, nil, false); err != nil {
		t.Error(err)
	}
}

func TestProvidersOfTheEnvironmentAppearUnderDevAndWithAnIssuer(t *testing.T) {
	environ := []string{"OPENAI_API_KEY=k"}
	if list, _ := resources(t, environ, false); len(list) != 0 {
		t.Error(names(list))
	}
	if list, _ := resources(t, environ, true); names(list) != "provider-account:openai" {
		t.Error(names(list))
	}
}

func TestUsualVariablesMakeAccounts(t *testing.T) {
	for _, c := range []struct {
		environ                       []string
		name, provider, base, env, by string
	}{
		{[]string{"OPENAI_API_KEY=k"}, "openai", "openai", "https://api.openai.com/v1", "OPENAI_API_KEY", ""},
		{[]string{"OPENAI_API_KEY=k", "OPENAI_API_URL=http://127.0.0.1:9/v1/"}, "openai", "openai", "http://127.0.0.1:9/v1", "OPENAI_API_KEY", ""},
		{[]string{"OPENAI_API_KEY=k", "OPENAI_API_URL=https://proxy.example"}, "openai", "openai", "https://proxy.example/v1", "OPENAI_API_KEY", ""},
		{[]string{"OPENAI_API_KEY=", "OPENAI_API_URL=https://api.openai.com/v1"}, "", "", "", "", ""},
		{[]string{"ANTHROPIC_API_KEY=k", "ANTHROPIC_API_URL=https://api.anthropic.com/v1"}, "anthropic", "anthropic", "https://api.anthropic.com", "ANTHROPIC_API_KEY", ""},
		{[]string{"OLLAMA_API_URL=http://localhost:11434"}, "ollama", "openai-compatible", "http://localhost:11434/v1", "", ""},
		{[]string{"OLLAMA_API_URL=http://ollama:8080/v1"}, "", "", "", "", "OLLAMA_API_URL: plain http is accepted on loopback only"},
		{[]string{"OLLAMA_API_KEY=k"}, "", "", "", "", ""},
		{[]string{"GROQ_API_KEY=k"}, "groq", "openai-compatible", "https://api.groq.com/openai/v1", "GROQ_API_KEY", ""},
		{[]string{"AZURE_OPENAI_ENDPOINT=https://x.openai.azure.com/", "AZURE_OPENAI_API_KEY=k"}, "azure-openai", "azure-openai", "https://x.openai.azure.com", "AZURE_OPENAI_API_KEY", ""},
		{[]string{"AZURE_OPENAI_ENDPOINT=https://x.openai.azure.com/"}, "", "", "", "", "AZURE_OPENAI_ENDPOINT: is set but AZURE_OPENAI_API_KEY is not"},
	} {
		list, notices := settings.ProviderAccounts(c.environ)
		said := fmt.Sprint(notices)
		if (c.by == "") != (len(notices) == 0) || !strings.Contains(said, c.by) {
			t.Errorf("%v: %s", c.environ, said)
		}
		if c.name == "" {
			if len(list) != 0 {
				t.Errorf("%v made %s", c.environ, list[0].Name)
			}
			continue
		}
		if len(list) != 1 {
			t.Errorf("%v made %d accounts", c.environ, len(list))
			continue
		}
		a, env := list[0], ""
		if a.Spec.Credentials.APIKey != nil {
			env = a.Spec.Credentials.APIKey.Env
		}
		if a.Name != c.name || string(a.Spec.Provider) != c.provider || a.Spec.BaseURL != c.base || env != c.env || a.Spec.Models[0].Name != "*" {
			t.Errorf("%v: %+v", c.environ, a.Spec)
		}
		want := []v1.Collaborator{{Subject: "team:everyone", Role: "provider-account-user"}, {Subject: "external-identity:env-callers", Role: "provider-account-user"}}
		if d := cmp.Diff(want, a.Spec.Collaborators); d != "" {
			t.Error(d)
		}
	}
}

func TestSecurityKeysOfTheEnvironmentStayReferences(t *testing.T) {
	list, _ := settings.ProviderAccounts([]string{"OPENAI_API_KEY=sk-hunter2", "MISTRAL_API_KEY=hunter2"})
	for _, a := range list {
		b, err := json.Marshal(a)
		if err != nil || strings.Contains(string(b), "hunter2") || a.Spec.Credentials.APIKey.Value != "" {
			t.Errorf("%s %v", b, err)
		}
	}
	s, _, err := load(t, nil, []string{"AUTH_OIDC_ISSUER=https://i.example", "AUTH_OIDC_CLIENT_ID=c", "AUTH_OIDC_CLIENT_SECRET=hunter2"}, "")
	if err != nil || strings.Contains(fmt.Sprintf("%+v %#v", s, s), "hunter2") || s.Compat.ClientSecret.Reveal() != "hunter2" {
		t.Error(err)
	}
}

const goodEntry = `{"id": "Acme_IdP", "jwt_public_key_urls": ["https://a.example/jwks"], "claim_mapping": {"user_email": "mail"}}`

func TestOIDCConfigFileMakesProvidersNamedAfterTheirIDs(t *testing.T) {
	name := file(t, `{"configs": [`+goodEntry+`, {
		"id": "second", "jwt_public_key_urls": ["https://b.example/1", "https://b.example/2"], "issuer": "https://b.example",
		"audiences": ["gatehouse"], "claim_mapping": {"user_email": "email", "subject": "uid"}, "clockSkew": "1m", "resolve": {"users": "create"}}]}`)
	list, _ := resources(t, []string{"OIDC_CONFIG_FILE_PATH=" + name}, false)
	if names(list) != "identity-provider:acme-idp identity-provider:second" {
		t.Fatal(names(list))
	}
	a, b := list[0].(*v1.IdentityProvider).Spec, list[1].(*v1.IdentityProvider).Spec
	if !a.TrustUsers || a.LinkBy != "email" || fmt.Sprint(a.EmailDomains) != "[*]" || a.EmailVerified != "assumed" || a.Resolve.Users != v1.UsersExisting ||
		!a.InsecureSkipAudience || fmt.Sprint(a.Claims.Email) != "[mail]" || fmt.Sprint(a.Claims.Subject) != "[sub]" || fmt.Sprint(a.JWKSURLs) != "[https://a.example/jwks]" {
		t.Errorf("%+v", a)
	}
	if b.Issuer != "https://b.example" || b.InsecureSkipAudience || fmt.Sprint(b.Audiences) != "[gatehouse]" || b.ClockSkew != "1m" ||
		b.Resolve.Users != v1.UsersCreate || fmt.Sprint(b.Claims.Subject) != "[uid]" || len(b.JWKSURLs) != 2 {
		t.Errorf("%+v", b)
	}
	_, notices, err := settings.ReadOIDCConfig(name)
	if err != nil || len(notices) != 2 || !strings.Contains(fmt.Sprint(notices), "signature alone") || !strings.Contains(fmt.Sprint(notices), "any audience") {
		t.Error(notices, err)
	}
}

func TestOIDCConfigFileMistakesNameTheEntry(t *testing.T) {
	with := func(s string) string {
		return `{"configs": [` + strings.Replace(goodEntry, "}}", "}, "+s+"}", 1) + `]}`
	}
	for text, want := range map[string]string{
		`{"configs": []}`:   "configs must list at least one identity provider",
		`{}`:                "configs must list at least one identity provider",
		`{"configs": null}`: "must hold configs and nothing else",
		`{"configs": [` + goodEntry + `], "x": 1}`: "must hold configs and nothing else",
		`{"config": []}`:   "must hold configs and nothing else",
		`not json`:         "is not JSON",
		`{"configs": [1]}`: "configs[0] must be an object",
		`{"configs": [{"jwt_public_key_urls": ["https://a.example"], "claim_mapping": {"user_email": "e"}}]}`:            "configs[0].id: is required",
		`{"configs": [{"id": "a", "jwt_public_key_urls": [], "claim_mapping": {"user_email": "e"}}]}`:                    "configs[0].jwt_public_key_urls: is required",
		`{"configs": [{"id": "a", "jwt_public_key_urls": ["https://a.example"], "claim_mapping": {}}]}`:                  "configs[0].claim_mapping.user_email: is required",
		`{"configs": [{"id": "a", "jwt_public_key_urls": ["https://a.example"]}]}`:                                       "configs[0].claim_mapping.user_email: is required",
		`{"configs": [{"id": "a", "jwt_public_key_urls": ["http://a.example"], "claim_mapping": {"user_email": "e"}}]}`:  "configs[0].jwt_public_key_urls[0]: plain http is accepted on loopback only",
		`{"configs": [` + goodEntry + `,` + strings.Replace(goodEntry, "Acme_IdP", "acme-idp", 1) + `]}`:                 `configs[1].id: "acme-idp" is the id of configs[0] already`,
		`{"configs": [{"id": "a", "id": "b", "jwt_public_key_urls": ["https://a.example"], "claim_mapping": {}}]}`:       "already defined",
		`{"configs": [{"ID": "a", "jwt_public_key_urls": ["https://a.example"], "claim_mapping": {"user_email": "e"}}]}`: "configs[0].id: is required",
		with(`"audience": ["x"]`):              "configs[0].audience: ",
		with(`"algorithms": ["HS256"]`):        "configs[0].algorithms[0]: ",
		with(`"claims": {"email": ["x"]}`):     "configs[0].claim_mapping: is what claims are called here",
		with(`"resolve": {"users": "always"}`): "configs[0].resolve.users: ",
	} {
		_, _, err := settings.ReadOIDCConfig(file(t, text))
		if err == nil || !strings.HasPrefix(err.Error(), "OIDC_CONFIG_FILE_PATH: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n got %v\nwant %s", text, err, want)
		}
	}
	if _, _, err := settings.ReadOIDCConfig("/nowhere.json"); err == nil || !strings.HasPrefix(err.Error(), "OIDC_CONFIG_FILE_PATH: stat /nowhere.json") {
		t.Error(err)
	}
}
