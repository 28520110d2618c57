//go:build real

package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/control/sso"
	"github.com/gatehouse-ai/gatehouse/internal/devidp"
	"github.com/gatehouse-ai/gatehouse/internal/testkit"
	"github.com/gatehouse-ai/gatehouse/internal/testkit/real"
)

// replicas are two processes' worth of Gatehouse on one PostgreSQL, a directory
// that pushes people, and an identity provider where they sign in.
type replicas struct {
	t      *testing.T
	a, b   *testkit.Gatehouse
	issuer string
	scim   string // a SCIM token
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func newReplicas(t *testing.T, database string, pollOnly bool, people int) *replicas {
	t.Helper()
	r := &replicas{t: t}
	first, second := freeAddress(t), freeAddress(t)
	srv := httptest.NewUnstartedServer(nil)
	r.issuer = "http://" + srv.Listener.Addr().String()
	users := []devidp.User{{Email: "admin@acme.com", Password: "x"}}
	for i := range people {
		users = append(users, devidp.User{Email: person(i), Password: "x"})
	}
	idp, err := devidp.New(devidp.Options{Issuer: r.issuer, Users: users, Clients: []devidp.Client{{
		ID: "console", RedirectURIs: []string{"http://" + first + "/sso/company/callback", "http://" + second + "/sso/company/callback"},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	srv.Config.Handler = idp.Handler()
	srv.Start()
	t.Cleanup(srv.Close)

	key := filepath.Join(t.TempDir(), "master.key")
	if err := os.WriteFile(key, []byte(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{3, 1}, 16))), 0o600); err != nil {
		t.Fatal(err)
	}
	start := func(address, manifests string) *testkit.Gatehouse {
		dir := t.TempDir()
		return testkit.Start(t, testkit.Options{Dir: dir, PollOnly: pollOnly, Manifests: manifests, Environ: []string{
			"GATEHOUSE_DATABASE_URL=" + database, "GATEHOUSE_SECRETS_MASTER_KEY=file:" + key, "GATEHOUSE_SERVER_ADDRESS=" + address,
			"GATEHOUSE_BOOTSTRAP_TOKEN_FILE=" + filepath.Join(dir, "bootstrap"),
		}})
	}
	provider := (&company{idp, t}).manifest("company")
	r.a = start(first, docs(provider, adminBinding("admin@acme.com"), echoAccount("open", "  echo: {chunkDelay: 1s}\n"), `apiVersion: gatehouse.dev/v1
kind: ScimDirectory
metadata: {name: pushed}
spec: {}
`, `apiVersion: gatehouse.dev/v1
kind: SsoConnection
metadata: {name: company}
spec:
  enabled: true
  oidc: {issuer: "`+r.issuer+`", clientId: console, tokenEndpointAuth: none}
  linkBy: email
  emailDomains: ["*"]
  emailVerified: assumed
`))
	admin, err := idp.Mint("admin@acme.com", devidp.MintOptions{})
	if err != nil {
		t.Fatal(err)
	}
	send(t, http.MethodGet, r.a.URL()+"/api/v1/me", admin, "") // the admin exists from here on
	r.b = start(second, "")
	r.scim, _ = newToken(t, r.a.URL(), admin, "/api/v1/scim-directories/pushed/tokens", `{"name":"push"}`)
	return r
}

func person(i int) string { return fmt.Sprintf("person-%d@acme.com", i) }

// push makes a person as a directory does, and returns their uid.
func (r *replicas) push(email string) string {
	r.t.Helper()
	res := send(r.t, http.MethodPost, r.a.URL()+"/scim/v2/Users", r.scim,
		`{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"`+email+`","active":true,"emails":[{"value":"`+email+`","primary":true}]}`,
		"Content-Type", "application/scim+json")
	if res.status != http.StatusCreated {
		r.t.Fatalf("POST /Users: %d %s", res.status, res.body)
	}
	return field(r.t, res.body, "id")
}

// signIn signs somebody in at a replica, as a browser would, and returns the
// session's cookie.
func (r *replicas) signIn(g *testkit.Gatehouse, email string) string {
	r.t.Helper()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	get := func(address, cookies string) *http.Response {
		req, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, address, http.NoBody)
		if err != nil {
			r.t.Fatal(err)
		}
		if cookies != "" {
			req.Header.Set("Cookie", cookies)
		}
		resp, err := client.Do(req)
		if err != nil {
			r.t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		return resp
	}
	begun := get(g.URL()+"/sso/company/login", "")
	var cookies []string
	for _, c := range begun.Cookies() {
		cookies = append(cookies, c.Name+"="+c.Value)
	}
	to, err := url.Parse(begun.Header.Get("Location"))
	if err != nil || len(cookies) == 0 {
		r.t.Fatalf("login: %d %q %v", begun.StatusCode, begun.Header.Get("Location"), err)
	}
	form := to.Query()
	form.Set("user", email)
	form.Set("password", "x")
	answered, err := client.PostForm(r.issuer+"/authorize", form)
	if err != nil {
		r.t.Fatal(err)
	}
	_ = answered.Body.Close()
	done := get(answered.Header.Get("Location"), strings.Join(cookies, "; "))
	for _, c := range done.Cookies() {
		if c.Name == sso.SessionCookie && c.Value != "" {
			return sso.SessionCookie + "=" + c.Value
		}
	}
	r.t.Fatalf("callback: %d, no session", done.StatusCode)
	return ""
}

// token makes a personal access token by a session.
func (r *replicas) token(g *testkit.Gatehouse, cookie string) string {
	r.t.Helper()
	res := send(r.t, http.MethodPost, g.URL()+"/api/v1/me/tokens", "", `{"name":"t"}`, "Cookie", cookie, "Sec-Fetch-Site", "same-origin")
	if res.status != http.StatusCreated {
		r.t.Fatalf("make a token: %d %s", res.status, res.body)
	}
	return field(r.t, res.body, "token")
}

// until401 asks until the answer is 401, and returns how long that took. It
// reports and goes on: others are asked meanwhile.
func until401(t *testing.T, begin time.Time, ask func() reply) time.Duration {
	pace := time.NewTicker(2 * time.Millisecond) // finer than what is measured
	defer pace.Stop()
	for {
		res := ask()
		took := time.Since(begin)
		if res.status == http.StatusUnauthorized {
			return took
		}
		if took > 10*time.Second {
			t.Errorf("still %d after %s: %s", res.status, took, res.body)
			return took
		}
		<-pace.C
	}
}

// round lets somebody come, with two sessions, three tokens and a stream, has
// the directory deactivate them, and returns when the last of all that was dead
// on both replicas.
func (r *replicas) round(email string) time.Duration {
	t := r.t
	uid := r.push(email)
	sessions := []string{r.signIn(r.a, email), r.signIn(r.b, email)}
	tokens := []string{r.token(r.a, sessions[0]), r.token(r.b, sessions[1]), r.token(r.b, sessions[0])}
	stream := openStream(t, r.b.URL(), tokens[2], "open/small", strings.Repeat("word ", 600))
	var checks []func() reply
	for _, g := range []*testkit.Gatehouse{r.a, r.b} {
		for _, s := range sessions {
			checks = append(checks, func() reply { return send(t, http.MethodGet, g.URL()+"/api/v1/me", "", "", "Cookie", s) })
		}
		for _, tok := range tokens {
			checks = append(checks, func() reply { return send(t, http.MethodGet, g.URL()+"/v1/models", tok, "") })
		}
	}
	for i, ask := range checks { // what is new at one replica takes a moment to the other
		eventually(t, 5*time.Second, fmt.Sprintf("%s: credential %d works", email, i), func() bool { return ask().status == http.StatusOK })
	}
	begin := time.Now()
	took := make([]time.Duration, len(checks)+1)
	var wg sync.WaitGroup
	wg.Go(func() {
		if rest := stream.rest(); strings.Contains(rest, "[DONE]") {
			t.Errorf("the stream came to its own end")
		}
		took[len(checks)] = time.Since(begin)
	})
	res := send(t, http.MethodPatch, r.a.URL()+"/scim/v2/Users/"+uid, r.scim,
		`{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{"op":"Replace","path":"active","value":"False"}]}`, "Content-Type", "application/scim+json")
	if res.status != http.StatusOK && res.status != http.StatusNoContent {
		t.Fatalf("deactivate: %d %s", res.status, res.body)
	}
	for i, ask := range checks {
		wg.Go(func() { took[i] = until401(t, begin, ask) })
	}
	wg.Wait()
	return slices.Max(took)
}

func TestRealSecurityADeactivatedPersonLosesEverythingOnEveryReplica(t *testing.T) {
	rounds := 100
	pg := real.Postgres(t)
	for i, mode := range []struct {
		name     string
		pollOnly bool
	}{{"with NOTIFY", false}, {"by polling alone", true}} {
		t.Run(mode.name, func(t *testing.T) {
			database, drop, err := pg.CreateDatabase(fmt.Sprintf("replicas%d", i))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = drop() })
			r := newReplicas(t, database, mode.pollOnly, rounds)
			var took []time.Duration
			for n := range rounds {
				took = append(took, r.round(person(n)))
			}
			slices.Sort(took)
			t.Logf("two sessions, three tokens and a stream on two replicas, %d rounds %s: dead after %s (P50), %s (P99), %s (worst)",
				rounds, mode.name, took[rounds/2].Round(time.Millisecond), took[rounds*99/100].Round(time.Millisecond), took[rounds-1].Round(time.Millisecond))
			if took[rounds*99/100] > time.Second {
				t.Errorf("%s at P99", took[rounds*99/100])
			}
			for n := range 10 {
				r.rehired(t, person(n))
			}
		})
	}
}

// rehired: somebody comes back under a new uid, and nothing of theirs does.
func (r *replicas) rehired(t *testing.T, email string) {
	t.Helper()
	find := send(t, http.MethodGet, r.a.URL()+"/scim/v2/Users?filter="+url.QueryEscape(`userName eq "`+email+`"`), r.scim, "")
	uid := between(find.body, `"id":"`, `"`)
	if uid == "" {
		t.Fatalf("%d %s", find.status, find.body)
	}
	if res := send(t, http.MethodDelete, r.a.URL()+"/scim/v2/Users/"+uid, r.scim, ""); res.status != http.StatusNoContent {
		t.Fatalf("delete: %d %s", res.status, res.body)
	}
	if again := r.push(email); again == uid {
		t.Error("the uid is used again")
	}
	cookie := r.signIn(r.b, email)
	if res := send(t, http.MethodGet, r.b.URL()+"/api/v1/me/tokens", "", "", "Cookie", cookie); res.status != http.StatusOK || !strings.Contains(res.body, `"items":[]`) {
		t.Errorf("the tokens of before: %d %s", res.status, res.body)
	}
}

// field reads one text member of a JSON object.
func field(t *testing.T, body, name string) string {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal([]byte(body), &fields); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	v, ok := fields[name].(string)
	if !ok || v == "" {
		t.Fatalf("there is no %s in %s", name, body)
	}
	return v
}

func between(s, from, to string) string {
	_, rest, _ := strings.Cut(s, from)
	found, _, _ := strings.Cut(rest, to)
	return found
}
