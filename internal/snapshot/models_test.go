package snapshot

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

func TestSecurityTheWildcardIsNoWayAroundANamedModel(t *testing.T) {
	s := snap(resources(
		res(t, v1.KindProviderAccount, "acme", `{"provider":"echo","models":[
			{"name":"gpt-4o","enabled":false},{"name":"fast","model":"gpt-4o-mini-2024-07-18","collaborators":[]},
			{"name":"gemini-1.5-pro","enabled":false},{"name":"openai/o3","enabled":false},{"name":"llama3","enabled":false},{"name":"*"}]}`),
		res(t, v1.KindRoleBinding, "b", `{"subjects":["user:eve@example.com"],"role":"model-user","resources":["model:acme/GPT-4o","model:acme/gpt-4o-2024-08-06"]}`)))
	for _, name := range []string{
		"GPT-4o", "gpt-4o-2024-08-06", "gpt-4o-20240806", "gpt-4o-0806", "gpt-4o-08-06", "gpt-4o-latest", "Gpt-4O-Latest", "gpt-4o@20240806", "gpt-4o:latest",
		"gpt-4o-2024-08-06-latest", "gpt-4o-mini", "gpt-4o-mini-2024-07-18", "GPT-4o-mini-latest", "gemini-1.5-pro-002", "models/gemini-1.5-pro", "models/gemini-1.5-pro-001",
		"openai/o3:nitro", "OpenAI/o3:free", "openai/o3-2025-04-16:free", "llama3:8b", "llama3:latest",
		"gpt-4o/", "/gpt-4o", "gpt-4o//", "x/../gpt-4o", "./gpt-4o", "gpt-4o/.", " gpt-4o", "gpt-4o ", "gpt-4o\t", "gpt-4o\n", "gpt-4o\x00", "gpt-4o\u200b", "gpt%2D4o", "gpt-4o?x=1", "gpt-4o#x",
		`gpt-4o\`, "gpt–4o", "ｇｐｔ-4o", "", "*", "gpt*", strings.Repeat("x", 257),
	} {
		if m, ok := s.Model("acme", name); ok && (m.Enabled() || !m.Listed) {
			t.Errorf("%q is %s", name, m.FQN)
		}
	}
	for _, name := range []string{"gpt-4", "gpt-4.1", "o1", "meta/llama-3.1-70b", "claude-sonnet-4-20250514", "gpt-4o-audio-preview", "ft:gpt-4o:acme::1"} {
		if m, ok := s.Model("acme", name); !ok || m.Name != "*" {
			t.Errorf("%q is not covered by the wildcard", name)
		}
	}
	if _, ok := s.Model("ACME", "gpt-4"); ok {
		t.Error("an account is found in another case")
	}
}

func TestSecurityADisabledWildcardDisablesWhatItCovers(t *testing.T) {
	s := snap(resources(res(t, v1.KindProviderAccount, "acme", `{"provider":"echo","models":[{"name":"*","enabled":false}]}`),
		res(t, v1.KindRoleBinding, "b", `{"subjects":["user:eve@example.com"],"role":"model-user","resources":["model:acme/x"]}`)))
	for _, name := range []string{"x", "y"} {
		if m, ok := s.Model("acme", name); !ok || m.Enabled() {
			t.Errorf("%s: %+v", name, m)
		}
	}
}

func TestAGrantOnANameThatOnlyTheWildcardCovers(t *testing.T) {
	s := snap(resources(res(t, v1.KindProviderAccount, "acme", account), res(t, v1.KindProviderAccount, "bare", `{"provider":"echo"}`),
		res(t, v1.KindRoleBinding, "b", `{"subjects":["user:ada@example.com"],"role":"model-user","resources":["model:acme/o3","model:bare/o3","model:bare/*"]}`)))
	m, ok := s.Model("acme", "o3")
	if !ok || m.Name != "o3" || m.Target.Above.Ref != "model:acme/*" || !m.Enabled() {
		t.Errorf("o3 is %+v", m)
	}
	a, _ := s.Account("acme")
	if diff := cmp.Diff([]string{"o3"}, a.Granted()); diff != "" {
		t.Error(diff)
	}
	for _, name := range []string{"o3", "*", "x"} {
		if _, ok := s.Model("bare", name); ok {
			t.Errorf("%s of an account that lists nothing is there", name)
		}
	}
}

func TestSecurityAnEmptyListOfCollaboratorsNarrows(t *testing.T) {
	s := snap(resources(res(t, v1.KindProviderAccount, "acme", `{"provider":"echo","models":[{"name":"absent"},{"name":"empty","collaborators":[]}]}`)))
	for name, want := range map[string]bool{"absent": false, "empty": true} {
		if m, _ := s.Model("acme", name); m.Target.Narrowed != want {
			t.Errorf("%s: narrowed %t", name, m.Target.Narrowed)
		}
	}
}

func TestEachFindsTheSameOnEveryPath(t *testing.T) {
	for _, tc := range []struct{ entries, ids int }{{1, 1}, {100, 1}, {1, 100}, {10, 10}, {0, 5}, {5, 0}, {1000, 3}, {3, 1000}} {
		target := &Target{}
		for i := range tc.entries {
			target.Entries = append(target.Entries, Entry{Subject: uint32(i % (tc.entries/2 + 1) * 3), Expires: int64(i)})
		}
		target.sort()
		var ids []uint32
		want := map[int64]bool{}
		for i := range tc.ids {
			ids = append(ids, uint32(i*2))
		}
		for _, e := range target.Entries {
			if e.Subject%2 == 0 && int(e.Subject)/2 < tc.ids {
				want[e.Expires] = true
			}
		}
		got := map[int64]bool{}
		target.Each(ids, func(e *Entry) bool { got[e.Expires] = true; return true })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%+v: %s", tc, diff)
		}
		calls := 0
		target.Each(ids, func(*Entry) bool { calls++; return false })
		if calls > 1 {
			t.Errorf("%+v: went on %d times", tc, calls)
		}
	}
}

func TestSecurityAQuarantinedAccountHasNoModels(t *testing.T) {
	s := next(snap(resources(res(t, v1.KindProviderAccount, "acme", account))),
		identity.Rows{Quarantined: []identity.Quarantined{{Key: identity.ResourceKey{Kind: v1.KindProviderAccount, Name: "acme"}, Reason: "newer"}}})
	if _, ok := s.Model("acme", "gpt-4o"); ok || len(s.Accounts()) != 0 {
		t.Error("it is still there")
	}
	back := next(s, resources(res(t, v1.KindProviderAccount, "acme", account)))
	if _, ok := back.Model("acme", "gpt-4o"); !ok || len(back.Problems()) != 0 {
		t.Errorf("it did not come back: %v", back.Problems())
	}
}
