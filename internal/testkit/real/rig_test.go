//go:build real

package real_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse-ai/gatehouse/internal/testkit/real"
)

// audiences is aud as a list: RFC 7519 section 4.1.3 allows one string too.
func audiences(t *testing.T, jwt string) []string {
	t.Helper()
	return list(real.Claims(t, jwt)["aud"])
}

func list(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		var out []string
		for _, e := range v {
			out = append(out, fmt.Sprint(e))
		}
		return out
	}
	return nil
}

func getJSON(t *testing.T, client *http.Client, url string) map[string]any {
	t.Helper()
	res, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	out := map[string]any{}
	if err := json.NewDecoder(res.Body).Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

// kids lists the key ids of a JWKS.
func kids(t *testing.T, client *http.Client, url string) []string {
	t.Helper()
	keys, _ := getJSON(t, client, url)["keys"].([]any)
	var out []string
	for _, k := range keys {
		out = append(out, fmt.Sprint(k.(map[string]any)["kid"]))
	}
	return out
}

func TestKeycloakIssuesWhatTheRealmPromises(t *testing.T) {
	k := real.Keycloak(t)

	t.Run("a password token carries audience, groups and a verified email", func(t *testing.T) {
		tokens := k.PasswordToken(t, "gateway-client", "alice")
		claims := real.Claims(t, tokens.Access)
		if !slices.Contains(audiences(t, tokens.Access), "gatehouse") {
			t.Errorf("aud = %v", claims["aud"])
		}
		if got := list(claims["groups"]); !slices.Equal(got, []string{"eng-research"}) {
			t.Errorf("groups = %v", got)
		}
		if claims["iss"] != k.Issuer() || claims["email"] != "alice@example.com" || claims["email_verified"] != true {
			t.Errorf("iss, email, email_verified = %v, %v, %v", claims["iss"], claims["email"], claims["email_verified"])
		}
		if life := claims["exp"].(float64) - claims["iat"].(float64); life != 300 {
			t.Errorf("an access token lives %v s, the realm says 300", life)
		}
		if tokens.ID == "" || tokens.Refresh == "" {
			t.Error("no ID token or no refresh token")
		}
		if k.RefreshToken(t, "gateway-client", tokens.Refresh).Access == tokens.Access {
			t.Error("a refresh gave the same access token")
		}
	})
	t.Run("a client token names its client", func(t *testing.T) {
		claims := real.Claims(t, k.ClientToken(t, "gateway-client").Access)
		if claims["azp"] != "gateway-client" {
			t.Errorf("azp = %v", claims["azp"])
		}
	})
	t.Run("an offline token refreshes", func(t *testing.T) {
		tokens := k.OfflineToken(t, "gateway-client", "bob")
		if typ := real.Claims(t, tokens.Refresh)["typ"]; typ != "Offline" {
			t.Errorf("typ of the refresh token = %v", typ)
		}
		k.RefreshToken(t, "gateway-client", tokens.Refresh)
	})
	t.Run("the misconfiguration shows and is mended", func(t *testing.T) {
		if got := audiences(t, k.ClientToken(t, "gateway-client-no-aud").Access); !slices.Equal(got, []string{"account"}) {
			t.Fatalf("without an audience mapper aud = %v", got)
		}
		k.AddAudienceMapper(t, "gateway-client-no-aud", "gatehouse")
		if got := audiences(t, k.ClientToken(t, "gateway-client-no-aud").Access); !slices.Contains(got, "gatehouse") {
			t.Errorf("with one aud = %v", got)
		}
	})
	t.Run("membership follows the admin API", func(t *testing.T) {
		groups := func() []string {
			return list(real.Claims(t, k.PasswordToken(t, "gateway-client", "bob").Access)["groups"])
		}
		k.AddUserToGroup(t, "bob", "finance")
		if got := groups(); !slices.Equal(got, []string{"finance"}) {
			t.Errorf("after adding: %v", got)
		}
		k.RemoveUserFromGroup(t, "bob", "finance")
		if got := groups(); len(got) != 0 {
			t.Errorf("after removing: %v", got)
		}
	})
	t.Run("a rotated key leaves the JWKS", func(t *testing.T) {
		old := real.Header(t, k.ClientToken(t, "gateway-client").Access)["kid"].(string)
		k.RotateSigningKey(t)
		now := real.Header(t, k.ClientToken(t, "gateway-client").Access)["kid"].(string)
		published := kids(t, k.HTTPClient(), k.Issuer()+"/protocol/openid-connect/certs")
		if slices.Contains(published, old) || !slices.Contains(published, now) || old == now {
			t.Errorf("old %s, new %s, published %v", old, now, published)
		}
	})
}

func TestKeycloakTrustsChangeWithItsCA(t *testing.T) {
	k := real.KeycloakWith(t, real.KeycloakOptions{TLS: true})
	first, client := k.CAPEM(), k.HTTPClient()
	if iss := real.Claims(t, k.PasswordToken(t, "gateway-client", "alice").Access)["iss"]; iss != k.Issuer() || !strings.HasPrefix(k.Issuer(), "https://") {
		t.Errorf("iss = %v", iss)
	}
	old := real.Header(t, k.ClientToken(t, "gateway-client").Access)["kid"]
	k.RestartWithNewCA(t)
	if bytes.Equal(first, k.CAPEM()) {
		t.Error("the CA is the same after RestartWithNewCA")
	}
	if _, err := client.Get(k.Issuer()); err == nil {
		t.Error("a client that trusts the first CA only was answered")
	}
	if now := real.Header(t, k.ClientToken(t, "gateway-client").Access)["kid"]; now != old {
		t.Errorf("the realm's key changed with the restart: %v, was %v", now, old)
	}
}

func TestOIDCProviderSignsJWTs(t *testing.T) {
	for _, alg := range []string{"RS256", "ES256", "EdDSA"} {
		t.Run(alg, func(t *testing.T) {
			s := real.OIDCProvider(t, real.OIDCOptions{Alg: alg, Claims: map[string]any{"org": "acme"}})
			jwks, _ := getJSON(t, http.DefaultClient, s.URL+"/.well-known/openid-configuration")["jwks_uri"].(string)
			token := s.ClientToken(t, "gatehouse")
			claims, header := real.Claims(t, token), real.Header(t, token)
			if header["alg"] != alg || claims["aud"] != "gatehouse" || claims["iss"] != s.Issuer() || claims["org"] != "acme" {
				t.Errorf("alg %v, aud %v, iss %v, org %v", header["alg"], claims["aud"], claims["iss"], claims["org"])
			}
			if got := audiences(t, s.ClientToken(t, "another")); !slices.Equal(got, []string{"another"}) {
				t.Errorf("aud = %v, asked for another", got)
			}
			first := header["kid"].(string)
			s.Kill()
			s.Start(t)
			if got := real.Header(t, s.ClientToken(t, "gatehouse"))["kid"]; got != first {
				t.Errorf("after a restart it signs with %v, not %v", got, first)
			}
			s.RotateKey(t, true)
			if got := kids(t, http.DefaultClient, jwks); !slices.Contains(got, first) || len(got) != 2 {
				t.Errorf("after an orderly rotation the JWKS has %v", got)
			}
			s.RotateKey(t, false)
			if got := kids(t, http.DefaultClient, jwks); slices.Contains(got, first) || len(got) != 1 {
				t.Errorf("after a rough rotation the JWKS has %v", got)
			}
			s.SetClaims(t, map[string]any{"org": "other"})
			if got := real.Claims(t, s.ClientToken(t, "gatehouse"))["org"]; got != "other" {
				t.Errorf("org = %v after SetClaims", got)
			}
		})
	}
}

func post(t *testing.T, url, body string) (*http.Response, string) {
	t.Helper()
	res, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	out, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(out)
}

func TestLlamaAnswersAChat(t *testing.T) {
	m := real.Llama(t)
	res, body := post(t, m.BaseURL+"/chat/completions", `{"model":"`+m.Name+`","max_tokens":8,"messages":[{"role":"user","content":"Say hi"}]}`)
	var answer struct {
		Model   string
		Choices []struct{ Message struct{ Content string } }
		Usage   struct{ Completion_Tokens int }
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || res.StatusCode != 200 {
		t.Fatalf("%s: %v: %s", res.Status, err, body)
	}
	if len(answer.Choices) != 1 || answer.Choices[0].Message.Content == "" || answer.Usage.Completion_Tokens == 0 || answer.Model != m.Name {
		t.Errorf("answer: %s", body)
	}
}

func TestValidatorTellsGoodFromBad(t *testing.T) {
	v := real.Validator(t)
	const good = `{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}`
	if res, body := post(t, v.URL+"/chat/completions", good); res.StatusCode != 200 {
		t.Errorf("a good request: %s: %s", res.Status, body)
	}
	res, body := post(t, v.URL+"/chat/completions", `{"model":"gpt-4o","messages":"hi"}`)
	if res.StatusCode != 400 || !strings.Contains(body, "body.messages") {
		t.Errorf("messages as a string: %s: %s", res.Status, body)
	}
	if res, _ := post(t, v.URL+"/no-such-endpoint", `{}`); res.StatusCode != 404 {
		t.Errorf("an unknown path: %s", res.Status)
	}
}

func TestProxiesForward(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "saw %s", r.Header.Get("X-Rig"))
	}))
	defer upstream.Close()
	t.Run("nginx", func(t *testing.T) {
		s := real.Nginx(t, "server { listen $LISTEN; location / { proxy_set_header X-Rig nginx; proxy_pass "+upstream.URL+"; } }")
		if _, body := post(t, s.URL+"/", "{}"); body != "saw nginx" {
			t.Errorf("answer: %q", body)
		}
	})
	t.Run("caddy", func(t *testing.T) {
		s := real.Caddy(t, ":$PORT {\n\treverse_proxy "+upstream.URL+" {\n\t\theader_up X-Rig caddy\n\t}\n}")
		if _, body := post(t, s.URL+"/", "{}"); body != "saw caddy" {
			t.Errorf("answer: %q", body)
		}
	})
}

func TestAbsentComponentIsReportedWithItsReason(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("GATEHOUSE_TEST_CACHE", dir)
	t.Setenv("GATEHOUSE_REAL_REQUIRE", "")
	t.Setenv("GATEHOUSE_REAL_REPORT", dir+"/report")
	if err := os.Mkdir(dir+"/status", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/status/nginx", []byte("SKIP nginx: apt-get install nginx -> no network\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Run("skips", func(t *testing.T) { real.Nginx(t, "") })
	t.Run("skips what was never fetched", func(t *testing.T) { real.Llama(t) })
	got, err := os.ReadFile(dir + "/report")
	if err != nil {
		t.Fatal(err)
	}
	want := "skipped nginx " + t.Name() + "/skips: apt-get install nginx -> no network\n" +
		"skipped llama " + t.Name() + "/skips_what_was_never_fetched: not fetched: run scripts/real/fetch llama\n"
	if string(got) != want {
		t.Errorf("report:\n%s\nwant:\n%s", got, want)
	}
}
