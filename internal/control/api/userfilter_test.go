package api_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

// emails lists the people of a page.
func (w *world) emails(path string) (list []string, next string) {
	w.t.Helper()
	r := w.do("admin", "GET", path, "")
	w.want(r, 200)
	var page struct {
		Items      []identity.User
		NextCursor string
	}
	if err := json.Unmarshal([]byte(r.body), &page); err != nil {
		w.t.Fatal(err)
	}
	for _, u := range page.Items {
		name, _, _ := strings.Cut(u.Email, "@")
		list = append(list, name)
	}
	return list, page.NextCursor
}

func TestPeopleAreFoundByAFilter(t *testing.T) {
	w := newWorld(t)
	w.commit(t.Context(), &record.Batch{PutUsers: []identity.User{
		{Email: "zoe@example.org", UserName: "Zoe", DisplayName: "Zoë Z", Active: false, Manager: "scim:okta"},
		{Email: "yan@example.org", DisplayName: "Yan", Active: true, Manager: "scim:okta"},
	}})
	for _, tc := range [][2]string{
		{`email eq "ZOE@example.org"`, "zoe"},
		{`email eq "nobody@example.org"`, ""},
		{`userName eq "zoe"`, "zoe"},
		{`userName eq "ZOE" and active eq false`, "zoe"},
		{`active eq true and userName eq "zoe"`, ""},
		{`userName eq "zoe" or email sw "le"`, "lead zoe"},
		{`not (userName eq "zoe") and email ew ".org"`, "yan"},
		{`userName pr`, "zoe"},
		{`displayName co "Z" and active eq false`, "zoe"},
		{`active eq false`, "zoe"},
		{`manager eq "scim:okta"`, "yan zoe"},
		{`email ew "@example.org" and not (active eq true)`, "zoe"},
		{`email sw "le" or email sw "me"`, "lead member"},
		{`active ne true`, "zoe"},
		{`displayName eq null and email ew ".org"`, ""},
	} {
		got, next := w.emails("/users?filter=" + url.QueryEscape(tc[0]))
		if strings.Join(got, " ") != tc[1] || next != "" {
			t.Errorf("%s: %q %q, want %q", tc[0], got, next, tc[1])
		}
	}
	for _, bad := range []string{`uid eq "x"`, `active eq "true"`, `active gt true`, `email gt "a"`, `email eq true`, `emails[type eq "x"]`, `email eq`, `identities.subject pr`, `attributes pr`} {
		w.want(w.do("admin", "GET", "/users?filter="+url.QueryEscape(bad), ""), 400, "filter")
	}
	for _, who := range []string{"member", "lead", "narrowed"} {
		w.want(w.do(who, "GET", "/users?filter="+url.QueryEscape(`email eq "admin@example.com"`), ""), 403, "user:read")
	}
}

func TestAFilteredListGoesOnWhereItStopped(t *testing.T) {
	w := newWorld(t)
	b := &record.Batch{}
	for i := range 5100 {
		b.PutUsers = append(b.PutUsers, identity.User{Email: fmt.Sprintf("u%05d@example.net", i), Active: i < 5050})
	}
	w.commit(t.Context(), b)
	path := "/users?limit=20&filter=" + url.QueryEscape(`active eq false`)
	var all []string
	pages := 0
	for next := ""; pages == 0 || next != ""; pages++ {
		var list []string
		list, next = w.emails(path + "&cursor=" + next)
		all = append(all, list...)
		if next != "" && pages == 0 {
			w.want(w.do("admin", "GET", "/users?limit=20&cursor="+next, ""), 400, "cursor")
		}
		if pages > 20 {
			t.Fatal("it does not end")
		}
	}
	if len(all) != 50 || all[0] != "u05050" || all[49] != "u05099" {
		t.Errorf("%d people in %d pages: %v", len(all), pages, all)
	}
}

// Behind whom a filter has to look through thousands is found at once where it
// demands what one person alone can have.
func TestOnePersonIsFoundAmongThousandsInOnePage(t *testing.T) {
	w := newWorld(t)
	b := &record.Batch{}
	for i := range 5100 {
		b.PutUsers = append(b.PutUsers, identity.User{Email: fmt.Sprintf("m%04d@example.org", i), UserName: fmt.Sprintf("m%04d", i), Active: true})
	}
	w.commit(t.Context(), b)
	for filter, want := range map[string]string{
		`userName eq "M5099"`:                               "m5099",
		`email eq "M5099@example.org"`:                      "m5099",
		`active eq true and (userName eq "m5099")`:          "m5099",
		`userName eq "m5099" and email eq "m0@example.org"`: "",
	} {
		if got, next := w.emails("/users?filter=" + url.QueryEscape(filter)); strings.Join(got, " ") != want || next != "" {
			t.Errorf("%s: %q %q", filter, got, next)
		}
	}
	if got, next := w.emails("/users?filter=" + url.QueryEscape(`displayName eq "nobody"`)); len(got) != 0 || next == "" {
		t.Errorf("a scan of thousands ends in one page: %q %q", got, next)
	}
}
