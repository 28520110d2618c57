package scim

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/gatehouse-ai/gatehouse/internal/control/filter"
)

const sample = `{"userName":"Ada","active":true,"externalId":"x","title":"T","name":{"givenName":"A","familyName":"L"},
	"emails":[{"value":"a@example.com","type":"work","primary":true},{"value":"b@example.com","type":"home"}],
	"roles":[{"value":"r"}],"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":"D","manager":{"value":"m"}},
	"meta":{"created":"2026-01-01T00:00:00Z"}}`

func sampleDoc(t testing.TB) map[string]any {
	t.Helper()
	doc, err := readObject([]byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func FuzzFilter(f *testing.F) {
	for _, s := range []string{
		`userName eq "ada"`, `not (title pr) or emails[type eq "work" and value co "@"].value sw "a"`, `meta.created gt "2020-01-01T00:00:00Z"`,
		`urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value ne null`, `active eq True`, `((((`, `emails[`, `emails[type eq "a"].`,
		`name.givenName le "\u00e9" and x509Certificates eq "M"`, `active eq 1e5`, `a[b[c pr]]`,
	} {
		f.Add(s)
	}
	users := userType()
	f.Fuzz(func(t *testing.T, text string) {
		e, err := filter.ParseExpr(text)
		if err != nil {
			if p := problemOf(err); p.kind != invalidFilter || p.status != 400 {
				t.Fatalf("%v", err)
			}
			return
		}
		match, err := compile(users, e)
		if err != nil {
			if p := problemOf(err); p.kind != invalidFilter || p.status != 400 {
				t.Fatalf("%v", err)
			}
			return
		}
		doc := sampleDoc(t)
		before := cloneDoc(doc)
		got := match(doc)
		opposite, err := compile(users, filter.Not{Inner: e})
		if err != nil || opposite(doc) == got {
			t.Fatalf("%q and its opposite agree: %v", text, err)
		}
		if !reflect.DeepEqual(doc, before) {
			t.Fatalf("%q changed what it looked at", text)
		}
		// What an index finds must not be fewer than what a scan finds.
		if named, ok := lookups(users, e, userIndexed); ok && got && len(named) == 0 {
			t.Fatalf("%q matches and looks nothing up", text)
		}
	})
}

func FuzzPatch(f *testing.F) {
	for _, seed := range [][3]string{
		{"Replace", "active", `"False"`},
		{"add", "", `{"name.givenName":"N","emails[type eq \"work\"].value":"n"}`},
		{"remove", `emails[type eq "home"].value`, `null`},
		{"add", "emails", `[{"value":"n","primary":true}]`},
		{"replace", urnEnterprise + ":manager", `[{"value":"x"}]`},
		{"remove", "roles", `["r"]`},
		{"add", `addresses[type eq "work"].country`, `"GB"`},
		{"add", urnEnterprise, `{"manager":null}`},
		{"replace", "emails.primary", `true`},
		{"remove", `members[value eq "a" or value eq "b"]`, `null`},
		{"add", "members", `[{"value":"a","type":"Group"}]`},
		{"replace", `emails[value pr]`, `{"display":"x"}`},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	users, groups := userType(), groupType()
	f.Fuzz(func(t *testing.T, op, path, value string) {
		wrapped, err := readObject([]byte(`{"value":` + value + `}`))
		if err != nil {
			return
		}
		operation := map[string]any{"op": op, "value": wrapped["value"]}
		if path != "" {
			operation["path"] = path
		}
		object := map[string]any{"schemas": []any{urnPatch}, "Operations": []any{operation}}
		patchGroupFuzz(groups, object)
		ops, err := readPatch(users, object)
		if err != nil {
			refusal(t, err)
			return
		}
		doc := sampleDoc(t)
		for i := range ops {
			if err := ops[i].apply(users, doc, "id"); err != nil {
				refusal(t, err)
				return
			}
		}
		users.tidy(doc)
		wellFormed(t, users, doc)
	})
}

func patchGroupFuzz(t *resourceType, object map[string]any) {
	ops, err := readPatch(t, object)
	var ch groupChange
	for i := range ops {
		if err == nil {
			err = ch.take(&ops[i], "id")
		}
	}
}

func refusal(t *testing.T, err error) {
	t.Helper()
	if p := problemOf(err); p.status != 400 && p.status != 413 || p.kind == noType {
		t.Fatalf("refused as %v", err)
	}
}

// wellFormed wants a resource that canonical would not change, and that comes
// back from JSON as it went in.
func wellFormed(t *testing.T, rt *resourceType, doc map[string]any) {
	t.Helper()
	check := func(attrs []*attribute, m map[string]any) {
		for k, v := range m {
			if rt.Extension != nil && k == rt.Extension.URN || k == "meta" {
				continue
			}
			a := find(attrs, k)
			if a == nil || a.Name != k {
				t.Fatalf("there is an attribute %q", k)
			}
			c, err := canonical(a, cloneValue(v))
			if err != nil || !reflect.DeepEqual(c, v) {
				t.Fatalf("%s is not canonical: %v, %v, %v", k, v, c, err)
			}
		}
	}
	check(append(append([]*attribute{}, rt.Core.Attributes...), rt.common...), doc)
	if ext, ok := doc[rt.Extension.URN].(map[string]any); ok {
		check(rt.Extension.Attributes, ext)
	}
	text, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	again, err := readObject(text)
	if err != nil || !reflect.DeepEqual(again, doc) {
		t.Fatalf("JSON changes it: %v\n%v\n%v", err, doc, again)
	}
}
