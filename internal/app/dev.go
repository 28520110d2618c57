package app

import (
	"fmt"
	"strings"

	"github.com/gatehouse-ai/gatehouse/internal/devidp"
	"github.com/gatehouse-ai/gatehouse/internal/manifest"
)

// devManifests is the configuration of gatehouse dev: the development identity
// provider, two people, a team, and the built-in echo provider. The admin may
// use both models, the member one.
const devManifests = `
apiVersion: gatehouse.dev/v1
kind: IdentityProvider
metadata: {name: dev}
spec:
  issuer: ISSUER
  audiences: [gatehouse]
  linkBy: email
  emailDomains: [example.com]
  resolve: {users: create}
---
apiVersion: gatehouse.dev/v1
kind: SsoConnection
metadata: {name: dev}
spec:
  enabled: true
  displayName: Development sign-in
  oidc: {issuer: "ISSUER", clientId: console, tokenEndpointAuth: none}
  linkBy: email
  emailDomains: [example.com]
  users: create
---
apiVersion: gatehouse.dev/v1
kind: RoleBinding
metadata: {name: dev-admin}
spec:
  subjects: ["user:admin@example.com"]
  role: tenant-admin
  resources: [tenant]
---
apiVersion: gatehouse.dev/v1
kind: Team
metadata: {name: research}
spec:
  identityProviderGroups: [{identityProvider: dev, group: research}]
---
apiVersion: gatehouse.dev/v1
kind: ProviderAccount
metadata: {name: echo}
spec:
  provider: echo
  models:
    - {name: small}
    - {name: large, collaborators: [{subject: "team:research", role: model-user}]}
  collaborators:
    - {subject: "team:everyone", role: provider-account-user}
    - {subject: "user:admin@example.com", role: provider-account-manager}
`

// devUsers are the two people of gatehouse dev; their passwords are the first
// part of their addresses.
func devUsers() []devidp.User {
	return []devidp.User{
		{Email: "admin@example.com", Name: "Ada Admin", Password: "admin", Groups: []string{"research"}},
		{Email: "member@example.com", Name: "Max Member", Password: "member"},
	}
}

// devClients are the programs that may ask the development identity provider:
// whoever runs on this machine, and the sign-in pages of the server at url.
func devClients(url string) []devidp.Client {
	return []devidp.Client{
		{ID: devidp.DefaultClient, RedirectURIs: []string{"http://127.0.0.1/callback", "http://[::1]/callback", "http://localhost/callback"}},
		{ID: "console", RedirectURIs: []string{url + "/sso/dev/callback"}, PostLogoutRedirectURIs: []string{url + "/sso/signed-out"}},
	}
}

// devDocuments are the resources of gatehouse dev for an issuer.
func devDocuments(issuer string) ([]manifest.Document, error) {
	docs, err := manifest.Parse("gatehouse dev", []byte(strings.ReplaceAll(devManifests, "ISSUER", issuer)))
	if err != nil {
		return nil, fmt.Errorf("the resources of gatehouse dev: %w", err)
	}
	return docs, nil
}

// devWelcome says where things are, with commands that work as pasted.
func (a *App) devWelcome() string {
	token := func(user string) string { return "$(curl -s '" + a.idpURL + "/dev/token?user=" + user + "')" }
	chat := func(user, model string) string {
		return `  curl -s ` + a.url + `/v1/chat/completions \
    -H "Authorization: Bearer ` + token(user) + `" \
    -H 'Content-Type: application/json' \
    -d '{"model": "` + model + `", "messages": [{"role": "user", "content": "Who is asking?"}]}'`
	}
	return fmt.Sprintf(`Gatehouse is running, for trying it out.

  gateway, control API, console   %s
  sign in                         %s/sso/login
  metrics, readiness              %s
  development identity provider   %s
  users                           admin@example.com (tenant admin), member@example.com (member)

An answer for the administrator:

%s

A refusal for the member, who may use echo/small and not echo/large:

%s

What each of them may use:

  curl -s %s/v1/models -H "Authorization: Bearer %s"
  curl -s %s/v1/models -H "Authorization: Bearer %s"

Stop with Ctrl-C. Everything is kept in %s.
`, a.url, a.url, a.opsURL, a.idpURL, chat("admin@example.com", "echo/large"), chat("member@example.com", "echo/large"),
		a.url, token("admin@example.com"), a.url, token("member@example.com"), a.cfg.DataDir())
}
