package scim

import (
	"strings"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/control/filter"
)

// predicate says whether a resource, or a value of a multi-valued attribute,
// satisfies a filter.
type predicate func(map[string]any) bool

// target is an attribute that a filter names.
type target struct {
	// path is the attribute in the schema's own spelling.
	path string
	leaf *attribute
	read func(map[string]any) []any
}

// scope finds what names mean: in a resource, or within a value.
type scope interface {
	target(name string) (target, bool)
}

// valueScope is the inside of emails[…].
type valueScope struct{ attr *attribute }

func (s valueScope) target(name string) (target, bool) {
	sub := s.attr.sub(name)
	if sub == nil {
		return target{}, false
	}
	return target{path: sub.Name, leaf: sub, read: func(m map[string]any) []any { return values(m[sub.Name]) }}, true
}

func (t *resourceType) target(name string) (target, bool) {
	p, ok := t.resolve(name)
	if !ok || p.attr == nil || p.leaf().Returned == never {
		return target{}, false
	}
	tg := target{path: p.attr.Name, leaf: p.attr}
	sub := p.sub
	if sub != nil {
		tg.path, tg.leaf = tg.path+"."+sub.Name, sub
	}
	if p.extension {
		tg.path = t.Extension.URN + ":" + tg.path
	}
	tg.read = func(doc map[string]any) []any {
		list := values(t.holder(doc, p, false)[p.attr.Name])
		if sub == nil {
			return list
		}
		var out []any
		for _, v := range list {
			if m, ok := v.(map[string]any); ok {
				out = append(out, values(m[sub.Name])...)
			}
		}
		return out
	}
	return tg, true
}

// byValue turns a complex attribute into its value where it is compared as one
// (RFC 7643, 2.4: emails co "example").
func (tg target) byValue() target {
	sub := tg.leaf.sub("value")
	if tg.leaf.Type != typeComplex || sub == nil {
		return tg
	}
	read := tg.read
	return target{path: tg.path + ".value", leaf: sub, read: func(doc map[string]any) []any {
		var out []any
		for _, v := range read(doc) {
			if m, ok := v.(map[string]any); ok {
				out = append(out, values(m["value"])...)
			}
		}
		return out
	}}
}

func values(v any) []any {
	switch v := v.(type) {
	case nil:
		return nil
	case []any:
		return v
	default:
		return []any{v}
	}
}

// compile binds a filter to a scope.
func compile(s scope, e filter.Expr) (predicate, error) {
	switch e := e.(type) {
	case filter.And:
		return both(s, e.Left, e.Right, func(a, b predicate) predicate {
			return func(m map[string]any) bool { return a(m) && b(m) }
		})
	case filter.Or:
		return both(s, e.Left, e.Right, func(a, b predicate) predicate {
			return func(m map[string]any) bool { return a(m) || b(m) }
		})
	case filter.Not:
		inner, err := compile(s, e.Inner)
		return func(m map[string]any) bool { return !inner(m) }, err
	case filter.Compare:
		return compileCompare(s, &e)
	case filter.ValuePath:
		return compileValuePath(s, &e)
	default:
		return nil, bad(invalidFilter, "the filter cannot be read")
	}
}

func both(s scope, left, right filter.Expr, join func(a, b predicate) predicate) (predicate, error) {
	a, err := compile(s, left)
	if err != nil {
		return nil, err
	}
	b, err := compile(s, right)
	if err != nil {
		return nil, err
	}
	return join(a, b), nil
}

func unknownIn(c *filter.Compare) error {
	return bad(invalidFilter, "at %d: there is no attribute %q to filter by", c.At, c.Path)
}

func compileValuePath(s scope, v *filter.ValuePath) (predicate, error) {
	tg, ok := s.target(v.Path)
	if !ok || tg.leaf.Type != typeComplex {
		return nil, unknownIn(&filter.Compare{Path: v.Path, At: v.At})
	}
	within := valueScope{tg.leaf}
	inner, err := compile(within, v.Inner)
	if err != nil {
		return nil, err
	}
	if v.Sub != nil {
		first := inner
		second, err := compileCompare(within, v.Sub)
		if err != nil {
			return nil, err
		}
		inner = func(m map[string]any) bool { return first(m) && second(m) }
	}
	return func(doc map[string]any) bool {
		for _, e := range tg.read(doc) {
			if m, ok := e.(map[string]any); ok && inner(m) {
				return true
			}
		}
		return false
	}, nil
}

func compileCompare(s scope, c *filter.Compare) (predicate, error) {
	tg, ok := s.target(c.Path)
	if !ok {
		return nil, unknownIn(c)
	}
	present := func(doc map[string]any) bool {
		for _, v := range tg.read(doc) {
			if !empty(v) && v != "" {
				return true
			}
		}
		return false
	}
	not := func(p predicate) predicate { return func(m map[string]any) bool { return !p(m) } }
	switch {
	case c.Op == filter.Present, c.Value == nil && c.Op == filter.NotEqual:
		return present, nil
	case c.Value == nil:
		return not(present), nil
	}
	tg = tg.byValue()
	op := c.Op
	if op == filter.NotEqual {
		op = filter.Equal // ne is the opposite of eq, for lists too
	}
	test, err := comparison(tg.leaf, op, c)
	if err != nil {
		return nil, err
	}
	hit := func(doc map[string]any) bool {
		for _, v := range tg.read(doc) {
			if test(v) {
				return true
			}
		}
		return false
	}
	if c.Op == filter.NotEqual {
		return not(hit), nil
	}
	return hit, nil
}

// comparison makes the test of one value for an attribute's type (RFC 7644,
// 3.4.2.2).
func comparison(a *attribute, op filter.Op, c *filter.Compare) (func(any) bool, error) {
	text, isString := c.Value.(string)
	switch {
	case a.Type == typeComplex:
		return nil, bad(invalidFilter, "at %d: %s has parts; filter by one of them", c.At, c.Path)
	case a.Type == typeBoolean:
		want, err := canonicalOne(a, c.Value)
		if err != nil || op != filter.Equal {
			return nil, bad(invalidFilter, "at %d: %s is compared by eq and ne with true or false", c.At, c.Path)
		}
		return func(v any) bool { return v == want }, nil
	case !isString:
		return nil, bad(invalidFilter, "at %d: %s is compared with a string in double quotes", c.At, c.Path)
	case a.Type == typeBinary && op != filter.Equal:
		return nil, bad(invalidFilter, "at %d: %s is compared by eq and ne", c.At, c.Path)
	case a.Type == typeDateTime:
		return compareTime(op, text, c)
	}
	key := func(s string) string { return s }
	if !a.CaseExact {
		key = fold
	}
	want := key(text)
	return func(v any) bool {
		s, ok := v.(string)
		return ok && compareText(op, key(s), want)
	}, nil
}

func compareText(op filter.Op, got, want string) bool {
	switch op {
	case filter.Equal:
		return got == want
	case filter.Contains:
		return strings.Contains(got, want)
	case filter.Starts:
		return strings.HasPrefix(got, want)
	case filter.Ends:
		return strings.HasSuffix(got, want)
	default:
		return ordered(op, strings.Compare(got, want))
	}
}

func ordered(op filter.Op, order int) bool {
	switch op {
	case filter.Equal:
		return order == 0
	case filter.Greater:
		return order > 0
	case filter.GreaterEqual:
		return order >= 0
	case filter.Less:
		return order < 0
	case filter.LessEqual:
		return order <= 0
	default:
		return false
	}
}

func compareTime(op filter.Op, text string, c *filter.Compare) (func(any) bool, error) {
	want, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || op == filter.Contains || op == filter.Starts || op == filter.Ends {
		return nil, bad(invalidFilter, "at %d: %s is compared by eq, ne, gt, ge, lt and le with a time such as 2026-01-31T12:00:00Z", c.At, c.Path)
	}
	return func(v any) bool {
		s, _ := v.(string)
		got, err := time.Parse(time.RFC3339Nano, s)
		return err == nil && ordered(op, got.Compare(want))
	}, nil
}
