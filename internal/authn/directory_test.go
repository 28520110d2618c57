package authn

import (
	"testing"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

func TestSecurityASessionIsNoBearerToken(t *testing.T) {
	b := newBench(t)
	b.users(person("ada@acme.example"))
	secret := identity.NewSessionSecret()
	s := identity.Session{ID: "01900000-0000-7000-8000-000000000009", Digest: identity.DigestOf(secret), UserUID: "uid-ada@acme.example", ExpiresAt: noon.Add(time.Hour)}
	b.change(identity.Rows{Tokens: []identity.Token{s.Token()}})
	b.want(secret, invalidToken)
	b.want("gtc_"+secret+"000000", invalidToken)
	// Stored as a session, brought as a personal token.
	pat := identity.NewToken(identity.TokenPersonal)
	s.ID, s.Digest = "01900000-0000-7000-8000-00000000000a", identity.DigestOf(pat)
	b.change(identity.Rows{Tokens: []identity.Token{s.Token()}})
	b.want(pat, invalidToken)
}

func TestSecurityASCIMTokenOpensItsDirectoryAndNothingElse(t *testing.T) {
	b := newBench(t, res(t, v1.KindScimDirectory, "okta", `{}`))
	b.users(person("ada@acme.example"))
	ofOkta := func(t *identity.Token) { t.Owner = "uid-scim-directory-okta" }
	ask := func(token string) string {
		name, id, err := b.a.Directory(b.Load(), Credential{Authorization: []string{"Bearer " + token}})
		if err != nil {
			return string(identity.CodeOf(err))
		}
		return name + " by " + id[len(id)-2:]
	}
	scim := b.ours('s', ofOkta)
	if got := ask(scim); got != "okta by 01" {
		t.Errorf("got %s", got)
	}
	b.want(scim, invalidToken)
	for name, token := range map[string]string{
		"nobody's":             b.ours('s', func(*identity.Token) {}),
		"a person's":           b.ours('p', ofAda),
		"a SCIM one of ada's":  b.ours('s', ofAda),
		"stored as a personal": b.ours('s', func(t *identity.Token) { ofOkta(t); t.Kind = 'p' }),
		"unknown":              identity.NewToken('s'),
		"mistyped":             mistyped(scim),
	} {
		if got := ask(token); got != invalidToken {
			t.Errorf("%s: %s", name, got)
		}
	}
	again := res(t, v1.KindScimDirectory, "okta", `{}`)
	again.Meta().UID = "another"
	b.put(again)
	if got := ask(scim); got != invalidToken {
		t.Errorf("a directory of the same name: %s", got)
	}
	b.put(res(t, v1.KindScimDirectory, "okta", `{}`))
	if got := ask(scim); got != "okta by 01" {
		t.Errorf("it is back: %s", got)
	}
	b.change(identity.Rows{RemovedResources: []identity.ResourceKey{{Kind: v1.KindScimDirectory, Name: "okta"}}})
	if got := ask(scim); got != invalidToken {
		t.Errorf("without its directory: %s", got)
	}
}

func TestADirectoryAloneSaysWhichGroupsItsPeopleAreIn(t *testing.T) {
	provider := idp(t, "acme", acme, jwks("acme=k1"), `"resolve":{"users":"existing"}`)
	team := func(name, more string) v1.Resource { return res(t, v1.KindTeam, name, "{"+more+"}") }
	b := newBench(t, provider, team("by-token", `"identityProviderGroups":[{"identityProvider":"acme","group":"eng"}]`), team("by-sso", ""), team("by-scim", ""), team("by-hand", ""),
		team("by-manifest", `"members":["ada@acme.example"]`))
	all := func(u *identity.User) {
		u.Memberships = []identity.Membership{{Team: "by-sso", Source: "sso:https://other.example"}, {Team: "by-scim", Source: "scim"}, {Team: "by-hand", Source: "manual"}}
	}
	token := sign(t, "acme", "k1", base(acme).with(claimSet{"groups": []string{"eng"}}))
	b.users(person("ada@acme.example", linked(acme, "s1"), all))
	b.want(token, "team:by-hand team:by-manifest team:by-scim team:by-sso team:by-token user:ada@acme.example")
	b.users(person("ada@acme.example", linked(acme, "s1"), all, func(u *identity.User) { u.Manager = "scim:okta" }))
	b.want(token, "team:by-hand team:by-manifest team:by-scim user:ada@acme.example")
	b.want(b.ours('p', ofAda), "team:by-hand team:by-manifest team:by-scim user:ada@acme.example")
}

func TestATokenCreatesNobodyWhereADirectoryDoes(t *testing.T) {
	b := newBench(t, idp(t, "acme", acme, jwks("acme=k1"), `"linkBy":"email","emailDomains":["acme.example"],"resolve":{"users":"create"}`))
	grace := func(sub string) string {
		return sign(t, "acme", "k1", base(acme).with(claimSet{"sub": sub, "email": sub + "@acme.example", "email_verified": true}))
	}
	b.want(grace("grace"), "user:grace@acme.example")
	b.put(res(t, v1.KindScimDirectory, "okta", `{"issuers":["`+acme+`"]}`))
	b.want(grace("grace"), "user:grace@acme.example")
	b.want(grace("mallory"), "identity_not_mapped")
	b.users(person("ada@acme.example", func(u *identity.User) { u.Manager = "scim:okta" }))
	b.want(grace("ada"), "user:ada@acme.example")
}
