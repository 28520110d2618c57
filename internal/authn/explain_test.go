package authn

import (
	"strings"
	"testing"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/authn/keyring"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

func TestExplainNamesTheSettingToChange(t *testing.T) {
	build := func(more string, extra ...v1.Resource) *bench {
		return newBench(t, append([]v1.Resource{idp(t, "acme", acme, jwks("acme=k1"), more)}, extra...)...)
	}
	partners := res(t, v1.KindExternalIdentity, "admins", `{"identityProvider":"acme","claims":[{"path":"sub","anyOf":["*"]},{"path":"/realm_access/roles","anyOf":["admin"]}]}`)
	for _, tc := range []struct {
		name     string
		b        *bench
		key, kid string
		over     claimSet
		want     []string
	}{
		{"expired", build(""), "acme", "k1", claimSet{"exp": noon.Add(-time.Hour).Unix()}, []string{"acme", "token_expired", "1h", "spec.clockSkew"}},
		{"not yet valid", build(""), "acme", "k1", claimSet{"nbf": noon.Add(time.Hour).Unix()}, []string{"1h", "spec.clockSkew"}},
		{"wrong audience", build(""), "acme", "k1", claimSet{"aud": "other"}, []string{`"other"`, `"gw"`, "spec.audiences"}},
		{"keycloak's audience", build(""), "acme", "k1", claimSet{"aud": "account"}, []string{`"Audience" mapper`, "spec.audiences"}},
		{"wrong issuer", build(""), "acme", "k1", claimSet{"iss": partner}, []string{partner, acme, "spec.issuer"}},
		{"an issuer with a slash", build(""), "acme", "k1", claimSet{"iss": acme + "/"}, []string{"differs by a slash", "spec.issuer"}},
		{"no issuer", build(""), "acme", "k1", claimSet{"iss": nil}, []string{"no iss"}},
		{"issuer as a number", build(""), "acme", "k1", claimSet{"iss": 1}, []string{"iss is not a string"}},
		{"unknown key", build(""), "acme", "k9", nil, []string{`"k9"`, "spec.issuer, spec.jwksURLs or spec.jwks"}},
		{"another algorithm", build(`"algorithms":["RS256"]`), "acme", "k1", nil, []string{"ES256", "spec.algorithms"}},
		{"an ID token", build(""), "acme", "k1", claimSet{"nonce": "n"}, []string{"send the access token", "spec.tokenType"}},
		{"no subject", build(""), "acme", "k1", claimSet{"sub": nil}, []string{"claim sub", "spec.claims.subject"}},
		{"wrong signature", build(""), "forged", "k1", nil, []string{"acme: the signature is wrong"}},
		{"no claim for an external identity", build("", partners), "acme", "k1", nil, []string{"admins does not match", "no claim /realm_access/roles", "spec.claims[1].path", "resolve.users of acme is never"}},
		{"another value for it", build("", partners), "acme", "k1", claimSet{"realm_access": claimSet{"roles": []string{"dev"}}}, []string{`/realm_access/roles is ["dev"]`, "spec.claims[1].anyOf", `"admin"`}},
		{"external identities switched off", build(`"resolve":{"externalIdentities":false}`, partners), "acme", "k1", nil, []string{"resolve.externalIdentities: false"}},
		{"no team", build("", everybody(t, "all", "acme")), "acme", "k1", claimSet{"groups": []string{"g"}}, []string{`none of the groups ["g"]`, "spec.identityProviderGroups"}},
		{"address not verified", build(`"resolve":{"users":"existing"},"linkBy":"email","emailDomains":["acme.example"]`), "acme", "k1", claimSet{"email": "a@acme.example"}, []string{"spec.emailDomains", "email_verified", "spec.emailVerified"}},
		{"no such user", build(`"resolve":{"users":"existing"},"linkBy":"email","emailDomains":["acme.example"]`), "acme", "k1", claimSet{"email": "a@acme.example", "email_verified": true}, []string{"no user a@acme.example", "resolve.users: create"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			token := sign(t, tc.key, tc.kid, base(acme).with(tc.over))
			text, err := tc.b.explain(token)
			for _, w := range tc.want {
				if !strings.Contains(text, w) {
					t.Errorf("no word on %q in:\n%s(%v)", w, text, err)
				}
			}
			if strings.Contains(text, token) {
				t.Error("the token itself is in it")
			}
		})
	}
}

func TestExplainOfAPersonAndOfKeysThatCannotBeHad(t *testing.T) {
	b := newBench(t, idp(t, "acme", acme, jwks("acme=k1"), `"resolve":{"users":"existing"}`))
	b.users(person("ada@acme.example", linked(acme, "s1")))
	token := sign(t, "acme", "k1", base(acme))
	if text, err := b.explain(token); err != nil || !strings.Contains(text, "user:ada@acme.example") || !strings.Contains(text, "spec.identityProviderGroups") {
		t.Errorf("%v\n%s", err, text)
	}
	b.a.opt.Keys = &fakeKeys{err: keyring.ErrUnavailable}
	text, err := b.explain(token)
	if identity.CodeOf(err) != identity.CodeKeysUnavailable || !strings.Contains(text, "https://acme.example/jwks: connection refused; TLS trusts the system's (spec.caCert)") {
		t.Errorf("%v\n%s", err, text)
	}
}
