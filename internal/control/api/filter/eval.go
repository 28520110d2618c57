package filter

import (
	"strings"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
)

type operator string

const (
	opEqual    operator = "eq"
	opNotEqual operator = "ne"
	opContains operator = "co"
	opStarts   operator = "sw"
	opEnds     operator = "ew"
	opPresent  operator = "pr"
)

// attr reads one attribute of a resource; ok is false where it is not set.
type attr func(v1.Resource) (value string, ok bool)

// attribute finds an attribute. Names are compared without regard to case
// (RFC 7644, 3.4.2.2), keys of labels and annotations exactly.
func attribute(name string) (attr, bool) {
	set := func(get func(v1.Resource) string) attr {
		return func(r v1.Resource) (string, bool) { s := get(r); return s, s != "" }
	}
	switch strings.ToLower(name) {
	case "apiversion":
		return set(func(r v1.Resource) string { return r.Type().APIVersion }), true
	case "kind":
		return set(func(r v1.Resource) string { return string(r.Type().Kind) }), true
	case "metadata.name":
		return set(func(r v1.Resource) string { return r.Meta().Name }), true
	case "metadata.uid":
		return set(func(r v1.Resource) string { return r.Meta().UID }), true
	case "metadata.manager":
		return set(func(r v1.Resource) string { return r.Meta().Manager }), true
	}
	for prefix, get := range map[string]func(v1.Resource) map[string]string{
		"metadata.labels.":      func(r v1.Resource) map[string]string { return r.Meta().Labels },
		"metadata.annotations.": func(r v1.Resource) map[string]string { return r.Meta().Annotations },
	} {
		if len(name) > len(prefix) && strings.EqualFold(name[:len(prefix)], prefix) {
			key := name[len(prefix):]
			return func(r v1.Resource) (string, bool) { v, ok := get(r)[key]; return v, ok }, true
		}
	}
	return nil, false
}

type node interface {
	matches(v1.Resource) bool
}

type (
	andNode     struct{ a, b node }
	orNode      struct{ a, b node }
	notNode     struct{ n node }
	compareNode struct {
		attr  attr
		op    operator
		value string
		null  bool
	}
)

// Match reports whether a resource satisfies the filter.
func (f Filter) Match(r v1.Resource) bool { return f.root == nil || f.root.matches(r) }

func (n andNode) matches(r v1.Resource) bool { return n.a.matches(r) && n.b.matches(r) }
func (n orNode) matches(r v1.Resource) bool  { return n.a.matches(r) || n.b.matches(r) }
func (n notNode) matches(r v1.Resource) bool { return !n.n.matches(r) }

func (n compareNode) matches(r v1.Resource) bool {
	v, ok := n.attr(r)
	equal := ok && !n.null && v == n.value || n.null && !ok
	switch n.op {
	case opPresent:
		return ok
	case opEqual:
		return equal
	case opNotEqual:
		return !equal
	case opContains:
		return ok && strings.Contains(v, n.value)
	case opStarts:
		return ok && strings.HasPrefix(v, n.value)
	case opEnds:
		return ok && strings.HasSuffix(v, n.value)
	default:
		return false
	}
}
