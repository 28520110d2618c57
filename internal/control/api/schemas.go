package api

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// refiner makes the schemas that reflection gives say what is really read and
// answered.
type refiner struct {
	all  map[string]*huma.Schema
	done map[string]bool
}

// refine goes through a type beside its schema.
func (r *refiner) refine(t reflect.Type) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	s := r.all[t.Name()]
	if t.Kind() != reflect.Struct || s == nil || r.done[t.Name()] {
		return
	}
	r.done[t.Name()] = true
	r.fields(t, s)
}

func (r *refiner) fields(t reflect.Type, s *huma.Schema) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			r.fields(f.Type, s)
		case s.Properties[name] != nil:
			s.Properties[name] = r.field(f.Type, s.Properties[name])
			r.refine(f.Type)
		}
	}
}

// field is what stands in JSON for a Go type. A list is a list and never null.
func (r *refiner) field(t reflect.Type, s *huma.Schema) *huma.Schema {
	switch {
	case t == reflect.TypeFor[v1.Strings]():
		items := &huma.Schema{Type: huma.TypeArray, Items: text()}
		return &huma.Schema{Description: "A list; one text stands for a list of one.", AnyOf: []*huma.Schema{items, text()}}
	case t == reflect.TypeFor[v1.Duration]():
		return patterned(`^([0-9]+(d|h|m|s))*$`)
	case t == reflect.TypeFor[v1.Decimal]():
		return patterned(`^([0-9]{1,12}(\.[0-9]{1,9})?)?$`)
	case t == reflect.TypeFor[*v1.CACert]():
		return &huma.Schema{AnyOf: []*huma.Schema{s, text()}}
	case t == reflect.TypeFor[json.RawMessage]():
		return s
	}
	s.Nullable = false
	return s
}

// kind says what is the same for all resources, and which one it is.
func (r *refiner) kind(k v1.Kind) {
	s := r.all[string(k)]
	if s == nil {
		return
	}
	s.Required = []string{"metadata", "spec"}
	s.Properties["apiVersion"] = &huma.Schema{Type: huma.TypeString, Enum: []any{v1.APIVersion}}
	s.Properties["kind"] = &huma.Schema{Type: huma.TypeString, Enum: []any{string(k)}}
	if spec := r.all[string(k)+"Spec"]; spec != nil && len(spec.Required) == 0 {
		s.Required = []string{"metadata"}
	}
}

// exact puts in what no type says. A field that is not there any more is a
// mistake in this table.
func (r *refiner) exact() error {
	for path, s := range exactSchemas() {
		name, field, _ := strings.Cut(path, ".")
		schema := r.all[name]
		if schema == nil || schema.Properties[field] == nil {
			return fmt.Errorf("control API: the description has no %s", path)
		}
		if s.Description == "" {
			s.Description = schema.Properties[field].Description
		}
		schema.Properties[field] = s
	}
	r.relations()
	return nil
}

// relations are what holds between fields.
func (r *refiner) relations() {
	given := func(field string) *huma.Schema {
		return &huma.Schema{Type: huma.TypeObject, Properties: map[string]*huma.Schema{field: word(1 << 20)}, Required: []string{field}}
	}
	not := func(fields ...string) *huma.Schema {
		both := &huma.Schema{}
		for _, f := range fields {
			both.AllOf = append(both.AllOf, given(f))
		}
		return &huma.Schema{Not: both}
	}
	withAction := &huma.Schema{AnyOf: []*huma.Schema{{Not: given("resource")}, given("action")}}
	explain := r.all["ExplainRequest"]
	explain.AllOf = []*huma.Schema{not("token", "as"), not("model", "resource"), withAction}
}

func enum[T ~string](values ...T) *huma.Schema {
	s := text()
	for _, v := range values {
		s.Enum = append(s.Enum, string(v))
	}
	return s
}

func listOf(item *huma.Schema, most int) *huma.Schema {
	return &huma.Schema{Type: huma.TypeArray, Items: item, MaxItems: &most}
}

func sized(s *huma.Schema, most int) *huma.Schema {
	s.MaxLength = &most
	return s
}

func labels() *huma.Schema {
	most, longest := 64, 253
	return &huma.Schema{
		Type: huma.TypeObject, Nullable: true, AdditionalProperties: text(), MaxProperties: &most,
		Extensions: map[string]any{"propertyNames": word(longest)},
	}
}

// permissionNames is the catalogue, with and without the empty text, which
// stands for one that is left out.
func permissionNames() []identity.Permission {
	return append([]identity.Permission{""}, identity.AllPermissions().List()...)
}

// orAddress is a text of a pattern, or a prefix and an e-mail address.
func orAddress(pattern, prefix string) *huma.Schema {
	address := patterned(`^` + prefix + strings.Trim(emailPattern, "^$") + `$`)
	return &huma.Schema{AnyOf: []*huma.Schema{patterned(pattern), sized(address, len(prefix)+254)}}
}

// resourceSchema is what v1.ParseResource reads.
func resourceSchema() *huma.Schema {
	kinds := slices.DeleteFunc(v1.ResourceKinds(), func(k string) bool { return k == "model" || k == "mcp-tool" || k == "user" })
	name := strings.Trim(namePattern, "^$")
	return orAddress(`^(|tenant|(`+strings.Join(kinds, "|")+`):`+name+`|model:`+name+`/[!-~]{1,256}|mcp-tool:`+name+`/[!-~]{1,64})$`, "user:")
}

// exactSchemas are the fields whose type says too little, by schema and field.
func exactSchemas() map[string]*huma.Schema {
	one, name := 1, strings.Trim(namePattern, "^$")
	narrowing := &huma.Schema{Ref: "#/components/schemas/Narrowing"}
	least, most := 100.0, 599.0
	return map[string]*huma.Schema{
		"ObjectMeta.name":                    patterned(namePattern),
		"ObjectMeta.labels":                  labels(),
		"ObjectMeta.annotations":             labels(),
		"ObjectMeta.creationTimestamp":       {Type: huma.TypeString, Format: "date-time", Nullable: true, ReadOnly: false},
		"ProviderAccountSpec.provider":       enum(v1.ProviderOpenAI, v1.ProviderAzureOpenAI, v1.ProviderAnthropic, v1.ProviderOpenAICompatible, v1.ProviderEcho),
		"SecretStoreSpec.provider":           enum(v1.SecretStoreAWSSecretsManager, v1.SecretStoreAWSSSM, v1.SecretStoreGCP, v1.SecretStoreAzure, v1.SecretStoreVault),
		"TeamSpec.displayName":               sized(text(), 256),
		"GroupRef.group":                     word(1 << 16),
		"GroupRef.identityProvider":          patterned(`^(` + name + `)?$`),
		"GroupRef.ssoConnection":             patterned(`^(` + name + `)?$`),
		"Collaborator.role":                  patterned(namePattern),
		"Access.role":                        patterned(namePattern),
		"RoleBindingSpec.role":               patterned(namePattern),
		"SsoConnectionSpec.provider":         enum("", v1.PresetCustom, v1.PresetKeycloak, v1.PresetOkta, v1.PresetEntra, v1.PresetGoogle),
		"SsoConnectionSpec.protocol":         enum("", v1.SsoOIDC, v1.SsoSAML),
		"SsoConnectionSpec.users":            enum("", v1.UsersNever, v1.UsersExisting, v1.UsersCreate),
		"TenantSettingsSpec.virtualAccounts": enum("", v1.VirtualAccountsCentral, v1.VirtualAccountsDelegated, v1.VirtualAccountsGitOps),
		"TenantSettingsSpec.breakGlass":      enum("", v1.BreakGlassEnabled, v1.BreakGlassDisabled),
		"TokenDigest.digest":                 patterned(`^sha256:[0-9a-f]{64}$`),
		"IdentityProviderSpec.jwks": {
			Type: huma.TypeObject, Required: []string{"keys"}, AdditionalProperties: true,
			Properties: map[string]*huma.Schema{"keys": {Type: huma.TypeArray, MinItems: &one}},
		},
		"TokenWrite.name":         {Type: huma.TypeString, Pattern: `\S`, MaxLength: number(128)},
		"TokenWrite.expiresIn":    {Type: huma.TypeString, Format: "token-lifetime", Pattern: `^([0-9]+(d|h|m|s))*$`, Description: "Such as 90d; a minute at least, and at most what the tenant allows."},
		"TokenWrite.narrowing":    narrowing,
		"Narrowing.models":        listOf(patterned(`^`+name+`/[!-~]{1,256}$`), longestNarrowing),
		"Narrowing.mcpServers":    listOf(patterned(namePattern), longestNarrowing),
		"Narrowing.agents":        listOf(patterned(namePattern), longestNarrowing),
		"Narrowing.cidr":          listOf(formatted("cidr"), longestNarrowing),
		"Narrowing.notAfter":      {Type: huma.TypeString, Format: "date-time", Description: "A time that is to come."},
		"ExplainRequest.as":       orAddress(`^(|virtual-account:`+name+`)$`, "user:"),
		"ExplainRequest.model":    patterned(`^(|` + name + `/[!-~]{1,256})$`),
		"ExplainRequest.resource": resourceSchema(),
		"ExplainRequest.action":   enum(permissionNames()...),
		"ApplyRequest.manager":    patterned(`^(` + name + `)?$`),
		"ApplyRequest.documents":  listOf(&huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}, maxDocuments),
		"UserWrite.displayName":   sized(text(), 256),
		"UserWrite.userName":      {Type: huma.TypeString, Pattern: `^[^:@\x00-\x1f]*$`, MaxLength: number(254)},
		"AuditEntry.outcome":      enum("done", "denied"),
		"Problem.status":          {Type: huma.TypeInteger, Minimum: &least, Maximum: &most},
	}
}

func number(n int) *int { return &n }
