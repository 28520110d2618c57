//go:build real

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/devidp"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
	"github.com/gatehouse-ai/gatehouse/internal/store/sqlite"
	"github.com/gatehouse-ai/gatehouse/internal/testkit"
)

const scimUser = "urn:ietf:params:scim:schemas:core:2.0:User"

// A directory pushes everybody for the first time, over HTTP, a few requests at
// once, as directories do.
func TestRealTenThousandPeopleAndFiveHundredGroupsFromEmpty(t *testing.T) {
	const people, groups, each, workers = 10_000, 500, 20, 4
	idp := newCompany(t, "admin@acme.com")
	g := testkit.Start(t, testkit.Options{Manifests: docs(idp.manifest("company"), adminBinding("admin@acme.com"), "apiVersion: gatehouse.dev/v1\nkind: ScimDirectory\nmetadata: {name: pushed}\nspec: {}\n")})
	admin := idp.token("admin@acme.com", devidp.MintOptions{})
	send(t, http.MethodGet, g.URL()+"/api/v1/me", admin, "")
	scim, _ := newToken(t, g.URL(), admin, "/api/v1/scim-directories/pushed/tokens", `{"name":"push"}`)
	uids := make([]string, people)
	begin := time.Now()
	parallel(people, workers, func(i int) {
		res := send(t, http.MethodPost, g.URL()+"/scim/v2/Users", scim, fmt.Sprintf(
			`{"schemas":[%q],"userName":%q,"externalId":"ext-%d","active":true,"name":{"givenName":"P","familyName":"%d"},"emails":[{"value":%q,"primary":true}]}`,
			scimUser, person(i), i, i, person(i)), "Content-Type", "application/scim+json")
		if res.status != http.StatusCreated {
			t.Errorf("person %d: %d %s", i, res.status, res.body)
			return
		}
		uids[i] = field(t, res.body, "id")
	})
	persons := time.Since(begin)
	parallel(groups, workers, func(i int) {
		members := make([]string, each)
		for m := range members {
			members[m] = `{"value":"` + uids[(i*each+m)%people] + `"}`
		}
		res := send(t, http.MethodPost, g.URL()+"/scim/v2/Groups", scim, fmt.Sprintf(
			`{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"displayName":"Group %d","members":[%s]}`, i, strings.Join(members, ",")), "Content-Type", "application/scim+json")
		if res.status != http.StatusCreated {
			t.Errorf("group %d: %d %s", i, res.status, res.body)
		}
	})
	took := time.Since(begin)
	t.Logf("%d people and %d groups of %d from empty on SQLite: %s (people %s)", people, groups, each, took.Round(time.Millisecond), persons.Round(time.Millisecond))
	if took > 2*time.Minute {
		t.Errorf("it took %s", took)
	}
	list := send(t, http.MethodGet, g.URL()+"/scim/v2/Users?count=1", scim, "")
	if !strings.Contains(list.body, fmt.Sprintf(`"totalResults":%d`, people)) {
		t.Errorf("%s", list.body)
	}
	me := send(t, http.MethodGet, g.URL()+"/api/v1/teams/group-7/members?limit=50", admin, "")
	if n := strings.Count(me.body, `"source":"scim"`); me.status != http.StatusOK || n != each {
		t.Errorf("group-7 has %d members: %d %.300s", n, me.status, me.body)
	}
}

func parallel(n, workers int, f func(int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	wg.Wait()
}

// A page costs the same wherever it is.
func TestRealAHundredThousandPeoplePageInConstantTime(t *testing.T) {
	const people = 100_000
	dir := t.TempDir()
	db, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(dir, "gatehouse.db")})
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < people; at += 10_000 {
		b := &record.Batch{}
		for i := at; i < at+10_000; i++ {
			b.PutUsers = append(b.PutUsers, identity.User{Email: fmt.Sprintf("p%06d@acme.com", i), Active: true, Manager: "scim:pushed"})
		}
		if _, err := db.Commit(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	idp := newCompany(t, "admin@acme.com")
	g := testkit.Start(t, testkit.Options{Dir: dir, Manifests: docs(idp.manifest("company"), adminBinding("admin@acme.com"))})
	admin := idp.token("admin@acme.com", devidp.MintOptions{})
	var times []time.Duration
	seen, cursor := 0, ""
	for {
		begin := time.Now()
		res := send(t, http.MethodGet, g.URL()+"/api/v1/users?limit=500&cursor="+cursor, admin, "")
		times = append(times, time.Since(begin))
		var page struct {
			Items      []struct{} `json:"items"`
			NextCursor string     `json:"nextCursor"`
		}
		if err := json.Unmarshal([]byte(res.body), &page); err != nil || res.status != http.StatusOK {
			t.Fatalf("%d %v", res.status, err)
		}
		if seen += len(page.Items); page.NextCursor == "" {
			break
		}
		cursor = page.NextCursor
	}
	if seen != people+1 {
		t.Errorf("%d people were listed", seen)
	}
	tenth := len(times) / 10
	median := func(d []time.Duration) time.Duration {
		d = slices.Clone(d)
		slices.Sort(d)
		return d[len(d)/2]
	}
	first, last := median(times[1:tenth]), median(times[len(times)-tenth:])
	t.Logf("pages of 500 among %d people: %s in the first tenth, %s in the last (medians)", people, first, last)
	if last > 3*first+5*time.Millisecond {
		t.Errorf("the last pages take %s, the first %s", last, first)
	}
}
