package manifest

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
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
	metaType      = reflect.TypeFor[v1.ObjectMeta]()
)

// placeholder is what a secret prints as; it must not come back as a secret.
const placeholder = "[redacted]"

// checker compares a tree with the Go type that it is meant for and collects
// everything that does not fit.
type checker struct {
	errs   Errors
	at     []step // where the walk is
	paths  map[string]bool
	skip   map[*node]bool
	fields map[reflect.Type]map[string]reflect.Type
}

// step is one step of a path: a key, or an index where key is empty and item
// is set. A path is put together when there is an error to tell, and not for
// every one of a million items.
type step struct {
	key   string
	item  bool
	index int
}

func newChecker() *checker {
	return &checker{paths: map[string]bool{}, skip: map[*node]bool{}, fields: map[reflect.Type]map[string]reflect.Type{}}
}

// path returns where the walk is.
func (c *checker) path() string {
	path := ""
	for _, s := range c.at {
		if s.item {
			path = indexPath(path, s.index)
		} else {
			path = joinPath(path, s.key)
		}
	}
	return path
}

// below does something one step further down, unless enough is wrong already.
func (c *checker) below(s step, do func()) {
	if c.errs.full() {
		return
	}
	c.at = append(c.at, s)
	do()
	c.at = c.at[:len(c.at)-1]
}

// addf reports what is wrong with the value where the walk is.
func (c *checker) addf(n *node, format string, args ...any) {
	c.report(n, n.pos.errorf(format, args...))
}

func (c *checker) report(n *node, e Error) {
	e.Path = c.path()
	c.errs = append(c.errs, e)
	c.paths[e.Path] = true
	c.skip[n] = true
}

// reported reports whether an error at the path or above it is known.
func (c *checker) reported(path string) bool {
	if len(c.paths) == 0 {
		return false
	}
	for i := range len(path) {
		if (path[i] == '.' || path[i] == '[') && c.paths[path[:i]] {
			return true
		}
	}
	return c.paths[path]
}

// check walks a value of type t.
func (c *checker) check(n *node, t reflect.Type) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if n.kind == stringNode && strings.ContainsRune(n.text, 0) {
		c.addf(n, "must not hold a NUL character")
		return
	}
	if (n.kind == intNode || n.kind == floatNode) && len(n.text) > maxNumber {
		c.addf(n, "the number has more than %d digits", maxNumber)
		return
	}
	switch {
	case t == rawType:
		c.raw(n)
	case t == timeType:
		c.time(n)
	case t == stringsType && n.kind == stringNode, t == caCertType && n.kind == stringNode:
	case t == stringsType && n.kind != listNode:
		c.wrong(n, "a string or a list of strings", t)
	case t.Kind() == reflect.String:
		c.string(n, t)
	case t.Kind() == reflect.Bool:
		if n.kind != boolNode {
			c.wrong(n, "true or false", t)
		}
	case t.Kind() == reflect.Int || t.Kind() == reflect.Int64:
		c.integer(n, t)
	case t.Kind() == reflect.Slice:
		if n.kind != listNode {
			c.wrong(n, "a list", t)
			return
		}
		for i, item := range n.items {
			c.below(step{item: true, index: i}, func() { c.check(item, t.Elem()) })
		}
	case t.Kind() == reflect.Map:
		c.stringMap(n, t)
	case t.Kind() == reflect.Struct:
		c.structure(n, t)
	default: // a shape that api/v1 does not have; TestEverySchemaTypeIsKnown finds it
		c.addf(n, "this version cannot read this field")
	}
}

// wrong reports a value of the wrong kind.
func (c *checker) wrong(n *node, want string, t reflect.Type) {
	switch {
	case n.kind == nullNode:
		c.addf(n, "expected %s and found nothing; remove the key, or give it a value", want)
	case t.Kind() == reflect.String && t != sensitiveType && len(n.text) <= 32 && (n.kind == boolNode || n.kind == intNode || n.kind == floatNode):
		c.addf(n, "expected %s, found %s; write it in quotes: %q", want, n.kind, n.text)
	case t.Kind() == reflect.String && n.kind != mapNode && n.kind != listNode:
		c.addf(n, "expected %s, found %s; write it in quotes", want, n.kind)
	default:
		c.addf(n, "expected %s, found %s", want, n.kind)
	}
}

func (c *checker) string(n *node, t reflect.Type) {
	switch {
	case n.kind != stringNode:
		c.wrong(n, "a string", t)
	case t == sensitiveType && n.text == placeholder:
		c.addf(n, "%s is what is shown in place of a secret; write the secret, or where to find it", placeholder)
	}
}

// maxInteger is as far as the numbers of JSON are exact (RFC 8259, 6).
const maxInteger = 1<<53 - 1

// integer accepts 5.0 as well, which is how some write a 5 and what JSON Schema
// takes for one.
func (c *checker) integer(n *node, t reflect.Type) {
	if n.kind != intNode && n.kind != floatNode {
		c.wrong(n, "a whole number", t)
		return
	}
	f, err := strconv.ParseFloat(n.number(), 64)
	switch {
	case err != nil || math.Abs(f) > maxInteger:
		c.addf(n, "the number is too large")
	case f != math.Trunc(f):
		c.addf(n, "expected a whole number")
	default:
		n.kind, n.text = intNode, strconv.FormatInt(int64(f), 10)
	}
}

func (c *checker) time(n *node) {
	if n.kind == stringNode {
		if _, err := time.Parse(time.RFC3339, n.text); err == nil {
			return
		}
	}
	c.addf(n, "expected a time like 2026-01-31T12:00:00Z (RFC 3339)")
}

// raw accepts whatever JSON can say.
func (c *checker) raw(n *node) {
	switch {
	case (n.kind == intNode || n.kind == floatNode) && len(n.text) > maxNumber:
		c.addf(n, "the number has more than %d digits", maxNumber)
	case n.kind == floatNode && strings.ContainsAny(strings.ToLower(n.text), "n"):
		c.addf(n, "JSON has no such number")
	}
	if n.kind == nullNode {
		c.wrong(n, "a value", rawType)
	}
	for i, item := range n.items {
		c.below(step{item: true, index: i}, func() { c.raw(item) })
	}
	for _, m := range n.members {
		c.below(step{key: m.key}, func() { c.raw(m.value) })
	}
}

func (c *checker) stringMap(n *node, t reflect.Type) {
	if n.kind != mapNode {
		c.wrong(n, "a mapping", t)
		return
	}
	for _, m := range n.members {
		c.below(step{key: m.key}, func() { c.check(m.value, t.Elem()) })
	}
}

func (c *checker) structure(n *node, t reflect.Type) {
	if n.kind != mapNode {
		want := "a mapping"
		if t == caCertType {
			want = "a PEM string, or a mapping with pem or file"
		}
		c.wrong(n, want, t)
		return
	}
	for _, m := range n.members {
		c.below(step{key: m.key}, func() { c.member(m, t) })
	}
}

// member checks one member of a mapping that is meant for a struct.
func (c *checker) member(m member, t reflect.Type) {
	fields := c.fields[t]
	if fields == nil {
		fields = fieldsOf(t)
		c.fields[t] = fields
	}
	ft, ok := fields[m.key]
	switch {
	case !ok:
		names := slices.Sorted(maps.Keys(fields))
		c.report(m.value, m.pos.errorf("is not a field of %s%s", describeType(t), suggest(m.key, names)))
	case m.value.kind == nullNode && (ft.Kind() == reflect.Map || t == metaType && m.key == "creationTimestamp"):
		c.skip[m.value] = true // as Kubernetes' tools write what is empty
	default:
		c.check(m.value, ft)
	}
}

// describeType names a struct for people: the kind, or what the Go type is
// called.
func describeType(t reflect.Type) string {
	if t == metaType {
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
