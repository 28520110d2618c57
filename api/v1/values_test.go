package v1

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSecuritySecretsNeverPrint(t *testing.T) {
	const secret = "sk-very-secret-0123456789"
	account := valid(KindProviderAccount).(*ProviderAccount)
	account.Spec.Credentials.APIKey = &SecretValue{Value: secret}
	store := valid(KindSecretStore).(*SecretStore)
	store.Spec.Credentials = &SecretValue{Value: secret}
	values := map[string]any{
		"Sensitive": Sensitive(secret), "SecretValue": SecretValue{Value: secret}, "pointer": &SecretValue{Value: secret},
		"map": map[string]Sensitive{"k": secret}, "slice": []Sensitive{secret},
		"account": account, "account value": *account, "store": *store, "secret fields": account.Secrets(),
	}
	for name, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t"} {
			if out := fmt.Sprintf(verb, v); leaks(out, secret) {
				t.Errorf("%s prints the secret with %s: %s", name, verb, out)
			}
		}
		if j, err := json.Marshal(v); err != nil || leaks(string(j), secret) {
			t.Errorf("%s in JSON: %s, %v", name, j, err)
		}
		var b bytes.Buffer
		for _, h := range []slog.Handler{slog.NewTextHandler(&b, nil), slog.NewJSONHandler(&b, nil)} {
			slog.New(h).Info("x", "v", v)
		}
		if leaks(b.String(), secret) {
			t.Errorf("%s in slog: %s", name, b.String())
		}
	}
	err := fmt.Errorf("bad key %w and %v", FieldError{Path: "p", Message: "m"}, Sensitive(secret))
	if leaks(err.Error(), secret) {
		t.Errorf("in an error: %v", err)
	}
	if got := Sensitive(secret).Reveal(); got != secret {
		t.Errorf("Reveal = %q", got)
	}
	if fmt.Sprint(Sensitive(secret)) != "[redacted]" {
		t.Errorf("prints as %s", Sensitive(secret))
	}
}

func leaks(out, secret string) bool {
	return strings.Contains(out, secret) || strings.Contains(strings.ToLower(out), fmt.Sprintf("%x", secret))
}

func TestSecurityURLErrorsDoNotRepeatPasswords(t *testing.T) {
	for _, u := range []string{"https://user:hunter2@host", "https://user:hunter2%zz@host", "://user:hunter2@host"} {
		a := valid(KindProviderAccount).(*ProviderAccount)
		a.Spec.BaseURL = u
		errs := a.Validate()
		if len(errs) == 0 || strings.Contains(errs.Error(), "hunter2") {
			t.Errorf("%s: %v", u, errs)
		}
	}
}

func TestSecretsListEverySecretOfEveryKind(t *testing.T) {
	for _, k := range Kinds() {
		r := valid(k)
		j, _ := json.Marshal(r)
		want := strings.Count(string(j), `"value":"[redacted]"`) + strings.Count(string(j), `"env":"VAULT_TOKEN"`)
		if got := r.Secrets(); len(got) != want {
			t.Errorf("%s lists %d secrets, its JSON has %d", k, len(got), want)
		}
	}
	a := valid(KindProviderAccount).(*ProviderAccount)
	before := a.Secrets()[0]
	a.Spec.BaseURL = "https://elsewhere.example.com"
	if after := a.Secrets()[0]; before.Destination == after.Destination {
		t.Error("another baseURL must be another destination")
	}
	before.Value.Value = "new"
	if a.Spec.Credentials.APIKey.Value != "new" {
		t.Error("a SecretField must point into the resource")
	}
}

func TestDuration(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"": 0, "90d": 90 * 24 * time.Hour, "48h": 48 * time.Hour, "1h30m": 90 * time.Minute, "30s": 30 * time.Second, "0s": 0,
	} {
		if got, err := Duration(in).Parse(); err != nil || got != want || Duration(in).Std() != want {
			t.Errorf("%q = %v, %v; want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"90", "d", "1.5h", "-1h", "1 h", "1w", "1H", "1ms", "99999999999999999999d", "106752d", "9223372036854775807s", " 1h", "1h\n"} {
		if got, err := Duration(in).Parse(); err == nil {
			t.Errorf("%q = %v, want an error", in, got)
		}
		if Duration(in).Std() != 0 {
			t.Errorf("%q: Std must be zero where Parse fails", in)
		}
	}
}

func TestDecimalIsAStringOfDigits(t *testing.T) {
	for in, ok := range map[Decimal]bool{
		"": true, "2.50": true, "0": true, "123456789012": true, "2,50": false, ".5": false, "1e3": false,
		"-1": false, "1.": false, "1234567890123": false, "1\n": false,
	} {
		var errs FieldErrors
		errs.decimal("p", in)
		if (len(errs) == 0) != ok {
			t.Errorf("%q: %v, want ok = %v", in, errs, ok)
		}
	}
}

func TestSubjects(t *testing.T) {
	for in, want := range map[string]string{
		"user:Ada@Example.COM":            "user/ada@example.com",
		"team:research":                   "team/research",
		"team:everyone":                   "team/everyone",
		"virtual-account:booking-bot":     "virtual-account/booking-bot",
		"external-identity:partner":       "external-identity/partner",
		"agent:planner":                   "agent/planner",
		"role:tenant-admin":               "role/tenant-admin",
		"":                                "",
		"ada@example.com":                 "",
		"user:":                           "",
		"user:ada":                        "",
		"user:Ada <ada@example.com>":      "",
		"Team:research":                   "",
		"team:Research":                   "",
		"team:a b":                        "",
		"group:x":                         "",
		"team:" + strings.Repeat("a", 64): "",
	} {
		kind, name, ok := ParseSubject(in)
		if want == "" {
			if ok {
				t.Errorf("ParseSubject(%q) = %s:%s, want none", in, kind, name)
			}
			continue
		}
		if !ok || kind+"/"+name != want {
			t.Errorf("ParseSubject(%q) = %s/%s, %v; want %s", in, kind, name, ok, want)
		}
	}
}

func TestResources(t *testing.T) {
	for _, in := range []string{
		"tenant", "model:openai-main/gpt-4o", "model:hf/org/model", "provider-account:openai-main", "mcp-tool:github/create_issue",
		"user:ada@example.com", "team:research", "role-binding:x",
	} {
		if _, _, ok := ParseResource(in); !ok {
			t.Errorf("%q must be a resource", in)
		}
	}
	for _, in := range []string{"", "tenant:x", "model:gpt-4o", "model:/x", "model:a/", "pod:x", "team:", "mcp-tool:github", "user:ada", "team:A"} {
		if kind, name, ok := ParseResource(in); ok {
			t.Errorf("%q = %s, %s, want none", in, kind, name)
		}
	}
}

func TestFQNSplitsAtTheFirstSlash(t *testing.T) {
	for in, want := range map[string][2]string{
		"openai-main/gpt-4o":            {"openai-main", "gpt-4o"},
		"hf/meta-llama/Llama-2":         {"hf", "meta-llama/Llama-2"},
		"a/" + strings.Repeat("m", 256): {"a", strings.Repeat("m", 256)},
	} {
		if a, m, ok := SplitFQN(in); !ok || a != want[0] || m != want[1] {
			t.Errorf("SplitFQN(%q) = %q, %q, %v", in, a, m, ok)
		}
	}
	for _, in := range []string{"", "gpt-4o", "/gpt-4o", "a/", "A/b", "a/" + strings.Repeat("m", 257)} {
		if _, _, ok := SplitFQN(in); ok {
			t.Errorf("%q is no name of a model", in)
		}
	}
}

func TestShortFormsAreNormalised(t *testing.T) {
	var s struct {
		One  Strings `json:"one"`
		Many Strings `json:"many"`
		CA   CACert  `json:"ca"`
		CA2  CACert  `json:"ca2"`
	}
	if err := json.Unmarshal([]byte(`{"one":"a","many":["b","c"],"ca":"PEM","ca2":{"file":"/x"}}`), &s); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]any{Strings{"a"}, Strings{"b", "c"}, CACert{PEM: "PEM"}, CACert{File: "/x"}}, []any{s.One, s.Many, s.CA, s.CA2}); d != "" {
		t.Error(d)
	}
	if err := json.Unmarshal([]byte(`{"one":1}`), &s); err == nil {
		t.Error("a number is not a list of strings")
	}
	var team Team
	team.Spec.Members = []string{" Ada@Example.com "}
	team.Default()
	if team.Spec.Members[0] != "ada@example.com" {
		t.Errorf("member = %q", team.Spec.Members[0])
	}
}

func TestPlainHTTPIsForLoopbackOnly(t *testing.T) {
	for u, ok := range map[string]bool{
		"http://127.0.0.1:8081": true, "http://localhost": true, "http://[::1]:1": true, "http://127.1.2.3": true,
		"http://127.0.0.1.example.com": false, "http://localhost.example.com": false, "http://10.0.0.1": false, "http://example.com": false,
		"https://example.com": true, "https://": false, "/x": false, "https:///x": false, "javascript:alert(1)": false,
	} {
		var errs FieldErrors
		errs.url("p", u, false)
		if (len(errs) == 0) != ok {
			t.Errorf("%s: %v, want ok = %v", u, errs, ok)
		}
	}
	var errs FieldErrors
	if errs.url("p", "http://example.com", true); len(errs) > 0 {
		t.Errorf("insecureHTTP: %v", errs)
	}
}

func TestIdentityProviderShortShapeIsNormalised(t *testing.T) {
	var p IdentityProvider
	if err := json.Unmarshal([]byte(`{"spec":{"config":{"jwks_uri":"https://a.example.com/jwks","issuer":"https://a.example.com"}}}`), &p); err != nil {
		t.Fatal(err)
	}
	p.Default()
	s := p.Spec
	if s.Config != nil || s.Issuer != "https://a.example.com" || len(s.JWKSURLs) != 1 || !s.InsecureSkipAudience {
		t.Errorf("spec = %+v", s)
	}
	p = IdentityProvider{Spec: IdentityProviderSpec{Config: &IdentityProviderConfig{Issuer: "https://a.example.com", Audience: Strings{"x"}}}}
	p.Default()
	if p.Spec.InsecureSkipAudience || p.Spec.Audiences[0] != "x" {
		t.Errorf("with an audience it must be checked: %+v", p.Spec)
	}
}

func TestPresets(t *testing.T) {
	type want struct {
		Subject, EmailVerified, ClientID, Unless Strings
		Within, TokenType, Issuer                string
		ClientWhen                               []ClaimMatch
	}
	usual := want{Subject: Strings{"sub"}, EmailVerified: Strings{"email_verified"}, ClientID: Strings{"azp", "client_id"}, TokenType: "access"}
	with := func(f func(*want)) want { w := usual; f(&w); return w }
	for preset, w := range map[Preset]want{
		"":           usual,
		PresetCustom: usual,
		PresetOkta:   with(func(w *want) { w.ClientID = Strings{"cid", "azp"} }),
		PresetKeycloak: with(func(w *want) {
			w.Unless = Strings{"sid"}
			w.ClientWhen = []ClaimMatch{{"preferred_username", Strings{"service-account-*"}}}
		}),
		PresetAuth0:  with(func(w *want) { w.ClientWhen = []ClaimMatch{{"gty", Strings{"client-credentials"}}} }),
		PresetGoogle: with(func(w *want) { w.TokenType = "id"; w.Issuer = "https://accounts.google.com" }),
		PresetEntra: with(func(w *want) {
			w.Subject, w.Within, w.EmailVerified = Strings{"oid"}, "tid", Strings{"xms_edov", "email_verified"}
			w.ClientID, w.ClientWhen = Strings{"azp", "appid"}, []ClaimMatch{{"idtyp", Strings{"app"}}}
		}),
	} {
		p := &IdentityProvider{Spec: IdentityProviderSpec{Preset: preset}}
		p.Default()
		s, c := p.Spec, p.Spec.Claims
		got := want{
			Subject: c.Subject, EmailVerified: c.EmailVerified, ClientID: c.ClientID, Unless: s.ClientTokenUnless,
			Within: c.SubjectWithin, TokenType: s.TokenType, Issuer: s.Issuer, ClientWhen: s.ClientTokenWhen,
		}
		if d := cmp.Diff(w, got); d != "" {
			t.Errorf("preset %q (-want +got):\n%s", preset, d)
		}
		if s.Resolve.Users != UsersNever || !s.Resolve.AcceptsVirtualAccounts() || !s.Resolve.AcceptsExternalIdentities() {
			t.Errorf("preset %q resolves %+v", preset, s.Resolve)
		}
	}
}

// What was emptied on purpose must not come back from storage as a default.
func TestSecurityEmptyListsOfAProviderStayEmpty(t *testing.T) {
	const emptied = `{"spec":{"preset":"keycloak","algorithms":[],"clientTokenWhen":[],"clientTokenUnless":[],"claims":{"groups":[],"email":[]}}}`
	var p, again IdentityProvider
	if err := json.Unmarshal([]byte(emptied), &p); err != nil {
		t.Fatal(err)
	}
	p.Default()
	j, err := json.Marshal(&p)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(j, &again); err != nil {
		t.Fatal(err)
	}
	again.Default()
	s := again.Spec
	if len(s.Algorithms)+len(s.ClientTokenWhen)+len(s.ClientTokenUnless)+len(s.Claims.Groups)+len(s.Claims.Email) != 0 {
		t.Errorf("after a round trip: %s", j)
	}
}

func TestSecurityEmptyCollaboratorsOfAModelStayEmpty(t *testing.T) {
	j, _ := json.Marshal(Model{Name: "a", Collaborators: []Collaborator{}})
	var m Model
	if err := json.Unmarshal(j, &m); err != nil || m.Collaborators == nil {
		t.Errorf("narrowed to nobody became not narrowed: %s", j)
	}
}

func TestALengthOfTimeIsWrittenAsItIsRead(t *testing.T) {
	for d, want := range map[time.Duration]Duration{
		168 * time.Hour: "7d", 24 * time.Hour: "1d", 36 * time.Hour: "36h", 90 * time.Minute: "1h30m", time.Minute: "1m", 61 * time.Second: "1m1s",
		25*time.Hour + time.Second: "25h1s", 0: "0s", 3650 * 24 * time.Hour: "3650d",
	} {
		got := DurationOf(d)
		if back, err := got.Parse(); got != want || err != nil || back != d {
			t.Errorf("%v is written %s and read %v (%v), want %s", d, got, back, err, want)
		}
	}
}
