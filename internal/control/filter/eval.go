package filter

import (
	"strings"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
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
		op    Op
		value string
		null  bool
	}
)

// compile binds what was read to resources. Parse has looked at every name.
func compile(e Expr) node {
	switch e := e.(type) {
	case And:
		return andNode{compile(e.Left), compile(e.Right)}
	case Or:
		return orNode{compile(e.Left), compile(e.Right)}
	case Not:
		return notNode{compile(e.Inner)}
	case Compare:
		get, _ := attribute(e.Path)
		text, _ := e.Value.(string)
		return compareNode{attr: get, op: e.Op, value: text, null: e.Op != Present && e.Value == nil}
	default:
		return nil // a value path: only the full grammar has them
	}
}

// Match reports whether a resource satisfies the filter.
func (f Filter) Match(r v1.Resource) bool { return f.root == nil || f.root.matches(r) }

func (n andNode) matches(r v1.Resource) bool { return n.a.matches(r) && n.b.matches(r) }
func (n orNode) matches(r v1.Resource) bool  { return n.a.matches(r) || n.b.matches(r) }
func (n notNode) matches(r v1.Resource) bool { return !n.n.matches(r) }

func (n compareNode) matches(r v1.Resource) bool {
	v, ok := n.attr(r)
	equal := ok && !n.null && v == n.value || n.null && !ok
	switch n.op {
	case Present:
		return ok
	case Equal:
		return equal
	case NotEqual:
		return !equal
	case Contains:
		return ok && strings.Contains(v, n.value)
	case Starts:
		return ok && strings.HasPrefix(v, n.value)
	case Ends:
		return ok && strings.HasSuffix(v, n.value)
	default:
		return false
	}
}
