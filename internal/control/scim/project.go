package scim

import "strings"

// projection says which attributes are wanted (RFC 7644, 3.9).
type projection struct {
	only, without []string
}

// names says whether the caller asked for a choice of attributes.
func (p projection) names() bool { return len(p.only)+len(p.without) > 0 }

func readProjection(only, without string) (projection, error) {
	p := projection{only: commaList(only), without: commaList(without)}
	if len(p.only) > 0 && len(p.without) > 0 {
		return p, bad(invalidValue, "use attributes or excludedAttributes, not both")
	}
	if len(p.only)+len(p.without) > 100 {
		return p, bad(invalidValue, "more than 100 attributes are named")
	}
	return p, nil
}

func commaList(s string) []string {
	var out []string
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

// wants says whether any of an attribute of the core schema will be shown, so
// that what is dear to find is not looked for in vain.
func (p projection) wants(t *resourceType, name string) bool {
	named := func(list []string, whole bool) bool {
		for _, n := range list {
			if pl, ok := t.resolve(n); ok && !pl.extension && pl.attr.Name == name && (!whole || pl.sub == nil) {
				return true
			}
		}
		return false
	}
	if len(p.only) > 0 {
		return named(p.only, false)
	}
	return !named(p.without, true)
}

// apply returns the part of a resource that is wanted. Attributes that are
// always returned stay.
func (p projection) apply(t *resourceType, doc map[string]any) map[string]any {
	if !p.names() {
		return doc
	}
	if len(p.without) > 0 {
		out := cloneDoc(doc)
		for _, n := range p.without {
			if pl, ok := t.resolve(n); ok {
				t.drop(out, pl)
			}
		}
		t.tidy(out)
		return out
	}
	out := map[string]any{"id": doc["id"], "schemas": doc["schemas"]}
	for _, n := range p.only {
		if pl, ok := t.resolve(n); ok {
			t.copyPlace(doc, out, pl)
		}
	}
	return out
}

func (t *resourceType) drop(doc map[string]any, p place) {
	switch {
	case p.attr == nil:
		delete(doc, t.Extension.URN)
	case p.attr.Returned == always:
	case p.sub == nil:
		delete(t.holder(doc, p, false), p.attr.Name)
	default:
		for _, v := range values(t.holder(doc, p, false)[p.attr.Name]) {
			if m, ok := v.(map[string]any); ok {
				delete(m, p.sub.Name)
			}
		}
	}
}

func (t *resourceType) copyPlace(from, to map[string]any, p place) {
	if p.attr == nil {
		if v := from[t.Extension.URN]; v != nil {
			to[t.Extension.URN] = v
		}
		return
	}
	v := t.holder(from, p, false)[p.attr.Name]
	if v == nil {
		return
	}
	if p.sub == nil {
		t.holder(to, p, true)[p.attr.Name] = v
		return
	}
	t.holder(to, p, true)[p.attr.Name] = mergeSub(v, t.holder(to, p, true)[p.attr.Name], p.sub.Name)
}

// mergeSub takes one sub-attribute of from into what was taken already.
func mergeSub(from, taken any, sub string) any {
	list, ok := from.([]any)
	if !ok {
		m, _ := from.(map[string]any)
		out, _ := taken.(map[string]any)
		if out == nil {
			out = map[string]any{}
		}
		if v, ok := m[sub]; ok {
			out[sub] = v
		}
		return out
	}
	had, _ := taken.([]any)
	out := make([]any, len(list))
	for i, v := range list {
		var before any
		if i < len(had) {
			before = had[i]
		}
		out[i] = mergeSub(v, before, sub)
	}
	return out
}
