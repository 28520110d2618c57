package api_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

// pages reads a list to its end, and returns the ids, the sizes of the pages
// and the first cursor.
func (w *world) pages(who, path string, headers ...string) (ids []string, sizes, first string) {
	w.t.Helper()
	next := ""
	for {
		at := path
		if next != "" {
			at += "&cursor=" + url.QueryEscape(next)
		}
		r := w.do(who, "GET", at, "", headers...)
		w.want(r, 200)
		var page struct {
			Items      []struct{ ID string }
			NextCursor string
		}
		if err := json.Unmarshal([]byte(r.body), &page); err != nil {
			w.t.Fatal(err)
		}
		for _, item := range page.Items {
			ids = append(ids, item.ID)
		}
		if sizes += fmt.Sprint(len(page.Items), " "); first == "" {
			first = page.NextCursor
		}
		if next = page.NextCursor; next == "" || len(ids) > 2000 {
			return ids, sizes, first
		}
	}
}

// manyTokens gives an owner more tokens, of ids that are in order.
func (w *world) manyTokens(owner string, kind identity.TokenKind, from, n int) {
	w.t.Helper()
	b := &record.Batch{}
	for i := range n {
		b.PutTokens = append(b.PutTokens, identity.Token{
			ID: walkID(from + i), Kind: kind, Name: "many", Owner: owner, Digest: identity.DigestOf(identity.NewToken(kind)), ExpiresAt: time.Now().Add(time.Hour),
		})
	}
	w.commit(w.t.Context(), b)
}

func TestTokensAreListedByPagesTheNewestLast(t *testing.T) {
	w := walkWorld(t)
	w.manyTokens("uid-member", identity.TokenPersonal, 1000, 120)
	w.manyTokens(w.uid(v1.KindVirtualAccount), identity.TokenVirtualAccount, 2000, 120)
	w.manyTokens(w.uid(v1.KindScimDirectory), identity.TokenSCIM, 3000, 120)
	for path, of := range map[string]struct {
		who    string
		first  string
		others int
	}{
		"/me/tokens":                       {"member", walkID(1000), 2},
		"/users/member@example.com/tokens": {"admin", walkID(1000), 2},
		"/users/uid-member/tokens":         {"admin", walkID(1000), 2},
		"/virtual-accounts/target/tokens":  {"lead", walkID(2000), 1},
		"/scim-directories/target/tokens":  {"admin", walkID(3000), 1},
	} {
		ids, sizes, _ := w.pages(of.who, path+"?limit=50")
		if len(ids) != 120+of.others || !slices.IsSorted(ids) || !slices.Contains(ids, of.first) || !strings.HasPrefix(sizes, "50 50 2") {
			t.Errorf("%s: %d tokens in pages of %s", path, len(ids), sizes)
		}
		if _, sizes, _ := w.pages(of.who, path+"?limit=500"); strings.Count(sizes, " ") != 1 {
			t.Errorf("%s: a whole page is followed by another: %s", path, sizes)
		}
		if r := w.do(of.who, "GET", path, ""); strings.Count(r.body, `"id"`) != 50 || !strings.Contains(r.body, "nextCursor") {
			t.Errorf("%s: %d without a limit", path, strings.Count(r.body, `"id"`))
		}
		for _, bad := range []string{"0", "501", "-1", "x"} {
			w.want(w.do(of.who, "GET", path+"?limit="+bad, ""), 400, "limit")
		}
	}
}

func TestSecurityACursorOfTokensIsBoundToItsListAndCaller(t *testing.T) {
	w := walkWorld(t)
	w.manyTokens("uid-member", identity.TokenPersonal, 1000, 5)
	w.manyTokens("uid-admin", identity.TokenPersonal, 2000, 5)
	_, _, next := w.pages("admin", "/users/member@example.com/tokens?limit=2")
	if next == "" || strings.Contains(next, walkID(1001)) {
		t.Fatalf("the cursor %q", next)
	}
	for who, paths := range map[string][]string{
		"admin":  {"/me/tokens", "/users/admin@example.com/tokens", "/virtual-accounts/target/tokens", "/users"},
		"member": {"/me/tokens"},
	} {
		for _, path := range paths {
			w.want(w.do(who, "GET", path+"?limit=2&cursor="+url.QueryEscape(next), ""), 400, "cursor")
		}
	}
	w.want(w.do("admin", "GET", "/users/uid-member/tokens?limit=2&cursor="+url.QueryEscape(next), ""), 200)
}

func TestSessionsAreListedByPagesTheNewestFirst(t *testing.T) {
	w := newWorld(t)
	w.browsers.more = 120
	mine := []string{"Cookie", "who=member", "Sec-Fetch-Site", "same-origin"}
	ids, sizes, next := w.pages("", "/sessions?limit=50", mine...)
	if len(ids) != 122 || sizes != "50 50 22 " || !slices.IsSortedFunc(ids[:120], func(a, b string) int { return strings.Compare(b, a) }) {
		t.Errorf("%d sessions in pages of %s: %v", len(ids), sizes, ids)
	}
	if slices.Sort(ids); len(slices.Compact(ids)) != 122 {
		t.Error("a session stands in two pages")
	}
	others, sizes, theirs := w.pages("admin", "/sessions?user=member@example.com&limit=100")
	if len(others) != 122 || sizes != "100 22 " {
		t.Errorf("%d sessions in pages of %s", len(others), sizes)
	}
	w.want(w.do("admin", "GET", "/sessions?user=member@example.com&cursor="+theirs, ""), 200)
	w.want(w.do("admin", "GET", "/sessions?user=admin@example.com&cursor="+theirs, ""), 400, "cursor")
	w.want(w.do("admin", "GET", "/sessions?user=member@example.com&cursor="+next, ""), 400, "cursor")
	w.want(w.do("", "GET", "/sessions?limit=0", "", mine...), 400, "limit")
}

func TestOneTokenOfSomebodyIsRevoked(t *testing.T) {
	w := walkWorld(t)
	stolen := w.mint("stolen", "member", "/me/tokens", `{"name":"laptop"}`)
	kept := w.mint("kept", "member", "/me/tokens", `{"name":"phone"}`)
	of := func(user, id string) string { return "/users/" + user + "/tokens/" + id }
	w.run(t, []scenario{
		{who: "", method: "DELETE", path: of("member@example.com", stolen), status: 401, lacks: []string{"laptop"}},
		{who: "lead", method: "DELETE", path: of("member@example.com", stolen), status: 403, contains: []string{"token:revoke"}, lacks: []string{"laptop"}},
		{who: "member", method: "DELETE", path: of("member@example.com", stolen), status: 403, contains: []string{"token:revoke"}},
		{who: "narrowed", method: "DELETE", path: of("member@example.com", stolen), status: 403},
		{who: "admin", method: "DELETE", path: of("lead@example.com", stolen), status: 404, contains: []string{"there is no such token"}, lacks: []string{"laptop", "member"}},
		{who: "admin", method: "DELETE", path: of("member@example.com", walkID(2)), status: 404},
		{who: "admin", method: "DELETE", path: of("member@example.com", walkID(99)), status: 404},
		{who: "admin", method: "DELETE", path: of("member@example.com", "%ff"), status: 404},
		{who: "admin", method: "DELETE", path: of("nobody@example.com", stolen), status: 404},
		{who: "stolen", method: "GET", path: "/me", status: 200},
		{who: "admin", method: "DELETE", path: of("uid-member", stolen), status: 204},
		{who: "admin", method: "DELETE", path: of("member@example.com", stolen), status: 204},
		{who: "stolen", method: "GET", path: "/me", status: 401},
		{who: "kept", method: "GET", path: "/me", status: 200},
		{who: "admin", method: "GET", path: "/audit?action=token.revoke&outcome=done", status: 200, contains: []string{`"target":"user:member@example.com"`, stolen, "laptop"}, lacks: []string{kept}},
		{who: "admin", method: "GET", path: "/audit?action=token.revoke&outcome=denied&actor=user:lead@example.com", status: 200, contains: []string{`"target":"user:member@example.com"`, stolen}},
	})
}
