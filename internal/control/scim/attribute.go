package scim

import "strings"

// The types of attributes (RFC 7643, 2.3).
const (
	typeString    = "string"
	typeBoolean   = "boolean"
	typeDateTime  = "dateTime"
	typeReference = "reference"
	typeBinary    = "binary"
	typeComplex   = "complex"
)

// Characteristics of attributes (RFC 7643, 7).
const (
	readWrite = "readWrite"
	readOnly  = "readOnly"
	immutable = "immutable"
	writeOnly = "writeOnly"

	always    = "always"
	byDefault = "default"
	never     = "never"
)

// attribute is the definition of an attribute; its JSON is that of /Schemas.
type attribute struct {
	Name        string       `json:"name"`
	Type        string       `json:"type"`
	MultiValued bool         `json:"multiValued"`
	Description string       `json:"description"`
	Required    bool         `json:"required"`
	Canonical   []string     `json:"canonicalValues,omitempty"`
	CaseExact   bool         `json:"caseExact"`
	Mutability  string       `json:"mutability"`
	Returned    string       `json:"returned"`
	Uniqueness  string       `json:"uniqueness"`
	References  []string     `json:"referenceTypes,omitempty"`
	Subs        []*attribute `json:"subAttributes,omitempty"`
	// common attributes belong to every resource and to no schema (RFC 7643, 3.1).
	common bool
}

func find(list []*attribute, name string) *attribute {
	for _, a := range list {
		if strings.EqualFold(a.Name, name) {
			return a
		}
	}
	return nil
}

func (a *attribute) sub(name string) *attribute { return find(a.Subs, name) }

// schema is one schema, core or extension.
type schema struct {
	URN, Name, Description string
	Attributes             []*attribute
}

// resourceType is a kind of resource with its schemas.
type resourceType struct {
	Name, Endpoint, Description string
	Core                        *schema
	Extension                   *schema // nil: none
	common                      []*attribute
}

// place is where an attribute stands in a resource: the attribute of the core
// schema or of the extension, and perhaps a sub-attribute. An extension alone
// has neither.
type place struct {
	extension bool
	attr, sub *attribute
}

// leaf is the attribute that is meant in the end; nil for an extension alone.
func (p place) leaf() *attribute {
	if p.sub != nil {
		return p.sub
	}
	return p.attr
}

// cutURN takes a schema's URN off a name; both are compared without regard to
// case (RFC 7644, 3.10).
func cutURN(name, urn string) (rest string, ok bool) {
	if len(name) < len(urn) || !strings.EqualFold(name[:len(urn)], urn) {
		return "", false
	}
	switch rest = name[len(urn):]; {
	case rest == "":
		return "", true
	case rest[0] == ':':
		return rest[1:], true
	default:
		return "", false
	}
}

// resolve finds what a name means: attr, attr.sub, URN:attr, URN:attr.sub, or
// the URN of the extension.
func (t *resourceType) resolve(name string) (place, bool) {
	if t.Extension != nil {
		if rest, ok := cutURN(name, t.Extension.URN); ok {
			if rest == "" {
				return place{extension: true}, true
			}
			p, ok := resolveIn(t.Extension.Attributes, rest)
			p.extension = true
			return p, ok
		}
	}
	if rest, ok := cutURN(name, t.Core.URN); ok {
		name = rest
	}
	if p, ok := resolveIn(t.Core.Attributes, name); ok {
		return p, true
	}
	return resolveIn(t.common, name)
}

func resolveIn(list []*attribute, name string) (place, bool) {
	first, rest, dotted := strings.Cut(name, ".")
	a := find(list, first)
	if a == nil {
		return place{}, false
	}
	if !dotted {
		return place{attr: a}, true
	}
	sub := a.sub(rest)
	return place{attr: a, sub: sub}, sub != nil
}

// holder returns the object of a resource in which an attribute of a place
// stands, and makes it where make is true; it may be nil otherwise.
func (t *resourceType) holder(doc map[string]any, p place, create bool) map[string]any {
	if !p.extension {
		return doc
	}
	ext, _ := doc[t.Extension.URN].(map[string]any)
	if ext == nil && create {
		ext = map[string]any{}
		doc[t.Extension.URN] = ext
	}
	return ext
}

// tidy removes what is empty: an extension or an object without attributes is
// the same as none (RFC 7643, 2.5).
func (t *resourceType) tidy(doc map[string]any) {
	for k, v := range doc {
		if empty(v) {
			delete(doc, k)
		}
		if m, ok := v.(map[string]any); ok {
			for k, v := range m {
				if empty(v) {
					delete(m, k)
				}
			}
			if len(m) == 0 {
				delete(doc, k)
			}
		}
	}
}

func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	default:
		return false
	}
}
