package settings

import (
	"fmt"
	"strings"
)

// Reference returns docs/settings.md.
func Reference() []byte {
	var b strings.Builder
	b.WriteString(`<!-- Made by go run ./internal/app/settings/refgen from the tags of settings.Settings. Do not edit. -->

# Settings

A flag wins over the environment, the environment over the file (` + "`--config gatehouse.yaml`, or `GATEHOUSE_CONFIG`" + `), the file over the default.
Every setting has all three names: ` + "`server.address`, `GATEHOUSE_SERVER_ADDRESS`, `--server-address`" + `. In the file the dots are levels:

` + "```yaml" + `
server:
  address: 127.0.0.1:8080
  trustedProxies: [10.0.0.0/8]
` + "```" + `

An unknown key in the file, an unknown ` + "`GATEHOUSE_*`" + ` variable and an unknown ` + "`AUTH_*`" + ` variable stop the start, and so does a ` + "`GATEHOUSE_*`" + ` variable that is
empty. Not looked at are Kubernetes' service links (` + "`GATEHOUSE_SERVICE_*`, `GATEHOUSE_PORT`, `GATEHOUSE_PORT_*`), `GATEHOUSE_TEST_*`" + `, and the command line's own
` + "`GATEHOUSE_URL` and `GATEHOUSE_TOKEN`" + `. A list in a flag or a variable is separated by commas. Durations are like ` + "`48h`, `10m`, `1m30s`" + `, sizes like ` + "`25MiB`" + `.

| setting | default | what it is for |
| --- | --- | --- |
`)
	for _, f := range Fields() {
		fmt.Fprintf(&b, "| `%s`<br>`%s`<br>`--%s` | %s | %s |\n", f.Name, f.Env, f.Flag, shownDefault(f), shownDoc(f))
	}
	b.WriteString(`
## Variables of other gateways

| variable | meaning |
| --- | --- |
| ` + "`AUTH_ENABLE`, `AUTH_ENABLED`" + ` | Authentication is on unless one says ` + "`false`" + `; both set and unequal is an error. Off is refused on an address that is not loopback; it opens the model routes alone, never the control API. |
| ` + "`AUTH_OIDC_ISSUER`" + ` | Makes the identity provider ` + "`env`" + ` and the external identity ` + "`env-callers`" + `, which each of its tokens matches. |
| ` + "`AUTH_OIDC_CLIENT_ID`" + ` | The audience that tokens must carry, unless ` + "`AUTH_OIDC_AUDIENCE`" + ` says another. |
| ` + "`AUTH_OIDC_CLIENT_SECRET`" + ` | Accepted; plays no part in verifying tokens. |
| ` + "`AUTH_OIDC_AUDIENCE`" + ` | The audience that tokens must carry. |
| ` + "`OIDC_CONFIG_FILE_PATH`" + ` | A JSON file of identity providers: ` + "`configs[]` of `id`, `jwt_public_key_urls[]`, `claim_mapping.user_email`" + `, and every key of an IdentityProvider's spec. |
| ` + "`SSL_CERT_FILE`" + ` | The system's certificate authorities, as everywhere in Go. |

An unknown ` + "`AUTH_*`" + ` variable stops the start. ` + "`AUTH_ISSUER_URL`, `AUTH_CLIENT_ID` and `AUTH_CLIENT_SECRET`" + ` are other products' names; write ` + "`AUTH_OIDC_ISSUER`, `AUTH_OIDC_CLIENT_ID`, `AUTH_OIDC_CLIENT_SECRET`" + `.
An empty variable of these, unlike a ` + "`GATEHOUSE_*`" + ` one, counts as absent.

## Providers from the environment

Under ` + "`gatehouse dev`, and where `AUTH_OIDC_ISSUER`" + ` is set, each of these makes a provider account with the model ` + "`*`" + `, usable by ` + "`team:everyone` and `external-identity:env-callers`" + `.

| account | needs | address |
| --- | --- | --- |
`)
	for _, u := range usuals() {
		needs, address := "`"+u.key+"`", "`"+u.base+"`, or `"+u.url+"`"
		if u.base == "" {
			needs, address = "`"+u.url+"`; `"+u.key+"` if it wants a key", "`"+u.url+"`"
		}
		if u.name == "azure-openai" {
			needs = "`" + u.url + "` and `" + u.key + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", u.name, needs, address)
	}
	return []byte(b.String())
}

func shownDefault(f Field) string {
	text := "none"
	switch {
	case f.Default != "":
		text = "`" + f.Default + "`"
	case f.Shown != "":
		text = strings.NewReplacer("<", "&lt;", ">", "&gt;").Replace(f.Shown)
	}
	if f.DevDefault != "" {
		text += "; under `dev` `" + f.DevDefault + "`"
	}
	return text
}

func shownDoc(f Field) string {
	text := f.Doc
	if len(f.Words) > 0 {
		text += " One of `" + strings.Join(f.Words, "`, `") + "`."
	}
	if low, high, ok := strings.Cut(f.limits, ".."); ok {
		text += " From " + low + " to " + high + "."
	}
	return text
}
