package scim

import (
	"errors"
	"reflect"
	"slices"
	"strings"

	"github.com/gatehouse-ai/gatehouse/internal/control/filter"
)

// maxOperations is how many operations one PATCH may have.
const maxOperations = 1000

const (
	opAdd     = "add"
	opReplace = "replace"
	opRemove  = "remove"
)

// operation is one operation of a PATCH with its path resolved.
type operation struct {
	kind string
	at   place
	// where chooses values of a multi-valued attribute; nil is all. expr is
	// what it was made of.
	where predicate
	expr  filter.Expr
	value any
	has   bool
	// implicit operations were members of an object without a path.
	implicit bool
}

// readPatch reads the body of a PATCH (RFC 7644, 3.5.2) before anything is
// changed.
func (c *call) readPatch(t *resourceType) ([]operation, error) {
	return readPatch(t, c.body)
}

func readPatch(t *resourceType, body map[string]any) ([]operation, error) {
	if list, _ := member(body, "schemas"); !names(list, urnPatch) {
		return nil, bad(invalidSyntax, "schemas must name %s", urnPatch)
	}
	raw, _ := member(body, "Operations")
	list, ok := raw.([]any)
	if !ok || len(list) == 0 {
		return nil, bad(invalidSyntax, "Operations must be a list with at least one operation")
	}
	if len(list) > maxOperations {
		return nil, &problem{status: 413, kind: tooMany, detail: "a PATCH may have 1000 operations"}
	}
	var ops []operation
	for _, v := range list {
		m, ok := v.(map[string]any)
		if !ok {
			return nil, bad(invalidSyntax, "an operation must be an object")
		}
		more, err := readOperation(t, m)
		if err != nil {
			return nil, err
		}
		ops = append(ops, more...)
	}
	return ops, nil
}

func readOperation(t *resourceType, m map[string]any) ([]operation, error) {
	word, _ := member(m, "op")
	kind, _ := word.(string)
	kind = strings.ToLower(kind)
	if kind != opAdd && kind != opReplace && kind != opRemove {
		return nil, bad(invalidSyntax, "op must be add, replace or remove")
	}
	value, has := member(m, "value")
	rawPath, _ := member(m, "path")
	path, isText := rawPath.(string)
	if rawPath != nil && !isText {
		return nil, bad(invalidPath, "path must be a string")
	}
	if kind != opRemove && !has {
		return nil, bad(invalidValue, "%s needs a value", kind)
	}
	if path != "" {
		op, err := newOperation(t, kind, path, value, has)
		return []operation{op}, err
	}
	if kind == opRemove {
		return nil, bad(noTarget, "remove needs a path")
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, bad(invalidValue, "without a path, the value must be an object")
	}
	return implicit(t, kind, object)
}

// implicit makes operations of the members of an object: a plain name, or a
// whole path, as Entra ID sends them ("name.givenName").
func implicit(t *resourceType, kind string, object map[string]any) ([]operation, error) {
	keys := make([]string, 0, len(object))
	for k := range object {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	var ops []operation
	for _, k := range keys {
		op, err := newOperation(t, kind, k, object[k], true)
		if err != nil {
			return nil, err
		}
		op.implicit = true
		ops = append(ops, op)
	}
	return ops, nil
}

func newOperation(t *resourceType, kind, text string, value any, has bool) (operation, error) {
	op := operation{kind: kind, value: value, has: has}
	path, err := filter.ParsePath(text)
	if e, ok := errors.AsType[*filter.Error](err); ok {
		return op, misread(invalidPath, "path", `emails[type eq "work"].value`, e)
	} else if err != nil {
		return op, err
	}
	at, ok := t.resolve(path.Name)
	if !ok {
		return op, bad(invalidPath, "there is no attribute %q", path.Name)
	}
	op.at = at
	if path.Filter == nil {
		return op, nil
	}
	if at.attr == nil || at.sub != nil || !at.attr.MultiValued || at.attr.Type != typeComplex {
		return op, bad(invalidPath, "%s has no values to choose from", path.Name)
	}
	if op.expr = path.Filter; path.Sub != "" {
		if op.at.sub = at.attr.sub(path.Sub); op.at.sub == nil {
			return op, bad(invalidPath, "%s has no sub-attribute %q", at.attr.Name, path.Sub)
		}
	}
	op.where, err = compile(valueScope{at.attr}, path.Filter)
	return op, err
}

// fixed says whether the operation is aimed at what nobody writes. In an object
// without a path such members are passed over, as in a PUT: clients send back
// what they have read.
func (op *operation) fixed(id string) (skip bool, err error) {
	a := op.at.attr
	if a == nil || a.Mutability != readOnly && op.at.leaf().Mutability != readOnly {
		return false, nil
	}
	if op.implicit && (a.Name != "id" || op.value == id) {
		return true, nil
	}
	return false, bad(mutability, "%s is read-only", a.Name)
}

// apply changes a resource. The resource is a copy: an error leaves nothing
// half done.
func (op *operation) apply(t *resourceType, doc map[string]any, id string) error {
	if skip, err := op.fixed(id); skip || err != nil {
		return err
	}
	if op.at.attr == nil {
		return op.applyExtension(t, doc, id)
	}
	in := t.holder(doc, op.at, op.kind != opRemove)
	if op.kind == opRemove || op.value == nil && op.kind == opReplace {
		return op.remove(in)
	}
	if op.value == nil {
		return nil // adding nothing
	}
	var err error
	switch {
	case op.at.attr.MultiValued:
		err = op.putValues(in)
	case op.at.sub != nil:
		err = op.putSub(in)
	case op.at.attr.Type == typeComplex:
		err = op.merge(in)
	default:
		err = op.put(in, op.at.attr)
	}
	return err
}

func (op *operation) applyExtension(t *resourceType, doc map[string]any, id string) error {
	if op.kind == opRemove || op.value == nil {
		delete(doc, t.Extension.URN)
		return nil
	}
	object, ok := op.value.(map[string]any)
	if !ok {
		return bad(invalidValue, "%s must be an object", t.Extension.URN)
	}
	prefixed := make(map[string]any, len(object))
	for k, v := range object {
		if strings.EqualFold(k, "schemas") {
			continue // some clients describe an extension like a resource
		}
		prefixed[t.Extension.URN+":"+k] = v
	}
	ops, err := implicit(t, op.kind, prefixed)
	for i := range ops {
		if err == nil {
			err = ops[i].apply(t, doc, id)
		}
	}
	return err
}

// put sets one value.
func (op *operation) put(in map[string]any, a *attribute) error {
	v, err := canonical(a, op.value)
	if err != nil {
		return err
	}
	if a.Returned == never {
		return nil // a password: read, and thrown away
	}
	if v == nil {
		delete(in, a.Name)
		return nil
	}
	in[a.Name] = v
	return nil
}

func (op *operation) putSub(in map[string]any) error {
	object, _ := in[op.at.attr.Name].(map[string]any)
	if object == nil {
		object = map[string]any{}
		in[op.at.attr.Name] = object
	}
	return op.put(object, op.at.sub)
}

// merge sets the parts of a complex attribute that are given and leaves the
// others (RFC 7644, 3.5.2.3).
func (op *operation) merge(in map[string]any) error {
	v, err := canonical(op.at.attr, op.value)
	if err != nil {
		return err
	}
	given, _ := v.(map[string]any)
	object, _ := in[op.at.attr.Name].(map[string]any)
	if object == nil {
		object = map[string]any{}
		in[op.at.attr.Name] = object
	}
	for k, v := range given {
		object[k] = v
	}
	if raw, ok := op.value.(map[string]any); ok {
		for k, v := range raw { // null takes a part away
			if s := op.at.attr.sub(k); s != nil && v == nil && s.Mutability != readOnly {
				delete(object, s.Name)
			}
		}
	}
	return nil
}

// putValues adds to, or replaces, values of a multi-valued attribute.
func (op *operation) putValues(in map[string]any) error {
	a := op.at.attr
	had := values(in[a.Name])
	var list []any
	var changed map[int]bool
	var err error
	if op.where == nil && op.at.sub == nil {
		list, changed, err = op.putWhole(had)
	} else {
		list, changed, err = op.putChosen(had)
	}
	if err != nil {
		return err
	}
	if list, err = onePrimary(a, list, changed); err != nil {
		return err
	}
	in[a.Name] = list
	return nil
}

func (op *operation) putWhole(had []any) ([]any, map[int]bool, error) {
	v, err := canonical(op.at.attr, op.value)
	if err != nil {
		return nil, nil, err
	}
	given, _ := v.([]any)
	if op.kind == opReplace {
		return given, nil, nil
	}
	list, changed := slices.Clone(had), map[int]bool{}
	for _, v := range given {
		at := slices.IndexFunc(list, func(o any) bool { return reflect.DeepEqual(o, v) })
		if at < 0 {
			at = len(list)
			list = append(list, v)
		}
		changed[at] = true
	}
	return list, changed, nil
}

// putChosen changes the values that the path chooses.
func (op *operation) putChosen(had []any) ([]any, map[int]bool, error) {
	list, changed := slices.Clone(had), map[int]bool{}
	for i, v := range list {
		m, _ := v.(map[string]any)
		if op.where != nil && !op.where(m) {
			continue
		}
		next, _ := cloneValue(m).(map[string]any)
		if err := op.putInto(&next); err != nil {
			return nil, nil, err
		}
		list[i], changed[i] = next, true
	}
	if len(changed) > 0 {
		return list, changed, nil
	}
	if op.kind == opReplace {
		return nil, nil, bad(noTarget, "no value of %s is chosen by the path", op.at.attr.Name)
	}
	// Entra ID adds emails[type eq "work"].value where there is none yet.
	next := map[string]any{}
	if op.where != nil && !described(op.at.attr, op.expr, next) {
		return nil, nil, bad(noTarget, "no value of %s is chosen by the path", op.at.attr.Name)
	}
	err := op.putInto(&next)
	changed[len(list)] = true
	return append(list, next), changed, err
}

func (op *operation) putInto(m *map[string]any) error {
	if op.at.sub != nil {
		return op.put(*m, op.at.sub)
	}
	v, err := canonicalObject(op.at.attr, op.value)
	if err != nil {
		return err
	}
	given, _ := v.(map[string]any)
	if op.kind == opReplace {
		*m = given
		return nil
	}
	for k, v := range given {
		(*m)[k] = v
	}
	return nil
}

// described fills in what a filter of nothing but equalities says of a value.
func described(a *attribute, e filter.Expr, into map[string]any) bool {
	switch e := e.(type) {
	case filter.And:
		return described(a, e.Left, into) && described(a, e.Right, into)
	case filter.Compare:
		s := a.sub(e.Path)
		if s == nil || e.Op != filter.Equal {
			return false
		}
		v, err := canonicalOne(s, e.Value)
		if err != nil || v == nil {
			return false
		}
		into[s.Name] = v
		return true
	default:
		return false
	}
}

// onePrimary makes other values give way to a new primary one (RFC 7644,
// 3.5.2), and drops what has become empty or double.
func onePrimary(a *attribute, list []any, changed map[int]bool) ([]any, error) {
	winners := 0
	for i := range list {
		if changed[i] && isPrimary(list[i]) {
			winners++
		}
	}
	if winners > 1 {
		return nil, bad(invalidValue, "at most one of %s can be primary", a.Name)
	}
	out := make([]any, 0, len(list))
	for i, v := range list {
		if winners == 1 && !changed[i] && isPrimary(v) {
			next, _ := cloneValue(v).(map[string]any)
			next["primary"] = false
			v = next
		}
		if !empty(v) {
			out = appendNew(out, v, false)
		}
	}
	if len(out) > maxValues {
		return nil, bad(invalidValue, "%s has more than %d values", a.Name, maxValues)
	}
	return out, nil
}

// remove takes away what the path names.
func (op *operation) remove(in map[string]any) error {
	a := op.at.attr
	switch {
	case op.at.sub != nil && op.at.sub.Required && !a.MultiValued, op.at.sub == nil && a.Required && !a.MultiValued:
		return bad(mutability, "%s is required", a.Name)
	case a.Returned == never || in == nil:
		return nil
	case !a.MultiValued && op.at.sub == nil:
		delete(in, a.Name)
		return nil
	case !a.MultiValued:
		if m, ok := in[a.Name].(map[string]any); ok {
			delete(m, op.at.sub.Name)
		}
		return nil
	case op.where == nil && op.at.sub == nil && op.has && !empty(op.value):
		return op.removeListed(in)
	}
	list, hit := []any{}, false
	for _, v := range values(in[a.Name]) {
		m, _ := v.(map[string]any)
		if op.where != nil && !op.where(m) {
			list = append(list, v)
			continue
		}
		hit = true
		if op.at.sub != nil {
			next, _ := cloneValue(m).(map[string]any)
			delete(next, op.at.sub.Name)
			if !empty(next) {
				list = appendNew(list, next, false)
			}
		}
	}
	if op.where != nil && !hit {
		return bad(noTarget, "no value of %s is chosen by the path", a.Name)
	}
	in[a.Name] = list
	return nil
}

// removeListed removes the values that are listed, by their value where they
// have one, as Entra ID does.
func (op *operation) removeListed(in map[string]any) error {
	a := op.at.attr
	v, err := canonical(a, op.value)
	if err != nil {
		return err
	}
	list := slices.DeleteFunc(slices.Clone(values(in[a.Name])), func(have any) bool {
		return slices.ContainsFunc(values(v), func(want any) bool {
			h, _ := have.(map[string]any)
			w, _ := want.(map[string]any)
			if w["value"] != nil {
				return h["value"] == w["value"]
			}
			return reflect.DeepEqual(have, want)
		})
	})
	in[a.Name] = list
	return nil
}
