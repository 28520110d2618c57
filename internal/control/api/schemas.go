package api

import (
	"encoding/json"
	"fmt"
	"reflect"
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
		return texts(text(), 0)
	case t == reflect.TypeFor[v1.Decimal]():
		return patterned(amountPattern)
	case t == reflect.TypeFor[*v1.CACert]():
		return &huma.Schema{AnyOf: []*huma.Schema{s, patterned(pemPattern)}}
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
	if name := nameSchema(k); name.Pattern != namePattern || name.Not != nil {
		s.Properties["metadata"] = allOf(s.Properties["metadata"], object(properties{"name": name}))
	}
	if spec, ok := exampleSpecs()[k]; ok {
		s.Properties["spec"].Examples = []any{spec}
	}
	// An identity provider needs one of several fields: nothing is not enough.
	if spec := r.all[string(k)+"Spec"]; spec != nil && len(spec.Required) == 0 && k != v1.KindIdentityProvider {
		s.Required = []string{"metadata"}
	}
	whole := *s
	whole.Required = append([]string{"apiVersion", "kind"}, s.Required...)
	r.all[string(k)+"Manifest"] = &whole
}

// exact puts in what no type says. A field that is not there any more is a
// mistake in these tables.
func (r *refiner) exact() error {
	r.all["JSONValue"] = jsonValue()
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
	for name, list := range relations() {
		if r.all[name] == nil {
			return fmt.Errorf("control API: the description has no %s", name)
		}
		r.all[name].AllOf = list
	}
	return nil
}

// nameSchema is what the resources of a kind may be called.
func nameSchema(k v1.Kind) *huma.Schema {
	s := patterned(namePattern)
	switch k {
	case v1.KindTenantSettings:
		return enum("default")
	case v1.KindProviderAccount:
		s.Not = enum("virtual")
	case v1.KindTeam:
		s.Not = enum("everyone")
	case v1.KindSsoConnection:
		s.Not = enum("break-glass")
	case v1.KindRole:
		s.Not = enum(identity.BuiltinRoleNames()...)
	}
	return s
}
