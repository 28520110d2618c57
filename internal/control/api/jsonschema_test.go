package api_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// described is the description, with as much of JSON Schema 2020-12 as it is
// written in. A keyword that it does not know fails the test: what is not
// looked at must not pass for something that holds.
type described struct {
	t       *testing.T
	schemas map[string]map[string]any
}

func description(t *testing.T, w *world) *described {
	t.Helper()
	var doc struct {
		Components struct{ Schemas map[string]map[string]any }
	}
	if err := json.Unmarshal([]byte(w.do("admin", "GET", "/openapi.json", "").body), &doc); err != nil {
		t.Fatal(err)
	}
	return &described{t: t, schemas: doc.Components.Schemas}
}

// misfit says what a schema has against a JSON text, or nothing.
func (d *described) misfit(schema string, text []byte) string {
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		d.t.Fatal(err)
	}
	return d.check(d.schemas[schema], v, schema)
}

func (d *described) check(s map[string]any, v any, at string) string {
	if len(s) == 0 && !strings.Contains(at, ".") {
		d.t.Fatalf("there is no schema %s", at)
	}
	for key, arg := range s {
		if bad := d.keyword(key, arg, s, v, at); bad != "" {
			return bad
		}
	}
	return ""
}

func (d *described) keyword(key string, arg any, s map[string]any, v any, at string) string {
	fails := func(bad bool) string {
		if bad {
			return fmt.Sprintf("%s: %s %v: %v", at, key, arg, v)
		}
		return ""
	}
	switch key {
	case "description", "examples", "format", "default":
	case "$ref":
		name := strings.TrimPrefix(arg.(string), "#/components/schemas/")
		return d.check(d.schemas[name], v, at+"."+name)
	case "type":
		return fails(!slices.ContainsFunc(list(arg), func(t any) bool { return isType(v, t) }))
	case "enum":
		return fails(!slices.ContainsFunc(list(arg), func(e any) bool { return reflect.DeepEqual(e, v) }))
	case "not":
		return fails(d.check(arg.(map[string]any), v, at+".not") == "")
	case "allOf", "anyOf":
		var bad []string
		for i, sub := range list(arg) {
			if m := d.check(sub.(map[string]any), v, fmt.Sprintf("%s.%s[%d]", at, key, i)); m != "" {
				bad = append(bad, m)
			}
		}
		if key == "allOf" && len(bad) > 0 || len(bad) == len(list(arg)) {
			return strings.Join(bad, "; ")
		}
	case "pattern", "minLength", "maxLength":
		if text, ok := v.(string); ok {
			return fails(!textFits(key, arg, text))
		}
	case "minimum":
		n, ok := v.(float64)
		return fails(ok && n < arg.(float64))
	case "maximum":
		n, ok := v.(float64)
		return fails(ok && n > arg.(float64))
	case "items", "contains", "minItems", "maxItems", "uniqueItems":
		if items, ok := v.([]any); ok {
			return fails(!d.itemsFit(key, arg, items, at))
		}
	case "properties", "required", "additionalProperties", "propertyNames", "maxProperties":
		if m, ok := v.(map[string]any); ok {
			return d.members(key, arg, s, m, at)
		}
	default:
		d.t.Fatalf("%s: the keyword %s is not known here", at, key)
	}
	return ""
}

func list(v any) []any {
	if many, ok := v.([]any); ok {
		return many
	}
	return []any{v}
}

func isType(v, name any) bool {
	n, number := v.(float64)
	switch name {
	case "integer":
		return number && n == float64(int64(n))
	case "number":
		return number
	}
	goType := map[any]reflect.Kind{"object": reflect.Map, "array": reflect.Slice, "string": reflect.String, "boolean": reflect.Bool, "null": reflect.Invalid}
	return reflect.ValueOf(v).Kind() == goType[name]
}

func textFits(key string, arg any, text string) bool {
	switch n := float64(utf8.RuneCountInString(text)); key {
	case "pattern":
		return regexp.MustCompile(arg.(string)).MatchString(text)
	case "minLength":
		return n >= arg.(float64)
	default:
		return n <= arg.(float64)
	}
}

func (d *described) itemsFit(key string, arg any, items []any, at string) bool {
	fits := func(v any) bool { return d.check(arg.(map[string]any), v, at+".items") == "" }
	switch key {
	case "minItems":
		return float64(len(items)) >= arg.(float64)
	case "maxItems":
		return float64(len(items)) <= arg.(float64)
	case "contains":
		return slices.ContainsFunc(items, fits)
	case "uniqueItems":
		for i := range items {
			if slices.ContainsFunc(items[:i], func(v any) bool { return reflect.DeepEqual(v, items[i]) }) {
				return false
			}
		}
		return true
	default:
		return !slices.ContainsFunc(items, func(v any) bool { return !fits(v) })
	}
}

func (d *described) members(key string, arg any, s, m map[string]any, at string) string {
	known, _ := s["properties"].(map[string]any)
	for name, v := range m {
		where, sub := at+"."+name, any(nil)
		switch key {
		case "properties":
			sub = known[name]
		case "propertyNames":
			sub, v = arg, any(name)
		case "additionalProperties":
			if known[name] == nil {
				if sub = arg; arg == false {
					return where + " is not known"
				}
			}
		}
		if schema, ok := sub.(map[string]any); ok {
			if bad := d.check(schema, v, where); bad != "" {
				return bad
			}
		}
	}
	if key == "maxProperties" && float64(len(m)) > arg.(float64) {
		return at + " has too many members"
	}
	if key == "required" {
		for _, name := range list(arg) {
			if _, ok := m[name.(string)]; !ok {
				return fmt.Sprintf("%s.%s is missing", at, name)
			}
		}
	}
	return ""
}
