package manifest

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
)

// Types that are written in another shape than their Go type has.
var (
	stringsType   = reflect.TypeFor[v1.Strings]()
	caCertType    = reflect.TypeFor[v1.CACert]()
	rawType       = reflect.TypeFor[json.RawMessage]()
	timeType      = reflect.TypeFor[time.Time]()
	sensitiveType = reflect.TypeFor[v1.Sensitive]()
)

// placeholder is what a secret prints as; it must not come back as a secret.
const placeholder = "[redacted]"

// checker compares a tree with the Go type that it is meant for and collects
// everything that does not fit.
type checker struct {
	errs  Errors
	paths []string // of the errors
	skip  map[*node]bool
}

func (c *checker) addf(n *node, path string, format string, args ...any) {
	e := n.pos.errorf(format, args...)
	e.Path = path
	c.errs = append(c.errs, e)
	c.paths = append(c.paths, path)
	c.skip[n] = true
}

// check walks a value of type t.
func (c *checker) check(path string, n *node, t reflect.Type) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if n.kind == stringNode && strings.ContainsRune(n.text, 0) {
		c.addf(n, path, "must not hold a NUL character")
		return
	}
	switch {
	case t == rawType:
		c.raw(path, n)
	case t == timeType:
		c.time(path, n)
	case t == stringsType && n.kind == stringNode, t == caCertType && n.kind == stringNode:
	case t == stringsType && n.kind != listNode:
		c.wrong(path, n, "a string or a list of strings", t)
	case t.Kind() == reflect.String:
		c.string(path, n, t)
	case t.Kind() == reflect.Bool:
		if n.kind != boolNode {
			c.wrong(path, n, "true or false", t)
		}
	case t.Kind() == reflect.Int || t.Kind() == reflect.Int64:
		c.integer(path, n, t)
	case t.Kind() == reflect.Slice:
		if n.kind != listNode {
			c.wrong(path, n, "a list", t)
			return
		}
		for i, item := range n.items {
			c.check(indexPath(path, i), item, t.Elem())
		}
	case t.Kind() == reflect.Map:
		c.stringMap(path, n, t)
	case t.Kind() == reflect.Struct:
		c.structure(path, n, t)
	default: // a shape that api/v1 does not have; TestEverySchemaTypeIsKnown finds it
		c.addf(n, path, "this version cannot read this field")
	}
}

// wrong reports a value of the wrong kind.
func (c *checker) wrong(path string, n *node, want string, t reflect.Type) {
	switch {
	case n.kind == nullNode:
		c.addf(n, path, "expected %s and found nothing; remove the key, or give it a value", want)
	case t.Kind() == reflect.String && t != sensitiveType && len(n.text) <= 32 && (n.kind == boolNode || n.kind == intNode || n.kind == floatNode):
		c.addf(n, path, "expected %s, found %s; write it in quotes: %q", want, n.kind, n.text)
	case t.Kind() == reflect.String && n.kind != mapNode && n.kind != listNode:
		c.addf(n, path, "expected %s, found %s; write it in quotes", want, n.kind)
	default:
		c.addf(n, path, "expected %s, found %s", want, n.kind)
	}
}

func (c *checker) string(path string, n *node, t reflect.Type) {
	switch {
	case n.kind != stringNode:
		c.wrong(path, n, "a string", t)
	case t == sensitiveType && n.text == placeholder:
		c.addf(n, path, "%s is what is shown in place of a secret; write the secret, or where to find it", placeholder)
	}
}

func (c *checker) integer(path string, n *node, t reflect.Type) {
	if n.kind == floatNode {
		c.addf(n, path, "expected a whole number")
		return
	}
	if n.kind != intNode {
		c.wrong(path, n, "a whole number", t)
		return
	}
	if _, err := strconv.ParseInt(n.number(), 10, t.Bits()); err != nil {
		c.addf(n, path, "the number is too large")
	}
}

func (c *checker) time(path string, n *node) {
	if n.kind == stringNode {
		if _, err := time.Parse(time.RFC3339, n.text); err == nil {
			return
		}
	}
	c.addf(n, path, "expected a time like 2026-01-31T12:00:00Z (RFC 3339)")
}

// raw accepts whatever JSON can say.
func (c *checker) raw(path string, n *node) {
	if n.kind == floatNode && strings.ContainsAny(strings.ToLower(n.text), "n") {
		c.addf(n, path, "JSON has no such number")
	}
	if n.kind == nullNode {
		c.wrong(path, n, "a value", rawType)
	}
	for i, item := range n.items {
		c.raw(indexPath(path, i), item)
	}
	for _, m := range n.members {
		c.raw(joinPath(path, m.key), m.value)
	}
}

func (c *checker) stringMap(path string, n *node, t reflect.Type) {
	if n.kind != mapNode {
		c.wrong(path, n, "a mapping", t)
		return
	}
	for _, m := range n.members {
		c.check(joinPath(path, m.key), m.value, t.Elem())
	}
}

func (c *checker) structure(path string, n *node, t reflect.Type) {
	if n.kind != mapNode {
		want := "a mapping"
		if t == caCertType {
			want = "a PEM string, or a mapping with pem or file"
		}
		c.wrong(path, n, want, t)
		return
	}
	fields := fieldsOf(t)
	for _, m := range n.members {
		p := joinPath(path, m.key)
		ft, ok := fields[m.key]
		switch {
		case !ok:
			names := make([]string, 0, len(fields))
			for name := range fields {
				names = append(names, name)
			}
			slices.Sort(names)
			e := m.pos.errorf("is not a field of %s%s", describeType(t), suggest(m.key, names))
			e.Path = p
			c.errs = append(c.errs, e)
			c.paths = append(c.paths, p)
			c.skip[m.value] = true
		case m.value.kind == nullNode && (ft.Kind() == reflect.Map || p == "metadata.creationTimestamp"):
			c.skip[m.value] = true // as Kubernetes' tools write what is empty
		default:
			c.check(p, m.value, ft)
		}
	}
}

// describeType names a struct for people: the kind, or what the Go type is
// called.
func describeType(t reflect.Type) string {
	if t == reflect.TypeFor[v1.ObjectMeta]() {
		return "metadata"
	}
	return t.Name()
}

// fieldsOf returns the fields of a struct by their names in JSON.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	fields := map[string]reflect.Type{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-" || !f.IsExported():
		case f.Anonymous && name == "":
			for k, v := range fieldsOf(f.Type) {
				fields[k] = v
			}
		case name == "":
			panic(fmt.Sprintf("manifest: %s.%s has no name in JSON", t, f.Name))
		default:
			fields[name] = f.Type
		}
	}
	return fields
}
