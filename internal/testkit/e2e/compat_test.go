package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/devidp"
	"github.com/gatehouse-ai/gatehouse/internal/testkit"
)

// upstreamKey is the provider's real key, which no caller ever sees.
const upstreamKey = "sk-the-real-key"

// newUpstream is an OpenAI that knows upstreamKey and two models.
func newUpstream(t testing.TB) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"object":"list","data":[{"id":"gpt-4o","object":"model"},{"id":"gpt-4o-mini","object":"model"}]}`)
	})
	mux.HandleFunc("POST /v1/chat/completions", func(w http.ResponseWriter, r *http.Request) {
		var body struct{ Model string }
		_ = json.NewDecoder(r.Body).Decode(&body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"id":"x","object":"chat.completion","model":%q,"choices":[{"index":0,"message":{"role":"assistant","content":"upstream"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`, body.Model)
	})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+upstreamKey {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

func TestTheInferenceGatewaysVariablesWorkUnchanged(t *testing.T) {
	idp, upstream := newCompany(t, "ada@acme.com"), newUpstream(t)
	for name, address := range map[string]string{"the address with a path": upstream + "/v1", "the address alone": upstream} {
		t.Run(name, func(t *testing.T) {
			g := testkit.Start(t, testkit.Options{Environ: []string{
				"AUTH_ENABLE=true", "AUTH_OIDC_ISSUER=" + idp.Issuer(), "AUTH_OIDC_CLIENT_ID=gatehouse", "AUTH_OIDC_CLIENT_SECRET=ignored",
				"OPENAI_API_KEY=" + upstreamKey, "OPENAI_API_URL=" + address,
			}})
			for who, c := range map[string]struct {
				token string
				want  int
			}{
				"a person":                             {idp.token("ada@acme.com", devidp.MintOptions{}), 200},
				"a person without email_verified":      {idp.token("ada@acme.com", devidp.MintOptions{Extra: map[string]any{"email_verified": nil}}), 200},
				"a caller without e-mail":              {idp.token("ada@acme.com", devidp.MintOptions{Extra: map[string]any{"email": nil, "sub": "service-7"}}), 200},
				"a token without aud, for our client":  {idp.token("ada@acme.com", devidp.MintOptions{ClientID: "gatehouse", Extra: map[string]any{"aud": nil}}), 200},
				"a token without aud, for another one": {idp.token("ada@acme.com", devidp.MintOptions{ClientID: "other", Extra: map[string]any{"aud": nil}}), 401},
				"another audience":                     {idp.token("ada@acme.com", devidp.MintOptions{Audience: []string{"other"}}), 401},
				"an expired token":                     {idp.token("ada@acme.com", devidp.MintOptions{ExpiresIn: -time.Hour}), 401},
				"nobody":                               {"", 401},
			} {
				res := g.Chat(t, c.token, "openai/gpt-4o")
				if res.Status != c.want {
					t.Errorf("%s: %d, want %d: %s", who, res.Status, c.want, res.Body)
				}
				if strings.Contains(res.Body, upstreamKey) {
					t.Errorf("%s sees the provider's key", who)
				}
			}
			ada := idp.token("ada@acme.com", devidp.MintOptions{})
			eventually(t, 2*time.Second, "the provider's models are listed", func() bool {
				return g.Models(t, ada) == "openai/gpt-4o openai/gpt-4o-mini"
			})
			if res := g.Do(t, testkit.Request{Path: "/api/v1/users", Token: ada}); res.Status != 403 {
				t.Errorf("a caller at the control API: %d %s", res.Status, res.Body)
			}
		})
	}
}

func TestTheAudienceVariableWinsOverTheClientID(t *testing.T) {
	idp := newCompany(t, "ada@acme.com")
	g := testkit.Start(t, testkit.Options{Environ: []string{
		"AUTH_ENABLED=true", "AUTH_OIDC_ISSUER=" + idp.Issuer(), "AUTH_OIDC_CLIENT_ID=client", "AUTH_OIDC_AUDIENCE=api", "AUTH_OIDC_CLIENT_SECRET=",
	}})
	for audience, want := range map[string]int{"api": 200, "client": 401} {
		token := idp.token("ada@acme.com", devidp.MintOptions{Audience: []string{audience}})
		if res := g.Do(t, testkit.Request{Path: "/v1/models", Token: token}); res.Status != want {
			t.Errorf("aud %s: %d, want %d: %s", audience, res.Status, want, res.Body)
		}
	}
}

func TestManifestsTakePrecedenceOverTheEnvironment(t *testing.T) {
	idp, dir := newCompany(t, "ada@acme.com"), t.TempDir()
	environ := []string{"AUTH_OIDC_ISSUER=" + idp.Issuer(), "AUTH_OIDC_CLIENT_ID=gatehouse", "OPENAI_API_KEY=" + upstreamKey, "OPENAI_API_URL=" + newUpstream(t), "GATEHOUSE_MANIFESTS_DIR=" + dir}
	write(t, filepath.Join(dir, "openai.yaml"), echoAccount("openai", ""))
	g := testkit.Start(t, testkit.Options{Environ: environ})
	ada := idp.token("ada@acme.com", devidp.MintOptions{})
	if got := g.Models(t, ada); got != "openai/small" {
		t.Errorf("models: %q", got)
	}
	// Without the manifest the environment's account is there again.
	write(t, filepath.Join(dir, "openai.yaml"), team("other"))
	eventually(t, 8*time.Second, "the environment's account is back", func() bool { return g.Chat(t, ada, "openai/gpt-4o").Status == 200 })
	// And goes when a manifest wants its name.
	write(t, filepath.Join(dir, "openai.yaml"), echoAccount("openai", ""))
	eventually(t, time.Second, "the manifest has its name again", func() bool { return g.Models(t, ada) == "openai/small" })
}

func TestTheFileOfIdentityProvidersIsReadAndWatched(t *testing.T) {
	one, two := newCompany(t, "ada@acme.com"), newCompany(t, "bob@acme.com")
	file := filepath.Join(t.TempDir(), "config.json")
	entry := func(id string, c *company) string {
		return fmt.Sprintf(`{"id":%q,"jwt_public_key_urls":["%s/jwks"],"claim_mapping":{"user_email":"email"}}`, id, c.Issuer())
	}
	write(t, file, `{"configs":[`+entry("first", one)+`]}`)
	g := testkit.Start(t, testkit.Options{Environ: []string{"OIDC_CONFIG_FILE_PATH=" + file}, Manifests: echoAccount("echo", "")})
	for _, email := range []string{"ada@acme.com", "bob@acme.com"} { // they must exist
		if res := g.Do(t, testkit.Request{Method: http.MethodPut, Path: "/api/v1/users/" + email, Token: g.Admin, Body: `{}`}); res.Status != http.StatusCreated {
			t.Fatalf("%d %s", res.Status, res.Body)
		}
	}
	ada, bob := one.token("ada@acme.com", devidp.MintOptions{}), two.token("bob@acme.com", devidp.MintOptions{})
	if res := g.Chat(t, ada, "echo/small"); res.Status != 200 {
		t.Errorf("ada: %d %s", res.Status, res.Body)
	}
	if res := g.Chat(t, bob, "echo/small"); res.Status != 401 {
		t.Errorf("bob, before: %d %s", res.Status, res.Body)
	}
	write(t, file, `{"configs":[`+entry("first", one)+`,`+entry("second", two)+`]}`)
	took := eventually(t, 2*time.Second, "the second provider is known", func() bool { return g.Chat(t, bob, "echo/small").Status == 200 })
	t.Logf("a change of the file is live after %s", took.Round(time.Millisecond))

	write(t, file, `{"configs":[{"id":"broken"}]}`)
	eventually(t, 2*time.Second, "the broken file is reported", func() bool { return strings.Contains(ops(t, g, "/readyz"), "jwt_public_key_urls") })
	if res := g.Chat(t, bob, "echo/small"); res.Status != 200 {
		t.Errorf("bob, with a broken file: %d %s", res.Status, res.Body)
	}
	write(t, file, `{"configs":[`+entry("second", two)+`]}`)
	eventually(t, 2*time.Second, "the first provider is gone", func() bool { return g.Chat(t, ada, "echo/small").Status == 401 })
}

func TestSecuritySwitchedOffAuthenticationOpensTheModelRoutesAlone(t *testing.T) {
	idp, upstream := newCompany(t, "ada@acme.com"), newUpstream(t)
	g := testkit.Start(t, testkit.Options{Environ: []string{
		"AUTH_ENABLE=false", "AUTH_OIDC_ISSUER=" + idp.Issuer(), "AUTH_OIDC_CLIENT_ID=gatehouse", "OPENAI_API_KEY=" + upstreamKey, "OPENAI_API_URL=" + upstream,
	}})
	if res := g.Chat(t, "", "openai/gpt-4o"); res.Status != 200 {
		t.Errorf("nobody, chat: %d %s", res.Status, res.Body)
	}
	if res := g.Do(t, testkit.Request{Path: "/v1/models"}); res.Status != 200 {
		t.Errorf("nobody, models: %d %s", res.Status, res.Body)
	}
	// A token that is no good is not taken for none.
	if res := g.Chat(t, "gtp_"+strings.Repeat("0", 49), "openai/gpt-4o"); res.Status != 401 {
		t.Errorf("a bad token: %d %s", res.Status, res.Body)
	}
	var description struct {
		Paths map[string]map[string]any `json:"paths"`
	}
	g.Do(t, testkit.Request{Path: "/api/v1/openapi.json", Token: g.Admin}).JSON(t, &description)
	for path, methods := range description.Paths {
		for method := range methods {
			res := send(t, strings.ToUpper(method), g.URL()+strings.NewReplacer("{", "", "}", "").Replace(path), "", "")
			if res.status != 401 {
				t.Errorf("%s %s: %d %s", method, path, res.status, res.body)
			}
		}
	}
	// A page somewhere on the web is not somebody on this machine: what a browser
	// sends without asking first (CORS' simple requests) must not reach a model.
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	_ = w.WriteField("model", "openai/gpt-4o")
	_, _ = w.CreateFormFile("file", "a.wav")
	_ = w.Close()
	for path, c := range map[string][2]string{
		"/v1/chat/completions":     {"text/plain", chatBody("openai/gpt-4o", "hi")},
		"/v1/audio/transcriptions": {w.FormDataContentType(), form.String()},
	} {
		res := send(t, http.MethodPost, g.URL()+path, "", c[1], "Origin", "https://evil.example", "Content-Type", c[0], "Sec-Fetch-Site", "cross-site")
		if res.status != http.StatusForbidden {
			t.Errorf("%s: a page of another origin reaches the models: %d %.200s", path, res.status, res.body)
		}
	}
}
