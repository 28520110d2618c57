package gateway

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// slow serves one call of the echo account in fake time and returns what came,
// how long it took, and whether the answer broke off.
func slow(t *testing.T, echo v1.Echo, who string, change func(*world), body string) (rec *httptest.ResponseRecorder, took time.Duration, broke bool) {
	t.Helper()
	w := &world{t: t, people: newPeople(), book: newBook(), shelf: &shelf{}, accounts: accounts("http://127.0.0.1:1")}
	w.accounts[5].Spec.Echo = &echo
	if change != nil {
		change(w)
	}
	w.gateway = New(Options{Snapshots: w.shelf, Authenticator: w.people, Recorder: w.book, Keys: keys{}})
	defer w.gateway.Close()
	w.publish()
	rec = httptest.NewRecorder()
	req := httptest.NewRequestWithContext(context.Background(), http.MethodPost, "/v1/chat/completions", strings.NewReader(body))
	req.Header.Set("Authorization", "Bearer "+who)
	start := time.Now()
	defer func() {
		took = time.Since(start)
		if p := recover(); p != nil {
			if p != http.ErrAbortHandler {
				panic(p)
			}
			broke = true
		}
	}()
	w.gateway.Handler().ServeHTTP(rec, req)
	return rec, time.Since(start), false
}

const streamed = `{"model":"echo/echo","stream":true,"messages":[{"role":"user","content":"one two three"}]}`

func TestFirstByteAfterALongTimeArrives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec, took, _ := slow(t, v1.Echo{Delay: "9m"}, "member", nil, chat("echo/echo"))
		if rec.Code != 200 || took < 9*time.Minute {
			t.Errorf("%d after %s: %s", rec.Code, took, rec.Body)
		}
	})
}

func TestSilentUpstreamIs504AfterTheFirstByteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec, took, _ := slow(t, v1.Echo{Delay: "30m"}, "member", nil, chat("echo/echo"))
		if rec.Code != 504 || !strings.Contains(rec.Body.String(), "upstream_timeout") || took < 10*time.Minute || took > 10*time.Minute+time.Second {
			t.Errorf("%d after %s: %s", rec.Code, took, rec.Body)
		}
		rec, took, _ = slow(t, v1.Echo{Delay: "30m"}, "member", func(w *world) { w.accounts[5].Spec.Timeouts.FirstByte = "31m" }, chat("echo/echo"))
		if rec.Code != 200 {
			t.Errorf("the account's own limit: %d after %s: %s", rec.Code, took, rec.Body)
		}
	})
}

func TestLongStreamIsNotCutAndASilentOneIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec, took, broke := slow(t, v1.Echo{ChunkDelay: "119s"}, "member", nil, streamed)
		if broke || !strings.HasSuffix(rec.Body.String(), "data: [DONE]\n\n") || took < 7*time.Minute {
			t.Errorf("after %s: %s", took, rec.Body)
		}
		rec, took, broke = slow(t, v1.Echo{ChunkDelay: "5m"}, "member", nil, streamed)
		if !broke || !strings.Contains(rec.Body.String(), `"code":"upstream_timeout"`) || took > 2*time.Minute+time.Second {
			t.Errorf("broke %v after %s: %s", broke, took, rec.Body)
		}
	})
}

func TestStreamEndsAnHourAfterItsCredential(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body := strings.Replace(streamed, "one two three", strings.Repeat("word ", 100), 1)
		rec, took, broke := slow(t, v1.Echo{ChunkDelay: "1m"}, "short", func(w *world) {
			w.people.tokens["short"] = person{subjects: []identity.Subject{identity.Everyone}, grant: identity.Grant{ExpiresAt: time.Now().Add(10 * time.Minute)}}
		}, body)
		if !broke || !strings.Contains(rec.Body.String(), `"code":"invalid_token"`) || took < 70*time.Minute || took > 70*time.Minute+time.Second {
			t.Errorf("broke %v after %s: %.200s", broke, took, rec.Body)
		}
	})
}
