package api

import (
	"maps"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// exactSchemas are the fields whose type says too little, by schema and field.
func exactSchemas() map[string]*huma.Schema {
	all := map[string]*huma.Schema{}
	for _, group := range []func() map[string]*huma.Schema{requestFields, commonFields, accountFields, accessFields, providerFields, connectionFields} {
		maps.Copy(all, group())
	}
	return all
}

// requestFields are those of everything but resources.
func requestFields() map[string]*huma.Schema {
	name := bare(namePattern)
	least, most := 100.0, 599.0
	tokenName := func() *huma.Schema {
		return &huma.Schema{Type: huma.TypeString, Pattern: `\S`, MaxLength: number(128), AllOf: []*huma.Schema{patterned(printablePattern)}}
	}
	lifetime := func() *huma.Schema {
		return &huma.Schema{
			Type: huma.TypeString, Format: "token-lifetime", Pattern: durationPattern, Examples: []any{"30d"},
			Description: "Such as 90d; a minute at least. More than what is allowed here is answered with 409.",
		}
	}
	return map[string]*huma.Schema{
		"TokenWrite.name":               tokenName(),
		"TokenWrite.expiresIn":          lifetime(),
		"DirectoryTokenWrite.name":      tokenName(),
		"DirectoryTokenWrite.expiresIn": lifetime(),
		"TokenWrite.narrowing":          {Ref: "#/components/schemas/Narrowing"},
		"Narrowing.models":              listOf(patterned(`^`+name+`/`+modelName+`$`), longestNarrowing),
		"Narrowing.mcpServers":          listOf(patterned(namePattern), longestNarrowing),
		"Narrowing.agents":              listOf(patterned(namePattern), longestNarrowing),
		"Narrowing.cidr":                listOf(formatted("cidr"), longestNarrowing),
		"Narrowing.notAfter":            {Type: huma.TypeString, Format: "date-time", Description: "A time that is to come; one that has passed is answered with 409."},
		"ExplainRequest.as":             orAddress(`^(|virtual-account:`+name+`)$`, "user:"),
		"ExplainRequest.model":          patterned(`^(|` + name + `/` + modelName + `)$`),
		"ExplainRequest.resource":       orAddress(maybe(resourcePattern()).Pattern, "user:"),
		"ExplainRequest.action":         enum(permissionNames()...),
		"ApplyRequest.manager":          maybe(namePattern),
		"ApplyRequest.documents":        listOf(documentSchema(), maxDocuments),
		"UserWrite.displayName":         sized(patterned(printablePattern), 256),
		"UserWrite.userName":            {Type: huma.TypeString, Pattern: `^[^:@\x00-\x1f\x7f-\x9f]*$`, MaxLength: number(254)},
		"AuditEntry.outcome":            enum("done", "denied"),
		"Problem.status":                {Type: huma.TypeInteger, Minimum: &least, Maximum: &most},
	}
}

// manifestSchema is a body of YAML: a resource of a kind, or of any.
func manifestSchema(k v1.Kind) *huma.Schema {
	if k != "" {
		return wholeSchema(k)
	}
	s := documentSchema()
	s.Description = "One document; several are separated by a line of ---."
	return s
}

// documentSchema is a resource that says itself what it is.
func documentSchema() *huma.Schema {
	s := &huma.Schema{}
	for _, k := range v1.Kinds() {
		s.AnyOf = append(s.AnyOf, wholeSchema(k))
	}
	return s
}

// wholeSchema is a resource of a kind with what a path would say of it.
func wholeSchema(k v1.Kind) *huma.Schema {
	return &huma.Schema{Ref: "#/components/schemas/" + string(k) + "Manifest"}
}

func commonFields() map[string]*huma.Schema {
	most := float64(1<<53 - 1)
	least := -most
	return map[string]*huma.Schema{
		"ObjectMeta.generation":        {Type: huma.TypeInteger, Format: "int64", Minimum: &least, Maximum: &most},
		"ObjectMeta.name":              patterned(namePattern),
		"ObjectMeta.labels":            labels(),
		"ObjectMeta.annotations":       labels(),
		"ObjectMeta.creationTimestamp": {Type: huma.TypeString, Format: "date-time", Nullable: true, ReadOnly: false},
		"SecretValue.env":              maybe(`[A-Za-z_][A-Za-z0-9_]*`),
		"SecretValue.file":             maybe(`/.*`),
		"SecretValue.store":            maybe(namePattern),
		"SecretValue.path":             maybe(secretPath),
		"CACert.file":                  maybe(`/.*`),
		"Collaborator.subject":         subject(),
		"Collaborator.role":            patterned(namePattern),
		"ClaimMatch.path":              patterned(claimPattern),
		"ClaimMatch.anyOf":             texts(patterned(claimValuePattern), 1),
	}
}

func collaborators() *huma.Schema {
	return &huma.Schema{Type: huma.TypeArray, Items: &huma.Schema{Ref: "#/components/schemas/Collaborator"}, UniqueItems: true}
}

func accountFields() map[string]*huma.Schema {
	least, most := 400.0, 599.0
	types := listOf(enum(v1.ModelChat, v1.ModelCompletion, v1.ModelResponses, v1.ModelEmbedding, v1.ModelImage, v1.ModelSpeech,
		v1.ModelTranscript, v1.ModelModeration, v1.ModelRerank, v1.ModelMessages), 100)
	types.MinItems, types.MaxItems = number(1), nil
	return map[string]*huma.Schema{
		"ProviderAccountSpec.provider":      enum(v1.ProviderOpenAI, v1.ProviderAzureOpenAI, v1.ProviderAnthropic, v1.ProviderOpenAICompatible, v1.ProviderEcho),
		"ProviderAccountSpec.baseURL":       maybe(anyBase),
		"ProviderAccountSpec.collaborators": collaborators(),
		"Model.name":                        inBytes(modelPattern, 256),
		"Model.types":                       types,
		"Model.collaborators":               collaborators(),
		"Timeouts.firstByte":                lengthOfTime("1s", "24h", "5m"),
		"Timeouts.streamIdle":               lengthOfTime("1s", "24h", "5m"),
		"Echo.delay":                        lengthOfTime("0s", "1h", "1m"),
		"Echo.chunkDelay":                   lengthOfTime("0s", "1h", "1s"),
		"Echo.retryAfter":                   lengthOfTime("0s", "1h", "1s"),
		"Echo.status":                       {Type: huma.TypeInteger, AnyOf: []*huma.Schema{{Enum: []any{0, 200}}, {Minimum: &least, Maximum: &most}}},
		"SecretStoreSpec.provider":          enum(secretStores(true)...),
		"SecretStoreSpec.address":           maybe(safeURL),
		"SecretStoreSpec.collaborators":     collaborators(),
	}
}

// accessFields are those of the kinds that say who may do what.
func accessFields() map[string]*huma.Schema {
	permissions := slices.DeleteFunc(identity.AllPermissions().List(), identity.AdminOnly().Has)
	team := maybe(namePattern)
	team.Not = enum("everyone")
	resource := orAddress(resourcePattern(), "user:")
	userName, most := inBytes(`^[^\s:@]([^:@]*[^\s:@])?$`, 254), 254
	whom := subject()
	whom.MaxLength = &most
	return map[string]*huma.Schema{
		"TeamSpec.displayName":                         sized(text(), 256),
		"TeamSpec.managers":                            texts(email(), 0),
		"TeamSpec.members":                             texts(email(), 0),
		"GroupRef.group":                               nonEmpty(),
		"GroupRef.identityProvider":                    maybe(namePattern),
		"GroupRef.ssoConnection":                       maybe(namePattern),
		"VirtualAccountSpec.team":                      team,
		"VirtualAccountToken.expiresAfter":             lengthOfTime("1m", "3650d", "90d"),
		"Access.resource":                              resource,
		"Access.role":                                  patterned(namePattern),
		"TokenDigest.digest":                           patterned(`^sha256:[0-9a-f]{64}$`),
		"TokenDigest.expiresAt":                        formatted("date-time"),
		"IdentityProviderMapping.identityProvider":     patterned(namePattern),
		"RoleSpec.permissions":                         texts(enum(permissions...), 1),
		"RoleBindingSpec.subjects":                     texts(subject(), 1),
		"RoleBindingSpec.role":                         patterned(namePattern),
		"RoleBindingSpec.resources":                    texts(resource, 1),
		"AuthzRule.models":                             texts(patterned(`^`+bare(namePattern)+`/`+modelName+`$`), 1),
		"AuthzRule.users":                              texts(anyOf(userName, email(), whom), 1),
		"ExternalIdentitySpec.identityProvider":        patterned(namePattern),
		"TenantSettingsSpec.virtualAccounts":           enum("", v1.VirtualAccountsCentral, v1.VirtualAccountsDelegated, v1.VirtualAccountsGitOps),
		"TenantSettingsSpec.personalAccessTokenMaxAge": lengthOfTime("1m", "3650d", "365d"),
		"TenantSettingsSpec.membershipMaxAge":          lengthOfTime("1m", "3650d", "30d"),
		"TenantSettingsSpec.breakGlass":                enum("", v1.BreakGlassEnabled, v1.BreakGlassDisabled),
		"TenantSettingsSpec.corsOrigins":               texts(patterned(originPattern), 0),
	}
}

// claimFields are those of a mapping of claims.
func claimFields(schema string, names ...string) map[string]*huma.Schema {
	fields := map[string]*huma.Schema{
		schema + ".subject":       texts(patterned(claimPattern), 1),
		schema + ".subjectWithin": maybe(claimPattern),
	}
	for _, n := range names {
		fields[schema+"."+n] = texts(patterned(claimPattern), 0)
	}
	return fields
}

func algorithms() *huma.Schema { return texts(enum(v1.SignatureAlgorithms()...), 1) }

func providerFields() map[string]*huma.Schema {
	one, most := 1, 8
	verified := enum("", v1.EmailVerifiedRequired, v1.EmailVerifiedAssumed)
	verified.Description = "required asks for email_verified: true, assumed takes a missing one as true. Default required. Never assumed with the entra preset."
	key := &huma.Schema{Type: huma.TypeObject, Required: []string{"kty"}, Properties: properties{"kty": nonEmpty()}, AdditionalProperties: &huma.Schema{Ref: "#/components/schemas/JSONValue"}}
	urls := texts(patterned(anyURL), 0)
	urls.AnyOf[0].MaxItems = &most
	fields := claimFields("ClaimMapping", "email", "emailVerified", "groups", "clientId", "name")
	maps.Copy(fields, map[string]*huma.Schema{
		"IdentityProviderSpec.preset":   enum("", v1.PresetCustom, v1.PresetKeycloak, v1.PresetOkta, v1.PresetEntra, v1.PresetAuth0, v1.PresetGoogle),
		"IdentityProviderSpec.issuer":   maybe(anyURL),
		"IdentityProviderSpec.jwksURLs": urls,
		"IdentityProviderSpec.jwks": {
			Type: huma.TypeObject, Required: []string{"keys"}, AdditionalProperties: &huma.Schema{Ref: "#/components/schemas/JSONValue"},
			Properties: properties{"keys": {Type: huma.TypeArray, MinItems: &one, Items: key}},
		},
		"IdentityProviderSpec.audiences":         texts(nonEmpty(), 0),
		"IdentityProviderSpec.audienceFrom":      texts(enum("client_id", "azp"), 0),
		"IdentityProviderSpec.algorithms":        algorithms(),
		"IdentityProviderSpec.clockSkew":         lengthOfTime("0s", "5m", "30s"),
		"IdentityProviderSpec.maxAge":            lengthOfTime("1s", "365d", "1h"),
		"IdentityProviderSpec.staleFor":          lengthOfTime("1m", "7d", "24h"),
		"IdentityProviderSpec.tokenType":         enum("", v1.TokenTypeAccess, v1.TokenTypeID),
		"IdentityProviderSpec.clientTokenUnless": texts(patterned(claimPattern), 0),
		"IdentityProviderSpec.linkBy":            enum(v1.LinkByNone, v1.LinkByEmail),
		"IdentityProviderSpec.emailDomains":      texts(anyOf(enum("*"), patterned(domainPattern)), 0),
		"IdentityProviderSpec.emailVerified":     verified,
		"IdentityProviderConfig.jwks_uri":        maybe(anyURL),
		"IdentityProviderConfig.issuer":          maybe(anyURL),
		"IdentityProviderConfig.audience":        texts(nonEmpty(), 0),
		"Resolve.users":                          enum("", v1.UsersNever, v1.UsersExisting, v1.UsersCreate),
	})
	return fields
}

// connectionFields are those of what people and directories come by.
func connectionFields() map[string]*huma.Schema {
	scopes := texts(patterned(`^[^\s"\\]+$`), 0)
	scopes.AnyOf[0].Extensions = map[string]any{"contains": enum("openid")}
	scopes.AnyOf[1] = enum("openid")
	aWord := patterned(`^\S+$`)
	verified := enum("", v1.EmailVerifiedRequired, v1.EmailVerifiedAssumed)
	verified.Description = "required asks for email_verified: true, assumed takes a missing one as true. Default required; assumed with SAML, but not with the entra preset, with which OpenID Connect never assumes it."
	fields := claimFields("SsoClaims", "email", "emailVerified", "groups", "name")
	for _, f := range openIDURLs() {
		fields["SsoOpenID."+f] = maybe(anyURL)
	}
	for _, f := range samlURLs() {
		fields["SsoSaml."+f] = maybe(anyURL)
	}
	maps.Copy(fields, map[string]*huma.Schema{
		"SsoConnection.status":            {Description: "Set by Gatehouse; whatever is sent is ignored."},
		"SsoConnectionSpec.displayName":   inBytes("", 64),
		"SsoConnectionSpec.provider":      enum("", v1.PresetCustom, v1.PresetKeycloak, v1.PresetOkta, v1.PresetEntra, v1.PresetGoogle),
		"SsoConnectionSpec.protocol":      enum("", v1.SsoOIDC, v1.SsoSAML),
		"SsoConnectionSpec.domains":       distinct(patterned(domainPattern)),
		"SsoConnectionSpec.linkBy":        enum(v1.LinkByNone, v1.LinkByEmail),
		"SsoConnectionSpec.emailDomains":  distinct(anyOf(enum("*"), patterned(domainPattern))),
		"SsoConnectionSpec.emailVerified": verified,
		"SsoConnectionSpec.users":         enum("", v1.UsersNever, v1.UsersExisting, v1.UsersCreate),
		"SsoOpenID.issuer":                maybe(anyBase),
		"SsoOpenID.tokenEndpointAuth":     enum("", v1.TokenAuthBasic, v1.TokenAuthPost, v1.TokenAuthNone),
		"SsoOpenID.scopes":                scopes,
		"SsoOpenID.algorithms":            algorithms(),
		"SsoSaml.certificates":            texts(patterned(pemPattern), 0),
		"SsoSaml.encryption":              enum("", v1.EncryptionOff, v1.EncryptionOptional, v1.EncryptionRequired),
		"SsoRequire.acrValues":            texts(aWord, 0),
		"SsoRequire.amr":                  texts(aWord, 0),
		"SsoRequire.maxAge":               lengthOfTime("1m", "365d", "1h"),
		"SsoSessions.idle":                lengthOfTime("2m", "30d", "8h"),
		"SsoSessions.absolute":            lengthOfTime("5m", "90d", "7d"),
		"ScimDirectorySpec.issuers":       distinct(nonEmpty()),
		"ScimDirectorySpec.teams":         texts(patterned(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?|([a-z0-9][a-z0-9-]{0,60})?[*])$`), 0),
	})
	return fields
}
