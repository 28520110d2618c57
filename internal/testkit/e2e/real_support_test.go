//go:build real

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/testkit"
)

// wantStatus fails the test where an answer has another status, and returns it.
func wantStatus(t *testing.T, what string, res testkit.Response, status int) testkit.Response {
	t.Helper()
	if res.Status != status {
		t.Errorf("%s: status %d, want %d\n%v\n%s", what, res.Status, status, res.Header, res.Body)
	}
	return res
}

// wantUnauthorized is RFC 6750 section 3.1: invalid_token, in a challenge.
func wantUnauthorized(t *testing.T, what string, res testkit.Response) {
	t.Helper()
	wantStatus(t, what, res, http.StatusUnauthorized)
	if got := res.Header.Get("WWW-Authenticate"); !strings.HasPrefix(got, "Bearer") || !strings.Contains(got, `error="invalid_token"`) {
		t.Errorf("%s: WWW-Authenticate %q", what, got)
	}
}

// wantUnavailable is the answer where the cause is not the caller's.
func wantUnavailable(t *testing.T, what string, res testkit.Response) {
	t.Helper()
	wantStatus(t, what, res, http.StatusServiceUnavailable)
	if n, err := strconv.Atoi(res.Header.Get("Retry-After")); err != nil || n < 1 {
		t.Errorf("%s: Retry-After %q", what, res.Header.Get("Retry-After"))
	}
	if got := res.Header.Get("WWW-Authenticate"); got != "" {
		t.Errorf("%s: a 503 challenges: %q", what, got)
	}
}

// accountToken makes a token of a virtual account.
func accountToken(t *testing.T, g *testkit.Gatehouse, account string) string {
	t.Helper()
	secret, _ := newToken(t, g.URL(), g.Admin, "/api/v1/virtual-accounts/"+account+"/tokens", `{"name":"e2e"}`)
	return secret
}

// me is who a token is.
type me struct {
	Kind, Name, UID, Email string
	Admin                  bool
	Teams                  []struct{ Name, Source string }
}

func whoAmI(t *testing.T, g *testkit.Gatehouse, token string) (who me) {
	t.Helper()
	wantStatus(t, "/api/v1/me", g.Do(t, testkit.Request{Path: "/api/v1/me", Token: token}), http.StatusOK).JSON(t, &who)
	return who
}

// explain asks the administrator's question about a token, and returns the
// answer and all of its steps as text.
func explain(t *testing.T, g *testkit.Gatehouse, token, model string) (allowed bool, steps string) {
	t.Helper()
	body, err := json.Marshal(map[string]string{"token": token, "model": model})
	if err != nil {
		t.Fatal(err)
	}
	var out struct {
		Allowed bool
		Reason  string
		Steps   []identity.Step
	}
	wantStatus(t, "explain", g.Do(t, testkit.Request{Path: "/api/v1/access:explain", Token: g.Admin, Body: string(body)}), http.StatusOK).JSON(t, &out)
	var text strings.Builder
	for _, s := range out.Steps {
		fmt.Fprintln(&text, s.Stage, s.OK, s.Message)
	}
	return out.Allowed, text.String()
}

// wantDegraded waits until /readyz names an identity provider, and asks for 200
// all the same: requests are served.
func wantDegraded(t *testing.T, g *testkit.Gatehouse, provider string) {
	t.Helper()
	eventually(t, 10*time.Second, "/readyz names "+provider, func() bool {
		ready := send(t, http.MethodGet, g.OpsURL()+"/readyz", "", "")
		if ready.status != http.StatusOK {
			t.Fatalf("/readyz: %d %s", ready.status, ready.body)
		}
		var report struct {
			Degradations []struct{ Part, Name, Message string }
		}
		if err := json.Unmarshal([]byte(ready.body), &report); err != nil {
			t.Fatalf("/readyz: %v: %s", err, ready.body)
		}
		for _, d := range report.Degradations {
			if d.Part == "identity-provider" && d.Name == provider && d.Message != "" {
				return true
			}
		}
		return false
	})
}

// metric is one series of the operator's /metrics.
func metric(t *testing.T, g *testkit.Gatehouse, series string) float64 {
	t.Helper()
	lines := bufio.NewScanner(strings.NewReader(ops(t, g, "/metrics")))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), series+" "); ok {
			f, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatal(err)
			}
			return f
		}
	}
	t.Fatalf("no metric %s", series)
	return 0
}

// seen is one request as an upstream got it.
type seen struct {
	Method, Path, Query string
	Header              http.Header
	Status              int
	Valid               string // what the validator said of it
}

// witness stands before an upstream and remembers what it was sent.
type witness struct {
	URL string

	mu   sync.Mutex
	seen []seen
}

// before makes a witness of target. rewrite, where not nil, changes a request
// after it was seen, for an upstream with other paths.
func before(t *testing.T, target string, rewrite func(*http.Request)) *witness {
	t.Helper()
	to, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	w := &witness{}
	type key struct{}
	proxy := &httputil.ReverseProxy{
		FlushInterval: -1,
		Rewrite: func(p *httputil.ProxyRequest) {
			if rewrite != nil {
				rewrite(p.Out)
			}
			p.SetURL(to)
		},
		ModifyResponse: func(res *http.Response) error {
			s, ok := res.Request.Context().Value(key{}).(seen)
			if !ok {
				return fmt.Errorf("a request that was not seen")
			}
			s.Status, s.Valid = res.StatusCode, res.Header.Get("X-Steady-Request-Valid")
			w.add(s)
			return nil
		},
		ErrorHandler: func(rw http.ResponseWriter, r *http.Request, _ error) {
			s, _ := r.Context().Value(key{}).(seen)
			s.Status = http.StatusBadGateway
			w.add(s)
			rw.WriteHeader(http.StatusBadGateway)
		},
	}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		s := seen{Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Header: r.Header.Clone()}
		proxy.ServeHTTP(rw, r.WithContext(context.WithValue(r.Context(), key{}, s)))
	}))
	t.Cleanup(server.Close)
	w.URL = server.URL
	return w
}

func (w *witness) add(s seen) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = append(w.seen, s)
}

// all returns what was seen since the last time.
func (w *witness) all() []seen {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.seen
	w.seen = nil
	return all
}

// refused names the requests that the validator refused, each once.
func refused(all []seen) map[string]bool {
	set := map[string]bool{}
	for _, s := range all {
		if s.Valid == "false" || s.Status >= http.StatusBadRequest {
			set[fmt.Sprintf("%s %s: %d", s.Method, s.Path, s.Status)] = true
		}
	}
	return set
}
