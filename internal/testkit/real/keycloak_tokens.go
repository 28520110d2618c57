package real

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// Tokens is what a token endpoint answered; what it did not send is empty.
type Tokens struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
	ID      string `json:"id_token"`
}

// PasswordToken signs a user in with the password grant and scope openid.
func (k *KeycloakServer) PasswordToken(t testing.TB, client, user string) Tokens {
	t.Helper()
	return k.Grant(t, client, url.Values{
		"grant_type": {"password"}, "username": {user},
		"password": {user + "-development-password"}, "scope": {"openid"},
	})
}

// OfflineToken is PasswordToken with an offline refresh token.
func (k *KeycloakServer) OfflineToken(t testing.TB, client, user string) Tokens {
	t.Helper()
	return k.Grant(t, client, url.Values{
		"grant_type": {"password"}, "username": {user},
		"password": {user + "-development-password"}, "scope": {"openid offline_access"},
	})
}

// ClientToken is the client's own token, by the client-credentials grant.
func (k *KeycloakServer) ClientToken(t testing.TB, client string) Tokens {
	t.Helper()
	return k.Grant(t, client, url.Values{"grant_type": {"client_credentials"}})
}

// RefreshToken trades a refresh token for fresh tokens.
func (k *KeycloakServer) RefreshToken(t testing.TB, client, refresh string) Tokens {
	t.Helper()
	return k.Grant(t, client, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}})
}

// Grant posts a form to the token endpoint as a confidential client of the realm.
func (k *KeycloakServer) Grant(t testing.TB, client string, form url.Values) Tokens {
	t.Helper()
	form.Set("client_id", client)
	form.Set("client_secret", client+"-development-secret")
	return postToken(t, k.client, k.Issuer()+"/protocol/openid-connect/token", form)
}

func postToken(t testing.TB, client *http.Client, endpoint string, form url.Values) Tokens {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	var tokens Tokens
	if err := doJSON(client, req, &tokens); err != nil {
		t.Fatalf("%s grant: %v", form.Get("grant_type"), err)
	}
	if tokens.Access == "" {
		t.Fatalf("%s grant: no access token in the answer", form.Get("grant_type"))
	}
	return tokens
}

// doJSON sends a request and decodes its answer into out, unless that is nil.
func doJSON(client *http.Client, req *http.Request, out any) error {
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 4<<20))
	if err != nil {
		return err
	}
	if res.StatusCode >= 400 {
		return fmt.Errorf("%s %s: %s: %s", req.Method, req.URL.Path, res.Status, body)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(body, out)
}

// Claims decodes a JWT's claims. It verifies nothing: it is for tests to see
// what an issuer put there.
func Claims(t testing.TB, jwt string) map[string]any {
	t.Helper()
	return decodePart(t, jwt, 1)
}

// Header decodes a JWT's header, verifying nothing.
func Header(t testing.TB, jwt string) map[string]any {
	t.Helper()
	return decodePart(t, jwt, 0)
}

func decodePart(t testing.TB, jwt string, n int) map[string]any {
	t.Helper()
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		t.Fatalf("not a compact JWS: it has %d parts", len(parts))
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[n])
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]any{}
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}
