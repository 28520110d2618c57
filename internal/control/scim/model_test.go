package scim_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// naive is a person as somebody would patch one by hand: the reference for the
// server's PATCH.
type naive struct {
	Title      string
	Given      string
	Family     string
	Department string
	Active     bool
	Roles      []role
}

type role struct {
	Value, Type string
	Primary     string // "", "true" or "false"
}

// step is one operation: how it is written, and what it does; false is a
// refusal.
type step struct {
	text string
	do   func(*naive) bool
}

func (n *naive) demote(changed func(i int) bool) {
	winner := false
	for i := range n.Roles {
		winner = winner || changed(i) && n.Roles[i].Primary == "true"
	}
	for i := range n.Roles {
		if winner && !changed(i) && n.Roles[i].Primary == "true" {
			n.Roles[i].Primary = "false"
		}
	}
	n.unique()
}

func (n *naive) unique() {
	var out []role
	for _, r := range n.Roles {
		if r != (role{}) && !slices.Contains(out, r) {
			out = append(out, r)
		}
	}
	n.Roles = out
}

func roleJSON(r role) string {
	m := map[string]any{"value": r.Value}
	if r.Type != "" {
		m["type"] = r.Type
	}
	if r.Primary != "" {
		m["primary"] = r.Primary == "true"
	}
	b, _ := json.Marshal(m)
	return string(b)
}

func genRole(t *rapid.T, primary bool) role {
	r := role{Value: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "value"), Type: rapid.SampledFrom([]string{"", "x", "y"}).Draw(t, "type")}
	if primary {
		r.Primary = rapid.SampledFrom([]string{"", "true", "false"}).Draw(t, "primary")
	}
	return r
}

func genText(t *rapid.T) string {
	return rapid.SampledFrom([]string{"one", "two", "drei ünd \\\"vier\\\"", ""}).Draw(t, "text")
}

func plainText(s string) string { return strings.ReplaceAll(s, `\"`, `"`) }

func genStep(t *rapid.T) step {
	switch rapid.IntRange(0, 4).Draw(t, "group") {
	case 0, 1:
		return genSimple(t)
	default:
		return genRoles(t)
	}
}

func genSimple(t *rapid.T) step {
	v := genText(t)
	op := rapid.SampledFrom([]string{"add", "Replace", "REPLACE"}).Draw(t, "op")
	fields := map[string]func(*naive) *string{
		"title": func(n *naive) *string { return &n.Title }, "name.givenName": func(n *naive) *string { return &n.Given },
		"name.familyName": func(n *naive) *string { return &n.Family }, enterprise + ":department": func(n *naive) *string { return &n.Department },
	}
	path := rapid.SampledFrom([]string{"title", "name.givenName", "name.familyName", enterprise + ":department"}).Draw(t, "path")
	field := fields[path]
	set := func(n *naive) bool { *field(n) = "=" + plainText(v); return true }
	switch rapid.IntRange(0, 5).Draw(t, "form") {
	case 0:
		return step{fmt.Sprintf(`{"op":"%s","path":"%s","value":"%s"}`, op, path, v), set}
	case 1:
		return step{fmt.Sprintf(`{"op":"%s","value":{"%s":"%s"}}`, op, strings.ToUpper(path), v), set}
	case 2:
		return step{fmt.Sprintf(`{"op":"remove","path":"%s"}`, path), func(n *naive) bool { *field(n) = ""; return true }}
	case 3:
		return step{fmt.Sprintf(`{"op":"%s","path":"name","value":{"givenName":"%s"}}`, op, v), func(n *naive) bool { n.Given = "=" + plainText(v); return true }}
	case 4:
		return step{`{"op":"remove","path":"name"}`, func(n *naive) bool { n.Given, n.Family = "", ""; return true }}
	default:
		on := rapid.Bool().Draw(t, "active")
		return step{fmt.Sprintf(`{"op":"%s","path":"active","value":"%t"}`, op, on), func(n *naive) bool { n.Active = on; return true }}
	}
}

func genRoles(t *rapid.T) step {
	r := genRole(t, true)
	second := genRole(t, false)
	list := "[" + roleJSON(r) + "," + roleJSON(second) + "]"
	is := func(f func(role) bool) func(*naive) (hits []int) {
		return func(n *naive) (hits []int) {
			for i := range n.Roles {
				if f(n.Roles[i]) {
					hits = append(hits, i)
				}
			}
			return hits
		}
	}
	byType := is(func(o role) bool { return o.Type == "x" })
	switch rapid.IntRange(0, 6).Draw(t, "form") {
	case 0:
		return step{`{"op":"add","path":"roles","value":` + list + `}`, func(n *naive) bool {
			var changed []int
			for _, g := range []role{r, second} {
				at := slices.Index(n.Roles, g)
				if at < 0 {
					at, n.Roles = len(n.Roles), append(n.Roles, g)
				}
				changed = append(changed, at)
			}
			n.demote(func(i int) bool { return slices.Contains(changed, i) })
			return true
		}}
	case 1:
		return step{`{"op":"replace","path":"roles","value":` + list + `}`, func(n *naive) bool { n.Roles = []role{r, second}; n.unique(); return true }}
	case 2:
		return step{`{"op":"remove","path":"roles"}`, func(n *naive) bool { n.Roles = nil; return true }}
	case 3:
		return step{`{"op":"remove","path":"roles[value eq \"a\"]"}`, func(n *naive) bool {
			before := len(n.Roles)
			n.Roles = slices.DeleteFunc(n.Roles, func(o role) bool { return o.Value == "a" })
			return len(n.Roles) < before
		}}
	case 4:
		return step{`{"op":"replace","path":"roles[type eq \"X\"].value","value":"new"}`, func(n *naive) bool {
			hits := byType(n)
			for _, i := range hits {
				n.Roles[i].Value = "new"
			}
			winners := 0
			for _, i := range hits {
				if n.Roles[i].Primary == "true" {
					winners++
				}
			}
			n.unique()
			return len(hits) > 0 && winners <= 1
		}}
	case 5:
		return step{`{"op":"add","path":"roles[type eq \"x\"].value","value":"added"}`, func(n *naive) bool {
			hits := byType(n)
			for _, i := range hits {
				n.Roles[i].Value = "added"
			}
			if len(hits) == 0 {
				n.Roles = append(n.Roles, role{Value: "added", Type: "x"})
			}
			n.unique()
			return true
		}}
	default:
		return step{`{"op":"remove","path":"roles","value":[{"value":"b"}]}`, func(n *naive) bool {
			n.Roles = slices.DeleteFunc(n.Roles, func(o role) bool { return o.Value == "b" })
			return true
		}}
	}
}

// read turns an answer into the model's form; a value that is there begins
// with =, so that empty and absent are two things.
func read(r *reply) naive {
	n := naive{Active: r.get("active") == true}
	for path, field := range map[string]*string{"title": &n.Title, "name.givenName": &n.Given, "name.familyName": &n.Family} {
		if s, ok := r.get(path).(string); ok {
			*field = "=" + s
		}
	}
	if ext, ok := r.body[enterprise].(map[string]any); ok {
		n.Department = "=" + ext["department"].(string)
	}
	list, _ := r.body["roles"].([]any)
	for _, v := range list {
		m := v.(map[string]any)
		o := role{}
		o.Value, _ = m["value"].(string)
		o.Type, _ = m["type"].(string)
		if p, ok := m["primary"].(bool); ok {
			o.Primary = fmt.Sprint(p)
		}
		n.Roles = append(n.Roles, o)
	}
	return n
}

func TestAnySequenceOfPatchesDoesWhatTheModelDoes(t *testing.T) {
	outer := t
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(outer)
		id := w.add("ada")
		model := naive{Active: true}
		for range rapid.IntRange(1, 6).Draw(t, "patches") {
			next := model
			next.Roles = slices.Clone(model.Roles)
			good := true
			var ops []string
			for range rapid.IntRange(1, 4).Draw(t, "operations") {
				s := genStep(t)
				ops = append(ops, s.text)
				good = good && s.do(&next)
			}
			r := w.do("PATCH", "/Users/"+id, patch(ops...))
			if (r.status == 200) != good {
				t.Fatalf("%s: %d %s, the model says %t", ops, r.status, r.text, good)
			}
			if good {
				model = next
			}
			if len(model.Roles) == 0 {
				model.Roles = nil
			}
			if got := read(w.do("GET", "/Users/"+id, "")); !reflect.DeepEqual(got, model) {
				t.Fatalf("%s\n got %+v\nwant %+v", ops, got, model)
			}
		}
	})
}

// Of groups: any sequence of changes of members is that of a set.
func TestAnySequenceOfMemberChangesIsThatOfASet(t *testing.T) {
	outer := t
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(outer)
		ids := []string{w.add("a"), w.add("b"), w.add("c"), w.add("d")}
		group := w.addGroup("X")
		set := map[string]bool{}
		for range rapid.IntRange(1, 6).Draw(t, "patches") {
			var ops []string
			for range rapid.IntRange(1, 4).Draw(t, "operations") {
				who := ids[rapid.IntRange(0, 3).Draw(t, "who")]
				switch rapid.IntRange(0, 4).Draw(t, "form") {
				case 0:
					ops, set[who] = append(ops, `{"op":"Add","path":"members","value":[{"value":"`+who+`"}]}`), true
				case 1:
					ops = append(ops, `{"op":"remove","path":"members[value eq \"`+who+`\"]"}`)
					delete(set, who)
				case 2:
					ops = append(ops, `{"op":"remove","path":"members","value":[{"value":"`+who+`"}]}`)
					delete(set, who)
				case 3:
					ops, set = append(ops, `{"op":"replace","value":{"members":[{"value":"`+who+`"}]}}`), map[string]bool{who: true}
				default:
					ops, set[who] = append(ops, `{"op":"add","value":{"members":{"value":"`+who+`"}}}`), true
				}
			}
			w.do("PATCH", "/Groups/"+group, patch(ops...)).want(204)
			var want []string
			for _, id := range ids {
				if set[id] {
					want = append(want, id)
				}
			}
			if got := w.members(group); !slices.Equal(got, sorted(want...)) {
				t.Fatalf("%s: %v, want %v", ops, got, want)
			}
		}
	})
}
