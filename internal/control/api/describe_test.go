package api_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/manifest"
)

func TestEveryExampleOfTheManualFitsItsDescription(t *testing.T) {
	says := description(t, newWorld(t))
	files, _ := filepath.Glob("../../manifest/refgen/examples/*.yaml")
	if len(files) != len(v1.Kinds()) {
		t.Fatalf("%d files of examples", len(files))
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		docs, err := manifest.Parse(file, data)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range docs {
			body, err := json.Marshal(d.Resource)
			if err != nil {
				t.Fatal(err)
			}
			if bad := says.misfit(string(d.Resource.Type().Kind)+"Manifest", body); bad != "" {
				t.Errorf("%s %s: %s", file, d.Resource.Meta().Name, bad)
			}
		}
	}
}

// Each is a spec, and whether it is right: by the description and by the
// server, which must not differ.
func TestTheDescriptionAndTheServerAgreeOnWhichFieldsGoTogether(t *testing.T) {
	says := description(t, newWorld(t))
	for _, c := range []struct {
		kind  v1.Kind
		spec  string
		right bool
	}{
		{v1.KindProviderAccount, `{"provider":"echo","echo":{"status":503}}`, true},
		{v1.KindProviderAccount, `{"provider":"echo","baseURL":"https://a.example"}`, false},
		{v1.KindProviderAccount, `{"provider":"echo","credentials":{"apiKey":{"value":"x"}}}`, false},
		{v1.KindProviderAccount, `{"provider":"openai","echo":{}}`, false},
		{v1.KindProviderAccount, `{"provider":"openai","apiVersion":"v1"}`, false},
		{v1.KindProviderAccount, `{"provider":"azure-openai"}`, false},
		{v1.KindProviderAccount, `{"provider":"azure-openai","baseURL":"https://a.example","apiVersion":"v1"}`, true},
		{v1.KindProviderAccount, `{"provider":"openai","baseURL":"http://a.example"}`, false},
		{v1.KindProviderAccount, `{"provider":"openai","baseURL":"http://a.example","insecureHTTP":true}`, true},
		{v1.KindProviderAccount, `{"provider":"openai","baseURL":"http://127.0.0.1:8080/v1"}`, true},
		{v1.KindProviderAccount, `{"provider":"openai","models":[{"name":"*","model":"x"}]}`, false},
		{v1.KindProviderAccount, `{"provider":"openai","models":[{"name":"a/../b"}]}`, false},
		{v1.KindProviderAccount, `{"provider":"openai","credentials":{"apiKey":{"value":"x","env":"Y"}}}`, false},
		{v1.KindProviderAccount, `{"provider":"openai","credentials":{"apiKey":{"store":"vault"}}}`, false},
		{v1.KindProviderAccount, `{"provider":"openai","credentials":{"apiKey":{"store":"vault","path":"a","value":""}}}`, true},
		{v1.KindProviderAccount, `{"provider":"openai","caCert":{"pem":"x"}}`, false},
		{v1.KindSecretStore, `{"provider":"vault"}`, false},
		{v1.KindSecretStore, `{"provider":"aws-ssm"}`, true},
		{v1.KindTeam, `{"identityProviderGroups":[{"identityProvider":"a","ssoConnection":"b","group":"g"}]}`, false},
		{v1.KindTeam, `{"identityProviderGroups":[{"group":"g"}]}`, false},
		{v1.KindVirtualAccount, `{"identityProviderMappings":[{"identityProvider":"a"}]}`, false},
		{v1.KindIdentityProvider, `{}`, false},
		{v1.KindIdentityProvider, `{"preset":"google","audiences":"a"}`, true},
		{v1.KindIdentityProvider, `{"issuer":"https://a.example"}`, false},
		{v1.KindIdentityProvider, `{"issuer":"https://a.example","audiences":"a","insecureSkipAudience":true}`, false},
		{v1.KindIdentityProvider, `{"jwksURLs":"https://a.example","jwks":{"keys":[{"kty":"EC"}]},"insecureSkipAudience":true}`, false},
		{v1.KindIdentityProvider, `{"jwks":{"keys":[{"kty":"EC","x5c":["a"],"ext":true}]},"insecureSkipAudience":true}`, true},
		{v1.KindIdentityProvider, `{"jwks":{"keys":[{"kty":"EC","x":null}]},"insecureSkipAudience":true}`, false},
		{v1.KindIdentityProvider, `{"issuer":"https://a.example","audiences":"a","linkBy":"email"}`, false},
		{v1.KindIdentityProvider, `{"jwksURLs":"https://a.example","audiences":"a","resolve":{"users":"existing"}}`, false},
		{v1.KindIdentityProvider, `{"jwksURLs":"https://a.example","audiences":"a","resolve":{"users":"existing"},"trustUsers":true}`, true},
		{v1.KindIdentityProvider, `{"config":{"jwks_uri":"https://a.example"}}`, true},
		{v1.KindIdentityProvider, `{"config":{"jwks_uri":"https://a.example"},"issuer":"https://a.example","audiences":"a"}`, false},
		{v1.KindSsoConnection, `{}`, true},
		{v1.KindSsoConnection, `{"enabled":true}`, false},
		{v1.KindSsoConnection, `{"protocol":"saml","oidc":{}}`, false},
		{v1.KindSsoConnection, `{"oidc":{"scopes":["profile"]}}`, false},
		{v1.KindSsoConnection, `{"oidc":{"jwksURL":"https://a.example"}}`, false},
		{v1.KindSsoConnection, `{"oidc":{"tokenEndpointAuth":"none","clientSecret":{"value":"x"}}}`, false},
		{v1.KindSsoConnection, `{"enabled":true,"provider":"google","oidc":{"clientId":"a","tokenEndpointAuth":"none"}}`, true},
		{v1.KindSsoConnection, `{"protocol":"saml","saml":{"metadataURL":"https://a.example","sloURL":"https://a.example"}}`, false},
		{v1.KindSsoConnection, `{"protocol":"saml","require":{"amr":"mfa"}}`, false},
	} {
		body := []byte(`{"apiVersion":"` + v1.APIVersion + `","kind":"` + string(c.kind) + `","metadata":{"name":"x"},"spec":` + c.spec + `}`)
		bad := says.misfit(string(c.kind)+"Manifest", body)
		if _, err := manifest.DecodeJSON(c.kind, body); (err == nil) != c.right || (bad == "") != c.right {
			t.Errorf("%s %s: description %q, server %v", c.kind, c.spec, bad, err)
		}
	}
}
