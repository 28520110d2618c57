package scim

import (
	"reflect"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxString = 64 << 10 // bytes of one value
	maxValues = 500      // values of one attribute, members apart
)

// canonical brings a value into the one form in which it is kept: the schema's
// names, real booleans, lists for what is multi-valued. It forgives what
// directories are known to send (see the tests). nil is "no value".
func canonical(a *attribute, v any) (any, error) {
	if v == nil {
		return nil, nil
	}
	list, isList := v.([]any)
	if !a.MultiValued {
		if isList {
			if len(list) == 0 {
				return nil, nil
			}
			if len(list) > 1 {
				return nil, bad(invalidValue, "%s takes one value", a.Name)
			}
			v = list[0]
		}
		return canonicalOne(a, v)
	}
	if !isList {
		list = []any{v}
	}
	return canonicalList(a, list)
}

func canonicalList(a *attribute, list []any) (any, error) {
	if len(list) > maxValues && a.Name != "members" {
		return nil, bad(invalidValue, "%s has more than %d values", a.Name, maxValues)
	}
	out, primary := make([]any, 0, len(list)), 0
	for _, v := range list {
		c, err := canonicalOne(a, v)
		if err != nil {
			return nil, err
		}
		if empty(c) {
			continue
		}
		if isPrimary(c) {
			primary++
		}
		out = appendNew(out, c, a.Name == "members")
	}
	if primary > 1 {
		return nil, bad(invalidValue, "at most one of %s can be primary", a.Name)
	}
	if len(out) == 0 {
		return nil, nil
	}
	return out, nil
}

// appendNew leaves out what is there already (RFC 7643, 2.4). Members are
// compared elsewhere, by id, because there may be many.
func appendNew(list []any, v any, many bool) []any {
	if !many {
		for _, o := range list {
			if reflect.DeepEqual(o, v) {
				return list
			}
		}
	}
	return append(list, v)
}

func isPrimary(v any) bool {
	m, _ := v.(map[string]any)
	b, _ := m["primary"].(bool)
	return b
}

func canonicalOne(a *attribute, v any) (any, error) {
	if a.Type == typeComplex {
		return canonicalObject(a, v)
	}
	// {"value": x} for a plain x.
	if m, ok := v.(map[string]any); ok {
		inner, has := member(m, "value")
		if !has {
			return nil, bad(invalidValue, "%s must be a %s", a.Name, a.Type)
		}
		v = inner
	}
	if v == nil {
		return nil, nil
	}
	s, isString := v.(string)
	if a.Type == typeBoolean {
		b, ok := v.(bool)
		switch {
		case ok:
			return b, nil
		case isString && strings.EqualFold(s, "true"): // Entra ID sends "True"
			return true, nil
		case isString && strings.EqualFold(s, "false"):
			return false, nil
		}
		return nil, bad(invalidValue, "%s must be true or false", a.Name)
	}
	if !isString {
		return nil, bad(invalidValue, "%s must be a string", a.Name)
	}
	if len(s) > maxString {
		return nil, bad(invalidValue, "%s is longer than %d bytes", a.Name, maxString)
	}
	return s, nil
}

func canonicalObject(a *attribute, v any) (any, error) {
	m, ok := v.(map[string]any)
	if !ok {
		// Entra ID sends a manager's id as a string.
		if _, isString := v.(string); !isString || a.sub("value") == nil {
			return nil, bad(invalidValue, "%s must be an object", a.Name)
		}
		m = map[string]any{"value": v}
	}
	out := map[string]any{}
	for _, s := range a.Subs {
		raw, has := member(m, s.Name)
		if !has || s.Mutability == readOnly && a.Mutability != readOnly {
			continue
		}
		c, err := canonical(s, raw)
		if err != nil {
			return nil, err
		}
		if c != nil {
			out[s.Name] = c
		}
	}
	return out, nil
}

// canonicalResource reads a whole resource of POST or PUT. Unknown and
// read-only attributes are left out, and so is a password.
func (t *resourceType) canonicalResource(body map[string]any) (map[string]any, error) {
	urns, has := member(body, "schemas")
	if list, ok := urns.([]any); !has || !ok || !t.knows(list) {
		return nil, bad(invalidSyntax, "schemas must name %s", t.Core.URN)
	}
	doc := map[string]any{}
	if err := canonicalMembers(t.common, body, doc); err != nil {
		return nil, err
	}
	if err := canonicalMembers(t.Core.Attributes, body, doc); err != nil {
		return nil, err
	}
	if t.Extension == nil {
		return doc, nil
	}
	raw, has := member(body, t.Extension.URN)
	if !has || raw == nil {
		return doc, nil
	}
	ext, ok := raw.(map[string]any)
	if !ok {
		return nil, bad(invalidValue, "%s must be an object", t.Extension.URN)
	}
	out := map[string]any{}
	if err := canonicalMembers(t.Extension.Attributes, ext, out); err != nil {
		return nil, err
	}
	if len(out) > 0 {
		doc[t.Extension.URN] = out
	}
	return doc, nil
}

func canonicalMembers(attrs []*attribute, from, into map[string]any) error {
	for _, a := range attrs {
		raw, has := member(from, a.Name)
		if !has || a.Mutability == readOnly {
			continue
		}
		c, err := canonical(a, raw)
		if err != nil {
			return err
		}
		if !empty(c) && a.Returned != never {
			into[a.Name] = c
		}
	}
	return nil
}

// plain refuses what would break lines and logs where a name stands in them, and
// U+FFFD, which stands for what could not be read: with it two names become one.
// was is what the name is now, that a person who has such a one already can
// still be changed, and above all deactivated.
func plain(name, s, was string, most int) error {
	if len(s) > most {
		return bad(invalidValue, "%s is longer than %d bytes", name, most)
	}
	if strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) }) {
		return bad(invalidValue, "%s has control characters", name)
	}
	if s != was && strings.ContainsRune(s, utf8.RuneError) {
		return bad(invalidValue, "%s has a character that got lost on the way (U+FFFD, or half of a surrogate pair); send it whole, as UTF-8", name)
	}
	return nil
}

func cloneValue(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = cloneValue(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = cloneValue(e)
		}
		return out
	default:
		return v
	}
}

func cloneDoc(doc map[string]any) map[string]any {
	out, _ := cloneValue(doc).(map[string]any)
	return out
}
