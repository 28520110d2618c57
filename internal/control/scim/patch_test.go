package scim_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

const patched = `{` + userSchema + `,"userName":"ada@example.com","title":"T","name":{"givenName":"G","familyName":"F"},
	"emails":[{"value":"ada@example.com","type":"work","primary":true},{"value":"h@example.com","type":"home"}],
	"` + enterprise + `":{"department":"D","manager":{"value":"m1"}}}`

func TestPatchOperations(t *testing.T) {
	const ent = enterprise
	for name, c := range map[string]struct {
		ops  string
		path string // what is looked at afterwards
		want string // as JSON
	}{
		"replace a simple attribute":         {`{"op":"replace","path":"title","value":"N"}`, "title", `"N"`},
		"op in any case":                     {`{"op":"Replace","path":"TITLE","value":"N"}`, "title", `"N"`},
		"add a simple attribute":             {`{"op":"ADD","path":"nickName","value":"N"}`, "nickName", `"N"`},
		"remove a simple attribute":          {`{"op":"remove","path":"title"}`, "title", `null`},
		"replace by null removes":            {`{"op":"replace","path":"title","value":null}`, "title", `null`},
		"add null adds nothing":              {`{"op":"add","path":"title","value":null}`, "title", `"T"`},
		"a value in a list":                  {`{"op":"replace","path":"title","value":[{"value":"N"}]}`, "title", `"N"`},
		"sub-attribute":                      {`{"op":"replace","path":"name.givenName","value":"N"}`, "name", `{"familyName":"F","givenName":"N"}`},
		"sub-attribute of nothing":           {`{"op":"add","path":"name.middleName","value":"M"}`, "name.middleName", `"M"`},
		"complex merges":                     {`{"op":"replace","path":"name","value":{"givenName":"N","familyName":null}}`, "name", `{"givenName":"N"}`},
		"remove a sub-attribute":             {`{"op":"remove","path":"name.givenName"}`, "name", `{"familyName":"F"}`},
		"remove complex":                     {`{"op":"remove","path":"name"}`, "name", `null`},
		"core URN":                           {`{"op":"replace","path":"urn:ietf:params:scim:schemas:core:2.0:User:title","value":"N"}`, "title", `"N"`},
		"extension attribute":                {`{"op":"replace","path":"` + ent + `:department","value":"N"}`, ent, `{"department":"N","manager":{"value":"m1"}}`},
		"extension, other case":              {`{"op":"replace","path":"` + strings.ToLower(ent) + `:Department","value":"N"}`, ent, `{"department":"N","manager":{"value":"m1"}}`},
		"manager as a string":                {`{"op":"add","path":"` + ent + `:manager","value":"m2"}`, ent, `{"department":"D","manager":{"value":"m2"}}`},
		"manager's value":                    {`{"op":"replace","path":"` + ent + `:manager.value","value":"m2"}`, ent, `{"department":"D","manager":{"value":"m2"}}`},
		"remove the manager":                 {`{"op":"remove","path":"` + ent + `:manager"}`, ent, `{"department":"D"}`},
		"remove the extension":               {`{"op":"remove","path":"` + ent + `"}`, ent, `null`},
		"extension as a path":                {`{"op":"add","path":"` + ent + `","value":{"division":"V"}}`, ent, `{"department":"D","division":"V","manager":{"value":"m1"}}`},
		"extension in an object":             {`{"op":"add","value":{"` + ent + `":{"division":"V"}}}`, ent, `{"department":"D","division":"V","manager":{"value":"m1"}}`},
		"extension's attribute in an object": {`{"op":"add","value":{"` + ent + `:division":"V"}}`, ent, `{"department":"D","division":"V","manager":{"value":"m1"}}`},
		"object with dotted keys":            {`{"op":"replace","value":{"name.givenName":"N","title":"X"}}`, "name", `{"familyName":"F","givenName":"N"}`},
		"object with a value path":           {`{"op":"replace","value":{"emails[type eq \"home\"].value":"n@example.com"}}`, "emails.1.value", `"n@example.com"`},
		"object with read-only members":      {`{"op":"replace","value":{"id":"$ID","meta":{},"schemas":[],"groups":[],"title":"N"}}`, "title", `"N"`},
		"active as a string":                 {`{"op":"Replace","path":"active","value":"False"}`, "active", `false`},
		"active in an object":                {`{"op":"Replace","value":{"active":"False"}}`, "active", `false`},
		"append":                             {`{"op":"add","path":"emails","value":[{"value":"n@example.com"}]}`, "emails.2", `{"value":"n@example.com"}`},
		"append one without a list":          {`{"op":"add","path":"emails","value":{"value":"n@example.com"}}`, "emails.2", `{"value":"n@example.com"}`},
		"append what is there":               {`{"op":"add","path":"emails","value":[{"value":"h@example.com","type":"home"}]}`, "emails.2", `null`},
		"a new primary replaces the old":     {`{"op":"add","path":"emails","value":[{"value":"n@example.com","primary":true}]}`, "emails.0.primary", `false`},
		"primary by value path":              {`{"op":"replace","path":"emails[type eq \"home\"].primary","value":"True"}`, "emails.0.primary", `false`},
		"replace the list":                   {`{"op":"replace","path":"emails","value":[{"value":"n@example.com"}]}`, "emails", `[{"value":"n@example.com"}]`},
		"replace by value path":              {`{"op":"replace","path":"emails[type eq \"home\"].value","value":"n@example.com"}`, "emails.1", `{"value":"n@example.com","type":"home"}`},
		"replace a whole value":              {`{"op":"replace","path":"emails[type eq \"home\"]","value":{"value":"n@example.com"}}`, "emails.1", `{"value":"n@example.com"}`},
		"add to a whole value":               {`{"op":"add","path":"emails[type eq \"home\"]","value":{"display":"N"}}`, "emails.1", `{"value":"h@example.com","type":"home","display":"N"}`},
		"add by value path makes a value":    {`{"op":"add","path":"addresses[type eq \"work\"].country","value":"GB"}`, "addresses", `[{"type":"work","country":"GB"}]`},
		"a sub-attribute of every value":     {`{"op":"replace","path":"emails.display","value":"N"}`, "emails.1.display", `"N"`},
		"remove by value path":               {`{"op":"remove","path":"emails[type eq \"home\"]"}`, "emails.1", `null`},
		"remove a part by value path":        {`{"op":"remove","path":"emails[type eq \"home\"].type"}`, "emails.1", `{"value":"h@example.com"}`},
		"remove listed values":               {`{"op":"remove","path":"emails","value":[{"value":"h@example.com"}]}`, "emails.1", `null`},
		"remove all where the name will do":  {`{"op":"remove","path":"emails"}`, "emails", `null`},
		"one after the other":                {`{"op":"add","path":"nickName","value":"A"},{"op":"replace","path":"nickName","value":"B"},{"op":"remove","path":"title"}`, "nickName", `"B"`},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			id := w.do("POST", "/Users", patched).want(201).id()
			r := w.do("PATCH", "/Users/"+id, patch(strings.ReplaceAll(c.ops, "$ID", id))).want(200)
			var want any
			if err := json.Unmarshal([]byte(c.want), &want); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, r.get(c.path)); diff != "" {
				t.Errorf("%s:\n%s", c.path, diff)
			}
			if diff := cmp.Diff(r.body, w.do("GET", "/Users/"+id, "").body); diff != "" {
				t.Errorf("the answer is not what is kept:\n%s", diff)
			}
		})
	}
}

func TestPatchRefusals(t *testing.T) {
	many := strings.TrimSuffix(strings.Repeat(`{"op":"remove","path":"title"},`, 1001), ",")
	for name, c := range map[string]struct {
		body   string
		status int
		kind   string
	}{
		"no schemas":                    {`{"Operations":[{"op":"remove","path":"title"}]}`, 400, "invalidSyntax"},
		"no operations":                 {patch(), 400, "invalidSyntax"},
		"too many":                      {patch(many), 413, "tooMany"},
		"unknown op":                    {patch(`{"op":"move","path":"title"}`), 400, "invalidSyntax"},
		"an operation that is none":     {patch(`7`), 400, "invalidSyntax"},
		"path that is none":             {patch(`{"op":"remove","path":7}`), 400, "invalidPath"},
		"no value":                      {patch(`{"op":"replace","path":"title"}`), 400, "invalidValue"},
		"remove without a path":         {patch(`{"op":"remove"}`), 400, "noTarget"},
		"no path and no object":         {patch(`{"op":"add","value":"x"}`), 400, "invalidValue"},
		"unknown attribute":             {patch(`{"op":"replace","path":"nothing","value":1}`), 400, "invalidPath"},
		"unknown sub-attribute":         {patch(`{"op":"replace","path":"name.nothing","value":1}`), 400, "invalidPath"},
		"unknown after a filter":        {patch(`{"op":"replace","path":"emails[type eq \"work\"].nothing","value":1}`), 400, "invalidPath"},
		"unknown in an object":          {patch(`{"op":"replace","value":{"nothing":1}}`), 400, "invalidPath"},
		"unknown schema":                {patch(`{"op":"replace","path":"urn:other:2.0:User:title","value":1}`), 400, "invalidPath"},
		"broken path":                   {patch(`{"op":"replace","path":"emails[type eq","value":1}`), 400, "invalidPath"},
		"something after the path":      {patch(`{"op":"replace","path":"title x","value":1}`), 400, "invalidPath"},
		"filter on what has one value":  {patch(`{"op":"replace","path":"name[givenName eq \"a\"]","value":{}}`), 400, "invalidPath"},
		"unknown in the filter":         {patch(`{"op":"remove","path":"emails[nothing eq \"a\"]"}`), 400, "invalidFilter"},
		"nobody is chosen for replace":  {patch(`{"op":"replace","path":"emails[type eq \"other\"].value","value":"x@example.com"}`), 400, "noTarget"},
		"nobody is chosen for remove":   {patch(`{"op":"remove","path":"emails[type eq \"other\"]"}`), 400, "noTarget"},
		"add by a filter of no value":   {patch(`{"op":"add","path":"emails[type co \"oth\"].value","value":"x@example.com"}`), 400, "noTarget"},
		"read-only":                     {patch(`{"op":"replace","path":"id","value":"x"}`), 400, "mutability"},
		"read-only in an object":        {patch(`{"op":"replace","value":{"id":"x"}}`), 400, "mutability"},
		"read-only groups":              {patch(`{"op":"add","path":"groups","value":[{"value":"x"}]}`), 400, "mutability"},
		"read-only sub-attribute":       {patch(`{"op":"replace","path":"` + enterprise + `:manager.displayName","value":"x"}`), 400, "mutability"},
		"remove the userName":           {patch(`{"op":"remove","path":"userName"}`), 400, "mutability"},
		"remove active":                 {patch(`{"op":"remove","path":"active"}`), 400, "mutability"},
		"null active":                   {patch(`{"op":"replace","value":{"active":null}}`), 400, "mutability"},
		"wrong type":                    {patch(`{"op":"replace","path":"title","value":{"a":1}}`), 400, "invalidValue"},
		"wrong boolean":                 {patch(`{"op":"replace","path":"active","value":"no"}`), 400, "invalidValue"},
		"two values":                    {patch(`{"op":"replace","path":"title","value":["a","b"]}`), 400, "invalidValue"},
		"two primary":                   {patch(`{"op":"add","path":"emails","value":[{"value":"1@example.com","primary":true},{"value":"2@example.com","primary":true}]}`), 400, "invalidValue"},
		"all emails primary":            {patch(`{"op":"replace","path":"emails.primary","value":true}`), 400, "invalidValue"},
		"no address is left":            {patch(`{"op":"replace","path":"userName","value":"ada"}`, `{"op":"remove","path":"emails"}`), 400, "invalidValue"},
		"the first is good, the second": {patch(`{"op":"replace","path":"title","value":"N"}`, `{"op":"replace","path":"nothing","value":1}`), 400, "invalidPath"},
		"good, then no target":          {patch(`{"op":"replace","path":"title","value":"N"}`, `{"op":"remove","path":"emails[type eq \"other\"]"}`), 400, "noTarget"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			id := w.do("POST", "/Users", patched).want(201).id()
			before := w.do("GET", "/Users/"+id, "").body
			commits := w.mem.revision
			w.do("PATCH", "/Users/"+id, c.body).refused(c.status, c.kind)
			if diff := cmp.Diff(before, w.do("GET", "/Users/"+id, "").body); diff != "" || w.mem.revision != commits {
				t.Errorf("refused, and changed all the same:\n%s", diff)
			}
		})
	}
}

func TestLimitsOfLists(t *testing.T) {
	w := newWorld(t)
	id := w.add("ada")
	var list []string
	for i := range 501 {
		list = append(list, fmt.Sprintf(`{"value":"%d"}`, i))
	}
	w.do("PATCH", "/Users/"+id, patch(`{"op":"add","path":"roles","value":[`+strings.Join(list, ",")+`]}`)).refused(400, "invalidValue")
	w.do("PATCH", "/Users/"+id, patch(`{"op":"add","path":"roles","value":[`+strings.Join(list[:400], ",")+`]}`)).want(200)
	w.do("PATCH", "/Users/"+id, patch(`{"op":"add","path":"roles","value":[`+strings.Join(list[390:], ",")+`]}`)).refused(400, "invalidValue")
	w.do("PATCH", "/Users/"+id, patch(`{"op":"add","path":"title","value":"`+strings.Repeat("x", 70_000)+`"}`)).refused(400, "invalidValue")
	w.do("POST", "/Users", `{`+userSchema+`,"userName":"b@example.com","roles":[`+strings.Join(list, ",")+`]}`).refused(400, "invalidValue")
	long := strings.Repeat("x", 60_000)
	w.do("POST", "/Users", `{`+userSchema+`,"userName":"b@example.com","title":"`+long+`","nickName":"`+long+`","locale":"`+long+`"}`).refused(400, "invalidValue")
	for i := range 1500 {
		uid := fmt.Sprintf("uid-%05d", i)
		w.mem.users[uid] = identity.User{UID: uid, Email: uid + "@example.com", Active: true, Manager: "scim:okta", Version: 1}
	}
	w.do("GET", "/Users?count=5000", "").want(200).is("itemsPerPage", 1000).is("totalResults", 1501)
}
