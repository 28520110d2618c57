package scim_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

func (w *world) team(name string) *v1.Team {
	w.t.Helper()
	r, err := w.back.Resource(w.t.Context(), identity.ResourceKey{Kind: v1.KindTeam, Name: name})
	if err != nil {
		w.t.Fatalf("team %s: %v", name, err)
	}
	return r.(*v1.Team)
}

func teamOf(name, manager string) *v1.Team {
	return &v1.Team{TypeMeta: v1.TypeMeta{APIVersion: v1.APIVersion, Kind: v1.KindTeam}, ObjectMeta: v1.ObjectMeta{Name: name, Manager: manager}}
}

func TestAGroupIsATeam(t *testing.T) {
	eachBackend(t, func(t *testing.T, w *world) {
		a, b, c := w.add("a"), w.add("b"), w.add("c")
		r := w.do("POST", "/Groups", `{`+groupSchema+`,"displayName":"Platform & Ops","externalId":"g1","members":[{"value":"`+a+`"},{"value":"`+b+`","type":"User"}]}`).want(201)
		id := r.id()
		r.is("displayName", "Platform & Ops").is("externalId", "g1").is("members.1.type", "User").is("meta.resourceType", "Group")
		team := w.team("platform-ops")
		if team.UID != id || team.Spec.DisplayName != "Platform & Ops" || team.Manager != "scim:okta" || len(team.Spec.Members) != 0 {
			t.Errorf("stored as %+v", team)
		}
		if m := w.person(a).Memberships; len(m) != 1 || m[0] != (identity.Membership{Team: "platform-ops", Source: "scim"}) {
			t.Errorf("membership %+v", m)
		}
		w.do("GET", "/Users/"+a, "").want(200).is("groups.0.value", id).is("groups.0.display", "Platform & Ops").is("groups.0.type", "direct")
		// A rename changes what people see, and nothing that grants refer to.
		w.do("PATCH", "/Groups/"+id, patch(`{"op":"replace","value":{"id":"`+id+`","displayName":"SRE"}}`)).want(204)
		if w.team("platform-ops").Spec.DisplayName != "SRE" {
			t.Error("the rename did not follow")
		}
		w.do("PATCH", "/Groups/"+id, patch(`{"op":"add","path":"members","value":[{"value":"`+c+`"}]}`, `{"op":"remove","path":"members[value eq \"`+a+`\"]"}`)).want(204)
		if got := w.members(id); !slices.Equal(got, sorted(b, c)) {
			t.Errorf("members %v", got)
		}
		tag := w.do("GET", "/Groups/"+id, "").header.Get("ETag")
		w.do("PATCH", "/Groups/"+id, patch(`{"op":"add","path":"members","value":[{"value":"`+c+`"}]}`)).want(204)
		if w.do("GET", "/Groups/"+id, "").header.Get("ETag") != tag {
			t.Error("a change that changes nothing made a version")
		}
		w.do("PATCH", "/Groups/"+id, patch(`{"op":"add","path":"members","value":[{"value":"`+a+`"}]}`)).want(204)
		if w.do("GET", "/Groups/"+id, "").header.Get("ETag") == tag {
			t.Error("the group has a new member and its old version")
		}
		w.do("PUT", "/Groups/"+id, `{`+groupSchema+`,"displayName":"SRE","members":[{"value":"`+a+`"}]}`).want(200).is("members.0.value", a).is("externalId", nil)
		if got := w.members(id); !slices.Equal(got, []string{a}) {
			t.Errorf("members %v", got)
		}
		w.do("DELETE", "/Groups/"+id, "").want(204)
		w.do("GET", "/Groups/"+id, "").refused(404, "")
		w.do("DELETE", "/Groups/"+id, "").refused(404, "")
		if m := w.person(a).Memberships; len(m) != 0 {
			t.Errorf("a membership is left: %+v", m)
		}
	})
}

func sorted(list ...string) []string { slices.Sort(list); return list }

func TestGroupMembersByEveryOperation(t *testing.T) {
	w := newWorld(t)
	a, b, c := w.add("a"), w.add("b"), w.add("c")
	for _, s := range []struct {
		start []string
		ops   string
		want  []string
	}{
		{nil, `{"op":"add","path":"members","value":[{"value":"A"},{"value":"B"}]}`, []string{a, b}},
		{nil, `{"op":"Add","value":{"members":[{"value":"A"}]}}`, []string{a}},
		{nil, `{"op":"add","path":"members","value":{"value":"A"}}`, []string{a}},
		{nil, `{"op":"add","path":"members","value":"A"}`, []string{a}},
		{[]string{a}, `{"op":"add","path":"members","value":[{"value":"A"}]}`, []string{a}},
		{[]string{a, b}, `{"op":"remove","path":"members","value":[{"value":"A"}]}`, []string{b}},
		{[]string{a, b}, `{"op":"Remove","path":"members[value eq \"A\"]"}`, []string{b}},
		{[]string{a, b, c}, `{"op":"remove","path":"members[value eq \"A\" or value eq \"C\"]"}`, []string{b}},
		{[]string{a, b}, `{"op":"remove","path":"members"}`, nil},
		{[]string{a, b}, `{"op":"remove","path":"members[value eq \"gone\"]"}`, []string{a, b}},
		{[]string{a, b}, `{"op":"replace","path":"members","value":[{"value":"C"}]}`, []string{c}},
		{[]string{a, b}, `{"op":"replace","path":"members","value":[]}`, nil},
		{[]string{a}, `{"op":"replace","value":{"members":[{"value":"B"}],"displayName":"Y"}}`, []string{b}},
		{[]string{a}, `{"op":"add","path":"members","value":[{"value":"B"}]},{"op":"remove","path":"members[value eq \"B\"]"}`, []string{a}},
		{[]string{a}, `{"op":"remove","path":"members[value eq \"A\"]"},{"op":"add","path":"members","value":[{"value":"A"}]}`, []string{a}},
		{[]string{a}, `{"op":"add","path":"members","value":[{"value":"B"}]},{"op":"replace","path":"members","value":[{"value":"C"}]},{"op":"add","path":"members","value":[{"value":"A"}]}`, []string{a, c}},
	} {
		id := w.addGroup("X", s.start...)
		ops := strings.NewReplacer(`"A"`, `"`+a+`"`, `\"A\"`, `\"`+a+`\"`, `"B"`, `"`+b+`"`, `\"B\"`, `\"`+b+`\"`, `"C"`, `"`+c+`"`, `\"C\"`, `\"`+c+`\"`).Replace(s.ops)
		w.do("PATCH", "/Groups/"+id, patch(ops)).want(204)
		if got := w.members(id); !slices.Equal(got, sorted(s.want...)) {
			t.Errorf("%v, %s: %v, want %v", s.start, s.ops, got, s.want)
		}
		w.do("DELETE", "/Groups/"+id, "").want(204)
	}
}

func TestGroupRefusals(t *testing.T) {
	w := newWorld(t)
	a := w.add("a")
	id, other := w.addGroup("X", a), w.addGroup("Other")
	for name, c := range map[string]struct {
		ops, kind string
	}{
		"nested by type":      {`{"op":"add","path":"members","value":[{"value":"` + other + `","type":"Group"}]}`, "invalidValue"},
		"nested by reference": {`{"op":"add","path":"members","value":[{"value":"` + other + `","$ref":"https://gate.example/scim/v2/Groups/` + other + `"}]}`, "invalidValue"},
		"nested by id":        {`{"op":"add","path":"members","value":[{"value":"` + other + `"}]}`, "invalidValue"},
		"nobody":              {`{"op":"add","path":"members","value":[{"value":"nobody"}]}`, "invalidValue"},
		"without a value":     {`{"op":"add","path":"members","value":[{"type":"User"}]}`, "invalidValue"},
		"no display name":     {`{"op":"remove","path":"displayName"}`, "mutability"},
		"empty display name":  {`{"op":"replace","path":"displayName","value":" "}`, "invalidValue"},
		"a member's part":     {`{"op":"replace","path":"members[value eq \"x\"].value","value":"y"}`, "mutability"},
		"chosen otherwise":    {`{"op":"remove","path":"members[type eq \"User\"]"}`, "invalidFilter"},
		"good, then bad":      {`{"op":"remove","path":"members"},{"op":"add","path":"members","value":[{"value":"nobody"}]}`, "invalidValue"},
	} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			before := w.mem.revision
			r := w.do("PATCH", "/Groups/"+id, patch(c.ops)).refused(400, c.kind)
			if strings.HasPrefix(name, "nested by type") || strings.HasPrefix(name, "nested by ref") {
				if !strings.Contains(r.text, "groups within groups") {
					t.Errorf("says %s", r.text)
				}
			}
			if w.mem.revision != before || !slices.Equal(w.members(id), []string{a}) {
				t.Error("refused, and changed all the same")
			}
		})
	}
	w.t = t
	w.do("POST", "/Groups", `{`+groupSchema+`}`).refused(400, "invalidValue")
	w.do("POST", "/Groups", `{`+groupSchema+`,"displayName":"X"}`).refused(409, "uniqueness")
	w.do("POST", "/Groups", `{`+groupSchema+`,"displayName":"Y","externalId":"e"}`).want(201)
	w.do("POST", "/Groups", `{`+groupSchema+`,"displayName":"Z","externalId":"e"}`).refused(409, "uniqueness")
	w.do("POST", "/Groups", `{`+groupSchema+`,"displayName":"Y","externalId":"e2"}`).want(201)
	w.team("y-2")
}

func TestGroupsAreFoundWithoutReadingTheirMembers(t *testing.T) {
	w := newWorld(t)
	a, b := w.add("a"), w.add("b")
	x := w.addGroup("X", a)
	w.addGroup("Y", a, b)
	for f, want := range map[string]int{
		`displayName eq "x"`:                                 1,
		`displayName sw "z"`:                                 0,
		`id eq "` + x + `" and members eq "` + a + `"`:       1,
		`id eq "` + x + `" and members.value eq "` + b + `"`: 0,
		`members eq "` + a + `"`:                             2,
		`not (members.value eq "` + b + `")`:                 1,
		`members[value eq "` + b + `"]`:                      1,
		`members.type eq "User"`:                             2,
		`members pr`:                                         2,
		`meta.created gt "2020-01-01T00:00:00Z"`:             2,
	} {
		w.do("GET", "/Groups?filter="+url.QueryEscape(f), "").want(200).is("totalResults", want)
	}
	w.do("GET", "/Groups?filter="+url.QueryEscape(`userName eq "x"`), "").refused(400, "invalidFilter")
	w.mem.lists = 0
	w.do("GET", "/Groups?excludedAttributes=members", "").want(200)
	w.do("GET", "/Groups/"+x+"?attributes=displayName", "").want(200)
	w.do("GET", "/Groups?attributes=id&filter="+url.QueryEscape(`displayName eq "x" and members eq "`+a+`"`), "").want(200).is("totalResults", 1)
	if w.mem.lists != 0 {
		t.Errorf("members were listed %d times for those who did not ask", w.mem.lists)
	}
	w.do("GET", "/Groups?excludedAttributes=members&count=1&startIndex=2", "").want(200).is("totalResults", 2).is("Resources.0.displayName", "Y").is("Resources.0.members", nil)
	w.do("GET", "/Groups/"+x+"?attributes=members.value", "").want(200).is("members.0.value", a).is("members.0.type", nil).is("displayName", nil)
	w.do("PATCH", "/Groups/"+x+"?attributes=displayName", patch(`{"op":"replace","path":"displayName","value":"New"}`)).want(200).is("displayName", "New").is("members", nil)
}

func TestPatchOfOneMemberCostsOneMember(t *testing.T) {
	w := newWorld(t)
	var all []string
	for i := range 300 {
		all = append(all, w.add(fmt.Sprintf("u%d", i)))
	}
	id := w.addGroup("Big", all[:299]...)
	w.mem.reads, w.mem.batches = 0, nil
	w.do("PATCH", "/Groups/"+id, patch(`{"op":"add","path":"members","value":[{"value":"`+all[299]+`"}]}`, `{"op":"remove","path":"members[value eq \"`+all[0]+`\"]"}`)).want(204)
	if w.mem.reads > 4 || !slices.Equal(w.mem.batches, []int{2}) {
		t.Errorf("%d people read, batches %v", w.mem.reads, w.mem.batches)
	}
}

func TestALargeGroupIsWrittenInChunks(t *testing.T) {
	w := newWorld(t)
	var list []string
	for i := range 2500 {
		uid := fmt.Sprintf("uid-%05d", i)
		w.mem.users[uid] = identity.User{UID: uid, Email: uid + "@example.com", Active: true, Manager: "scim:okta", Version: 1}
		list = append(list, `{"value":"`+uid+`"}`)
	}
	all := strings.Join(list, ",")
	w.mem.batches = nil
	id := w.do("POST", "/Groups", `{`+groupSchema+`,"displayName":"Big","members":[`+all+`]}`).want(201).id()
	if !slices.Equal(w.mem.batches, []int{1000, 1000, 500}) {
		t.Errorf("created in %v", w.mem.batches)
	}
	// One stranger among many: nobody is changed.
	w.mem.batches = nil
	w.do("PUT", "/Groups/"+id, `{`+groupSchema+`,"displayName":"Big","members":[{"value":"nobody"}]}`).refused(400, "invalidValue")
	w.do("PATCH", "/Groups/"+id, patch(`{"op":"remove","path":"members"}`, `{"op":"add","path":"members","value":[`+all+`,{"value":"nobody"}]}`)).refused(400, "invalidValue")
	if len(w.mem.batches) != 0 || len(w.members(id)) != 2500 {
		t.Errorf("refused, and wrote %v", w.mem.batches)
	}
	w.do("PATCH", "/Groups/"+id, patch(`{"op":"replace","path":"members","value":[`+list[7]+`]}`)).want(204)
	if !slices.Equal(w.mem.batches, []int{1000, 1000, 499}) || len(w.members(id)) != 1 {
		t.Errorf("replaced in %v, %d left", w.mem.batches, len(w.members(id)))
	}
	w.do("PATCH", "/Groups/"+id, patch(`{"op":"add","path":"members","value":[`+all+`]}`)).want(204)
	w.mem.batches = nil
	w.do("DELETE", "/Groups/"+id, "").want(204)
	if !slices.Equal(w.mem.batches, []int{1000, 1000, 500}) {
		t.Errorf("deleted in %v", w.mem.batches)
	}
	if left, _ := w.mem.TeamMembers(t.Context(), "big", "", "", 10); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// Others write at the same time: the server reads again, a bounded number of
// times, and whoever named a version is told.
func TestWritesInsistAndGiveUp(t *testing.T) {
	w := newWorld(t)
	a := w.add("a")
	id := w.addGroup("X")
	meddle := func(times int) {
		busy := false
		w.mem.before = func(b *record.Batch) {
			if busy || times == 0 {
				return
			}
			busy, times = true, times-1
			u := w.mem.users[a]
			u.Version++
			w.mem.users[a] = u
			busy = false
		}
	}
	join := patch(`{"op":"add","path":"members","value":[{"value":"` + a + `"}]}`)
	title := patch(`{"op":"replace","path":"title","value":"N"}`)
	meddle(3)
	w.do("PATCH", "/Groups/"+id, join).want(204)
	meddle(3)
	w.do("PATCH", "/Users/"+a, title).want(200).is("title", "N").is("groups.0.value", id)
	meddle(-1)
	w.do("PATCH", "/Users/"+a, patch(`{"op":"remove","path":"title"}`)).refused(503, "")
	if r := w.do("PATCH", "/Groups/"+id, patch(`{"op":"remove","path":"members"}`)).refused(503, ""); r.header.Get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
	w.do("DELETE", "/Groups/"+id, "").refused(503, "")
	meddle(1)
	w.do("DELETE", "/Users/"+a, "", "If-Match", w.do("GET", "/Users/"+a, "").header.Get("ETag")).refused(412, "")
	meddle(2)
	w.do("DELETE", "/Groups/"+id, "").want(204)
}

// A group is filled while it is deleted: nobody is left in a team that is gone.
func TestDeletingAndFillingAGroupExcludeEachOther(t *testing.T) {
	w := newWorld(t)
	a := w.add("a")
	id := w.addGroup("X")
	done := false
	w.mem.before = func(b *record.Batch) {
		if len(b.DeleteResources) > 0 && !done {
			done = true
			w.do("PATCH", "/Groups/"+id, patch(`{"op":"add","path":"members","value":[{"value":"`+a+`"}]}`)).want(204)
		}
	}
	w.do("DELETE", "/Groups/"+id, "").want(204)
	if m := w.person(a).Memberships; len(m) != 0 || !done {
		t.Errorf("left in a team that is gone: %+v", m)
	}
}

// Directories send several requests at once.
func TestManyMayFillAGroupAtOnce(t *testing.T) {
	eachBackend(t, func(t *testing.T, w *world) {
		id := w.addGroup("X")
		var ids []string
		for i := range 12 {
			ids = append(ids, w.add(fmt.Sprintf("u%d", i)))
		}
		var all sync.WaitGroup
		for _, uid := range ids {
			all.Go(func() {
				r := w.do("PATCH", "/Groups/"+id, patch(`{"op":"add","path":"members","value":[{"value":"`+uid+`"}]}`))
				p := w.do("PATCH", "/Users/"+uid, patch(`{"op":"replace","path":"title","value":"N"}`))
				if r.status != 204 || p.status != 200 {
					t.Errorf("%d %s, %d %s", r.status, r.text, p.status, p.text)
				}
			})
		}
		all.Wait()
		if got := w.members(id); !slices.Equal(got, sorted(ids...)) {
			t.Errorf("%d of %d are members", len(got), len(ids))
		}
	})
}
