package gateway

import (
	"context"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
	"github.com/prometheus/client_golang/prometheus"
)

func TestRequestIDsAreUUIDv7AndGrowWithTime(t *testing.T) {
	form := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	seen := map[string]bool{}
	now := time.Unix(1_700_000_000, 0)
	last := ""
	for i := range 1000 {
		id := newRequestID(now.Add(time.Duration(i) * time.Millisecond))
		if !form.MatchString(id) || seen[id] || id <= last {
			t.Fatalf("id %s after %s", id, last)
		}
		seen[id], last = true, id
	}
}

func TestTraceIDIsTakenFromAWellFormedTraceparentOnly(t *testing.T) {
	const id = "4bf92f3577b34da6a3ce929d0e0e4736"
	for v, want := range map[string]string{
		"00-" + id + "-00f067aa0ba902b7-01":                      id,
		"00-" + strings.ToUpper(id) + "-00f067aa0ba902b7-01":     "",
		"00-" + strings.Repeat("0", 32) + "-00f067aa0ba902b7-01": "",
		"x": "", "": "",
	} {
		if got := traceID([]string{v}); got != want {
			t.Errorf("%s: %q", v, got)
		}
	}
}

func TestPanicIsAnErrorWithAnID(t *testing.T) {
	w := newWorld(t, nil, func(o *Options, _ *[]*v1.ProviderAccount) { o.Keys = panics{} })
	a := w.call(http.MethodPost, "/v1/chat/completions", "member", chat("main/gpt"))
	a.must(t, 500, a.header.Get("X-Request-Id"), "internal error")
	if rec := w.book.last(t); rec.Status != 500 {
		t.Errorf("record: %+v", rec)
	}
}

type panics struct{}

func (panics) Key(*snapshot.Account) (string, error) { panic("a bug") }

func TestMetricsCountRequestsTokensAndRunningCalls(t *testing.T) {
	reg := prometheus.NewRegistry()
	w := newWorld(t, nil, func(o *Options, _ *[]*v1.ProviderAccount) { o.Metrics = reg })
	w.call(http.MethodPost, "/v1/chat/completions", "member", chat("echo/echo")).must(t, 200)
	w.call(http.MethodPost, "/v1/chat/completions", "member", chat("a-name-that-a-caller-made-up/x")).must(t, 403)
	w.book.last(t)
	w.book.last(t)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, f := range families {
		text.WriteString(f.String())
	}
	for _, want := range []string{"gatehouse_gateway_requests_total", "gatehouse_gateway_tokens_total", "gatehouse_gateway_running_requests", `"echo"`, `"403"`} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	if strings.Contains(text.String(), "made-up") {
		t.Error("a caller's text became a label")
	}
}

// plain is an Authenticator that cannot recheck.
type plain struct{ *people }

func (plain) Recheck() {}

func TestWithoutRecheckARunningStreamEndsWithItsModel(t *testing.T) {
	gone := make(chan time.Time, 1)
	w := newWorld(t, endless(gone), func(o *Options, _ *[]*v1.ProviderAccount) {
		o.Authenticator = plain{o.Authenticator.(*people)}
	})
	resp := w.stream(context.Background(), "/v1/chat/completions", "member", "main/gpt")
	defer func() { _ = resp.Body.Close() }()
	w.publish()
	if n := w.gateway.Running(); n != 1 {
		t.Fatalf("%d running", n)
	}
	w.accounts = w.accounts[1:]
	w.publish()
	<-gone
	w.book.last(t)
}

func TestTokensOfOursAreTouched(t *testing.T) {
	w := newWorld(t, nil, nil)
	w.people.tokens["narrow"] = person{subjects: []identity.Subject{identity.Everyone}, grant: identity.Grant{TokenID: "tok-1"}}
	w.call(http.MethodPost, "/v1/chat/completions", "narrow", chat("echo/echo")).must(t, 200)
	w.call(http.MethodPost, "/v1/chat/completions", "member", chat("echo/echo")).must(t, 200)
	if len(w.book.touched) != 1 || w.book.touched[0] != "tok-1" {
		t.Errorf("touched %v", w.book.touched)
	}
}

func TestEmptyConfigurationPermitsNothing(t *testing.T) {
	w := newWorld(t, nil, nil)
	w.shelf.put(emptySnapshot())
	if a := w.call(http.MethodGet, "/v1/models", "member", ""); a.body != `{"data":[],"object":"list"}` {
		t.Errorf("an empty configuration lists %s", a.body)
	}
	w.call(http.MethodPost, "/v1/chat/completions", "admin", chat("main/gpt")).must(t, 403, "model_not_permitted")
}

func emptySnapshot() *snapshot.Snapshot {
	return snapshot.NewBuilder(nil).Build(identity.Head{Epoch: "e", Revision: 99})
}
