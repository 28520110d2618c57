package api

import "github.com/danielgtaylor/huma/v2"

// The relations between fields, as the Validate of each kind looks at them: an
// empty text, false and an empty list count as a field that is left out.

type properties = map[string]*huma.Schema

func object(p properties, required ...string) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, Properties: p, Required: required}
}

// with is an object in which a field is as a schema says.
func with(field string, s *huma.Schema) *huma.Schema { return object(properties{field: s}, field) }

// given is an object in which texts are there.
func given(fields ...string) *huma.Schema {
	s := object(properties{}, fields...)
	for _, f := range fields {
		s.Properties[f] = nonEmpty()
	}
	return s
}

// left is an object in which texts are not there.
func left(fields ...string) *huma.Schema {
	s := object(properties{})
	for _, f := range fields {
		s.Properties[f] = sized(text(), 0)
	}
	return s
}

// filled is a list that is not empty.
func filled() *huma.Schema {
	return &huma.Schema{Type: huma.TypeArray, Items: &huma.Schema{}, MinItems: number(1)}
}

// listed is an object in which a list, or the text that stands for one, is not
// empty; unlisted is one in which it is.
func listed(field string) *huma.Schema {
	return with(field, &huma.Schema{AnyOf: []*huma.Schema{filled(), text()}})
}

func unlisted(fields ...string) *huma.Schema {
	s := object(properties{})
	for _, f := range fields {
		s.Properties[f] = listOf(&huma.Schema{}, 0)
	}
	return s
}

// absent is an object without fields that count even where they are empty.
func absent(fields ...string) *huma.Schema {
	s := object(nil)
	for _, f := range fields {
		s.AllOf = append(s.AllOf, &huma.Schema{Not: object(nil, f)})
	}
	return s
}

func on(field string) *huma.Schema {
	return with(field, &huma.Schema{Type: huma.TypeBoolean, Enum: []any{true}})
}

func off(field string) *huma.Schema {
	return object(properties{field: {Type: huma.TypeBoolean, Enum: []any{false}}})
}

// is is an object in which a text is one of some. Where the empty text is
// among them, it may be left out.
func is[T ~string](field string, values ...T) *huma.Schema {
	s := with(field, enum(values...))
	for _, v := range values {
		if v == "" {
			s.Required = nil
		}
	}
	return s
}

// inside is an object within an object. It may be left out where what it says
// is of an object that is not there.
func inside(field string, s *huma.Schema, required bool) *huma.Schema {
	if required {
		return with(field, s)
	}
	return object(properties{field: s})
}

func anyOf(list ...*huma.Schema) *huma.Schema { return &huma.Schema{AnyOf: list} }

func allOf(list ...*huma.Schema) *huma.Schema { return &huma.Schema{AllOf: list} }

// notBoth is an object in which not all of some texts are there.
func notBoth(fields ...string) *huma.Schema {
	all := &huma.Schema{}
	for _, f := range fields {
		all.AllOf = append(all.AllOf, given(f))
	}
	return &huma.Schema{Not: all}
}

// relations are what holds between fields, by schema.
func relations() map[string][]*huma.Schema {
	return map[string][]*huma.Schema{
		"ExplainRequest": {
			notBoth("token", "as"), notBoth("model", "resource"),
			anyOf(&huma.Schema{Not: given("resource")}, given("action")),
		},
		"SecretValue":             {secretForms()},
		"CACert":                  {anyOf(allOf(with("pem", patterned(pemPattern)), left("file")), allOf(with("file", patterned(`^/`)), left("pem")))},
		"GroupRef":                {anyOf(allOf(given("identityProvider"), left("ssoConnection")), allOf(given("ssoConnection"), left("identityProvider")))},
		"IdentityProviderMapping": {anyOf(given("clientId"), with("claims", filled()))},
		"Model":                   {anyOf(with("name", &huma.Schema{Type: huma.TypeString, Not: enum("*")}), allOf(is("name", "*"), left("model")))},
		"ProviderAccountSpec":     accountRelations(),
		"SecretStoreSpec":         {anyOf(is("provider", secretStores(false)...), given("address"))},
		"IdentityProviderSpec":    providerRelations(),
		"SsoOpenID":               openIDRelations(),
		"SsoSaml":                 samlRelations(),
		"SsoConnectionSpec":       connectionRelations(),
	}
}

// secretForms are the forms of a v1.SecretValue, of which exactly one is used.
func secretForms() *huma.Schema {
	path, none := given("store", "path"), left("value", "env", "file", "store", "path", "key", "digest")
	form := func(s *huma.Schema, fields ...string) *huma.Schema {
		rest := object(properties{})
		for name, empty := range none.Properties {
			rest.Properties[name] = empty
		}
		for _, f := range fields {
			delete(rest.Properties, f)
		}
		return allOf(s, rest)
	}
	return anyOf(
		form(allOf(given("value"), off("stored")), "value"),
		form(on("stored"), "digest"),
		form(allOf(given("env"), off("stored")), "env"),
		form(allOf(given("file"), off("stored")), "file"),
		form(allOf(path, off("stored")), "store", "path", "key"),
	)
}
