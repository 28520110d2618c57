package api

import (
	"github.com/danielgtaylor/huma/v2"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
)

// exampleSpecs are of the kinds whose fields exclude each other, so that nobody
// begins with all of them at once.
func exampleSpecs() map[v1.Kind]any {
	type object = map[string]any
	return map[v1.Kind]any{
		v1.KindProviderAccount:  object{"provider": v1.ProviderOpenAICompatible, "baseURL": "https://llm.example.com/v1", "models": []object{{"name": "gpt-4o"}}},
		v1.KindIdentityProvider: object{"issuer": "https://idp.example.com", "audiences": []string{"gatehouse"}},
		v1.KindSsoConnection:    object{"oidc": object{"issuer": "https://idp.example.com", "clientId": "gatehouse"}},
	}
}

func accountRelations() []*huma.Schema {
	noKey := inside("credentials", absent("apiKey"), false)
	return []*huma.Schema{
		anyOf(
			allOf(is("provider", v1.ProviderEcho), left("baseURL", "apiVersion"), noKey),
			allOf(is("provider", v1.ProviderOpenAI, v1.ProviderAnthropic), left("apiVersion"), absent("echo")),
			allOf(is("provider", v1.ProviderOpenAICompatible), given("baseURL"), left("apiVersion"), absent("echo")),
			allOf(is("provider", v1.ProviderAzureOpenAI), given("baseURL"), absent("echo")),
		),
		anyOf(on("insecureHTTP"), object(properties{"baseURL": maybe(safeBase)})),
	}
}

// secretStores are the providers of secret stores, with or without those that
// need an address.
func secretStores(all bool) []v1.SecretStoreProvider {
	list := []v1.SecretStoreProvider{v1.SecretStoreAWSSecretsManager, v1.SecretStoreAWSSSM, v1.SecretStoreGCP, v1.SecretStoreAzure}
	if all {
		list = append(list, v1.SecretStoreVault)
	}
	return list
}

// providerRelations: there is a short shape and a long one. That Entra's
// addresses are never assumed to be verified is said in words: the cases
// multiply, and generators give up at some number of them.
func providerRelations() []*huma.Schema {
	nobody := inside("resolve", is("users", "", v1.UsersNever), false)
	short := allOf(
		anyOf(inside("config", given("issuer"), true), allOf(inside("config", given("jwks_uri"), true), anyOf(nobody, on("trustUsers")))),
		off("insecureSkipAudience"), left("issuer"), unlisted("jwksURLs", "audiences"), absent("jwks"),
	)
	issued := anyOf(
		allOf(given("issuer"), anyOf(absent("jwks"), unlisted("jwksURLs"))),
		allOf(is("preset", v1.PresetGoogle), left("issuer"), absent("jwks"), unlisted("jwksURLs")),
	)
	signed := allOf(
		left("issuer"), anyOf(nobody, on("trustUsers")),
		anyOf(allOf(listed("jwksURLs"), absent("jwks")), allOf(object(nil, "jwks"), unlisted("jwksURLs"))),
	)
	long := allOf(
		absent("config"), anyOf(issued, signed),
		anyOf(allOf(listed("audiences"), off("insecureSkipAudience")), allOf(unlisted("audiences"), on("insecureSkipAudience"))),
	)
	domains := anyOf(listed("emailDomains"), allOf(is("linkBy", v1.LinkByNone), inside("resolve", is("users", "", v1.UsersNever, v1.UsersExisting), false)))
	safe := object(properties{
		"issuer": maybe(safeURL), "jwksURLs": texts(patterned(safeURL), 0),
		"config": object(properties{"issuer": maybe(safeURL), "jwks_uri": maybe(safeURL)}),
	})
	return []*huma.Schema{anyOf(short, long), domains, anyOf(on("insecureHTTP"), safe)}
}

func openIDRelations() []*huma.Schema {
	endpoints := []string{"authorizationEndpoint", "tokenEndpoint", "jwksURL"}
	return []*huma.Schema{
		anyOf(left(endpoints...), given(endpoints...)),
		anyOf(is("tokenEndpointAuth", "", v1.TokenAuthBasic, v1.TokenAuthPost), allOf(is("tokenEndpointAuth", v1.TokenAuthNone), absent("clientSecret"))),
	}
}

func samlRelations() []*huma.Schema {
	return []*huma.Schema{anyOf(
		left("metadataURL", "metadataXML"),
		allOf(left("metadataXML", "ssoURL", "sloURL"), unlisted("certificates")),
		allOf(left("metadataURL", "ssoURL", "sloURL"), unlisted("certificates")),
	)}
}

// openIDURLs are the fields of an OpenID provider that hold a URL, beside the
// issuer; samlURLs are those of a SAML one.
func openIDURLs() []string {
	return []string{"authorizationEndpoint", "tokenEndpoint", "jwksURL", "userinfoEndpoint", "endSessionEndpoint"}
}

func samlURLs() []string { return []string{"metadataURL", "ssoURL", "sloURL"} }

// connectionRelations: a connection that is not enabled may be incomplete.
func connectionRelations() []*huma.Schema {
	client := anyOf(is("tokenEndpointAuth", v1.TokenAuthNone), object(nil, "clientSecret"))
	openID := anyOf(
		inside("oidc", allOf(given("issuer", "clientId"), client), true),
		allOf(is("provider", v1.PresetGoogle), inside("oidc", allOf(given("clientId"), client), true)),
	)
	byHand := allOf(given("entityId", "ssoURL"), listed("certificates"))
	saml := inside("saml", anyOf(given("metadataURL"), given("metadataXML"), byHand), true)
	urls := func(names []string) *huma.Schema {
		s := object(properties{})
		for _, n := range names {
			s.Properties[n] = maybe(safeURL)
		}
		return s
	}
	safe := object(properties{"oidc": urls(append(openIDURLs(), "issuer")), "saml": urls(samlURLs())})
	return []*huma.Schema{
		anyOf(
			allOf(is("protocol", "", v1.SsoOIDC), absent("saml"), anyOf(off("enabled"), openID)),
			allOf(is("protocol", v1.SsoSAML), absent("oidc"), anyOf(off("enabled"), saml), inside("require", unlisted("amr"), false)),
		),
		anyOf(listed("emailDomains"), allOf(is("linkBy", v1.LinkByNone), is("users", "", v1.UsersNever, v1.UsersExisting))),
		anyOf(on("insecureHTTP"), safe),
	}
}
