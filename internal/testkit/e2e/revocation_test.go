package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/devidp"
	"github.com/gatehouse-ai/gatehouse/internal/testkit"
)

// access is one way of having and losing access to open/small.
type access struct {
	name string
	// give gives somebody access and returns their token; take takes it away
	// and returns when the API has answered.
	give func(t *testing.T, round int) (token string)
	take func(t *testing.T)
	want int // the status afterwards
}

func ways(g *testkit.Gatehouse, idp *company) []access {
	admin := idp.token("admin@acme.com", devidp.MintOptions{})
	do := func(t *testing.T, method, path, body string, want int, header ...string) {
		t.Helper()
		if res := send(t, method, g.URL()+path, admin, body, header...); res.status != want {
			t.Fatalf("%s %s: %d %s", method, path, res.status, res.body)
		}
	}
	user := idp.token("ada@acme.com", devidp.MintOptions{})
	var id string
	pat := func(t *testing.T, email string) string {
		secret, made := newToken(t, g.URL(), idp.token(email, devidp.MintOptions{}), "/api/v1/me/tokens", `{"name":"round"}`)
		id = made
		return secret
	}
	return []access{
		{
			name: "a revoked token", want: 401,
			give: func(t *testing.T, _ int) string { return pat(t, "ada@acme.com") },
			take: func(t *testing.T) {
				if res := send(t, http.MethodDelete, g.URL()+"/api/v1/me/tokens/"+id, user, ""); res.status != 204 {
					t.Fatalf("%d %s", res.status, res.body)
				}
			},
		},
		{
			name: "a deactivated user", want: 401,
			give: func(t *testing.T, round int) string {
				do(t, http.MethodPut, "/api/v1/users/bob@acme.com", `{"active":true}`, 200)
				if round%2 == 0 {
					return pat(t, "bob@acme.com")
				}
				return idp.token("bob@acme.com", devidp.MintOptions{})
			},
			take: func(t *testing.T) { do(t, http.MethodPut, "/api/v1/users/bob@acme.com", `{"active":false}`, 200) },
		},
		{
			name: "a member who was removed from the team", want: 403,
			give: func(t *testing.T, _ int) string {
				applyTo(t, g.URL(), admin, team("research", "cyd@acme.com"))
				return idp.token("cyd@acme.com", devidp.MintOptions{})
			},
			take: func(t *testing.T) { applyTo(t, g.URL(), admin, team("research")) },
		},
		{
			name: "a deleted binding", want: 403,
			give: func(t *testing.T, _ int) string {
				do(t, http.MethodPut, "/api/v1/role-bindings/dan", `{"metadata":{"name":"dan"},"spec":{"subjects":["user:dan@acme.com"],"role":"model-user","resources":["model:open/small"]}}`, 201)
				return idp.token("dan@acme.com", devidp.MintOptions{})
			},
			take: func(t *testing.T) { do(t, http.MethodDelete, "/api/v1/role-bindings/dan", "", 204) },
		},
	}
}

func revocable(t *testing.T) (*testkit.Gatehouse, []access) {
	t.Helper()
	idp := newCompany(t, "admin@acme.com", "ada@acme.com", "bob@acme.com", "cyd@acme.com", "dan@acme.com")
	open := strings.Replace(echoAccount("open", "  echo: {chunkDelay: 1s}\n"), `[{subject: "team:everyone", role: provider-account-user}]`,
		`[{subject: "user:ada@acme.com", role: provider-account-user}, {subject: "user:bob@acme.com", role: provider-account-user}, {subject: "team:research", role: provider-account-user}]`, 1)
	g := testkit.Start(t, testkit.Options{Manifests: docs(idp.manifest("company"), team("research"), open, adminBinding("admin@acme.com"))})
	for _, who := range []string{"admin", "bob"} { // they exist from their first call on
		send(t, http.MethodGet, g.URL()+"/api/v1/me", idp.token(who+"@acme.com", devidp.MintOptions{}), "")
	}
	return g, ways(g, idp)
}

func TestSecurityRevocationHoldsFromTheNextRequestOn(t *testing.T) {
	g, list := revocable(t)
	var after []time.Duration // from the API's answer to the first refusal
	var whole []time.Duration // from the request that revokes
	for round := range 100 {
		w := list[round%len(list)]
		token := w.give(t, round/len(list))
		if res := chat(t, g.URL(), token, "open/small"); res.status != 200 {
			t.Fatalf("%s, round %d, before: %d %s", w.name, round, res.status, res.body)
		}
		begin := time.Now()
		w.take(t)
		answered := time.Now()
		res := chat(t, g.URL(), token, "open/small")
		if res.status != w.want {
			t.Errorf("%s, round %d: the next request gets %d, want %d: %s", w.name, round, res.status, w.want, res.body)
		}
		after, whole = append(after, time.Since(answered)), append(whole, time.Since(begin))
	}
	slices.Sort(after)
	slices.Sort(whole)
	p99 := func(d []time.Duration) time.Duration { return d[len(d)*99/100] }
	t.Logf("100 rounds: refused %s after the API's answer at P99 (P50 %s, the refused request included), %s after the request that revoked at P99 (P50 %s)",
		p99(after), after[50], p99(whole), whole[50])
	if p99(whole) > time.Second {
		t.Errorf("revocation takes %s at P99", p99(whole))
	}
}

func TestSecurityARunningStreamEndsWithItsAccess(t *testing.T) {
	g, list := revocable(t)
	for round, w := range list {
		t.Run(w.name, func(t *testing.T) {
			token := w.give(t, round)
			s := openStream(t, g.URL(), token, "open/small", "one two three four five six seven eight nine ten eleven twelve")
			begin := time.Now()
			w.take(t)
			rest := s.rest()
			took := time.Since(begin)
			if took > time.Second {
				t.Errorf("the stream went on for %s", took)
			}
			if strings.Contains(rest, "[DONE]") || strings.Contains(rest, "twelve") {
				t.Errorf("the stream came to its own end:\n%s", rest)
			}
			if !strings.Contains(rest, `"error"`) {
				t.Errorf("the stream was cut without an error event:\n%s", rest)
			}
			t.Logf("cut after %s: %s", took.Round(time.Millisecond), fmt.Sprintf("%.300s", strings.TrimSpace(rest)))
		})
	}
}
