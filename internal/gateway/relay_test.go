package gateway

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

const firstEvent = "data: {\"n\":1}\n\n"

// endless streams one event and then waits for its caller to go.
func endless(gone chan<- time.Time) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, firstEvent)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		gone <- time.Now()
	}
}

// stream starts a call and returns when its first event is there.
func (w *world) stream(ctx context.Context, path, who, model string) *http.Response {
	w.t.Helper()
	resp, err := w.start(ctx, http.MethodPost, path, who, strings.NewReader(chat(model)))
	if err != nil {
		w.t.Fatal(err)
	}
	b := make([]byte, len(firstEvent))
	if _, err := io.ReadFull(resp.Body, b); err != nil || string(b) != firstEvent {
		w.t.Fatalf("first event %q, %v", b, err)
	}
	return resp
}

func TestCallersAbortCancelsUpstreamAtOnce(t *testing.T) {
	gone := make(chan time.Time, 1)
	w := newWorld(t, endless(gone), nil)
	ctx, cancel := context.WithCancel(context.Background())
	resp := w.stream(ctx, "/v1/chat/completions", "member", "main/gpt")
	at := time.Now()
	cancel()
	if after := (<-gone).Sub(at); after > 100*time.Millisecond {
		t.Errorf("upstream was cancelled after %s", after)
	}
	_ = resp.Body.Close()
	if rec := w.book.last(t); rec.Code != "client_gone" || rec.Status != 200 {
		t.Errorf("record: %+v", rec)
	}
}

func TestAccessThatGoesCutsRunningStreams(t *testing.T) {
	for _, c := range []struct {
		name, path, model, event string
		change                   func(*world)
	}{
		{"token revoked", "/v1/chat/completions", "main/gpt", `"code":"invalid_token"`, func(w *world) { w.people.remove("member") }},
		{"role taken away", "/v1/messages", "claude/sonnet", "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"permission_error\"", func(w *world) {
			for _, a := range w.accounts {
				a.Spec.Collaborators = nil
			}
		}},
		{"model switched off", "/v1/responses", "main/gpt", `"code":"model_not_permitted"`, func(w *world) {
			off := false
			a := *w.accounts[0]
			a.Spec.Models = append([]v1.Model(nil), a.Spec.Models...)
			a.Spec.Models[0].Enabled = &off
			w.accounts[0] = &a
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			gone := make(chan time.Time, 1)
			w := newWorld(t, endless(gone), nil)
			resp := w.stream(context.Background(), c.path, "member", c.model)
			w.publish() // a change that touches nothing of theirs
			select {
			case <-gone:
				t.Fatal("a change that does not matter cut the stream")
			case <-time.After(50 * time.Millisecond):
			}
			c.change(w)
			w.publish()
			<-gone
			rest, err := io.ReadAll(resp.Body)
			if !strings.Contains(string(rest), c.event) || err == nil {
				t.Errorf("the stream ended with %q, %v", rest, err)
			}
			_ = resp.Body.Close()
			w.book.last(t)
		})
	}
}

// A snapshot that is announced while a request is on its way from its decision
// to the list of running calls must not be missed.
func TestAccessThatGoesBetweenDecisionAndDispatchIsSeen(t *testing.T) {
	var up seen
	w := newWorld(t, up.handler(okJSON(`{}`)), nil)
	old := w.shelf.Load()
	w.people.remove("nothing")
	for _, a := range w.accounts {
		a.Spec.Collaborators = nil
	}
	w.publish()
	w.shelf.put(old) // as if the request had loaded it before the publish
	w.call(http.MethodPost, "/v1/chat/completions", "member", chat("echo/echo")).must(t, 403, "model_not_permitted")
}

// hijack reads a request, sends something, and hangs up.
func hijack(send string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, send)
		_ = conn.Close()
	}
}

func TestUpstreamFailures(t *testing.T) {
	for _, c := range []struct {
		name     string
		upstream http.Handler
		status   int
		code     string
	}{
		{"dead", nil, 502, "upstream_unreachable"},
		{"hangs up", hijack(""), 502, "upstream_broke"},
		{"header without body", hijack("HTTP/1.1 200 OK\r\nContent-Length: 10\r\nContent-Type: application/json\r\n\r\n"), 502, "upstream_broke"},
		{"redirects", http.RedirectHandler("http://169.254.169.254/", http.StatusTemporaryRedirect), 502, "upstream_broke"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, c.upstream, nil)
			a := w.call(http.MethodPost, "/v1/chat/completions", "member", chat("main/gpt"))
			a.must(t, c.status, c.code)
			if a.header.Get("Location") != "" {
				t.Error("the redirect was passed on")
			}
			if rec := w.book.last(t); rec.Code != c.code || rec.Status != c.status {
				t.Errorf("record: %+v", rec)
			}
		})
	}
	t.Run("in the middle of a stream", func(t *testing.T) {
		w := newWorld(t, hijack("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"+"data: {}\n\n"), nil)
		w.call(http.MethodPost, "/v1/chat/completions", "member", chat("main/gpt")).must(t, 200, "data: {}\n\n")
		w = newWorld(t, hijack("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\na\r\ndata: {}\n\n\r\n"), nil)
		resp, err := w.start(context.Background(), http.MethodPost, "/v1/chat/completions", "member", strings.NewReader(chat("main/gpt")))
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err == nil || !strings.Contains(string(b), `"code":"upstream_broke"`) {
			t.Errorf("the caller sees %q, %v", b, err)
		}
	})
	t.Run("in the middle of a body", func(t *testing.T) {
		w := newWorld(t, hijack("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"a\":"), nil)
		resp, err := w.start(context.Background(), http.MethodPost, "/v1/chat/completions", "member", strings.NewReader(chat("main/gpt")))
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			_ = resp.Body.Close()
		}
		if err == nil {
			t.Error("half an answer looks whole")
		}
	})
}

func TestUpstreamErrorsKeepStatusBodyAndRetryAfter(t *testing.T) {
	for _, status := range []int{400, 404, 409, 422, 429, 500, 503, 529} {
		w := newWorld(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "17")
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_, _ = fmt.Fprintf(w, `{"error":{"message":"status %d"}}`, status)
		}), nil)
		a := w.call(http.MethodPost, "/v1/chat/completions", "member", chat("main/gpt"))
		if a.status != status || a.body != fmt.Sprintf(`{"error":{"message":"status %d"}}`, status) || a.header.Get("Retry-After") != "17" {
			t.Errorf("%d: %v", status, a)
		}
	}
}

func TestBodyOver25MiBIsRefusedBeforeItIsRead(t *testing.T) {
	var up seen
	w := newWorld(t, up.handler(okJSON(`{}`)), nil)
	conn, err := net.Dial("tcp", w.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = fmt.Fprintf(conn, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer member\r\nContent-Length: %d\r\n\r\n{", 30<<20)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil) // nothing of the body has been sent
	if err != nil || resp.StatusCode != 413 {
		t.Fatalf("%v, %v", resp, err)
	}
	_ = resp.Body.Close()
	small := newWorld(t, up.handler(okJSON(`{}`)), func(o *Options, _ *[]*v1.ProviderAccount) { o.MaxBody = 100 << 10 })
	body, kind := form(t, "main/gpt", strings.Repeat("x", 200<<10))
	for _, c := range []struct{ path, body, kind string }{{"/v1/chat/completions", body, "application/json"}, {"/v1/audio/translations", body, kind}} {
		// Of unknown length: sent in chunks.
		resp, err := small.start(context.Background(), http.MethodPost, c.path, "member", io.MultiReader(strings.NewReader(c.body)), "Content-Type", c.kind)
		if err != nil {
			t.Fatal(err)
		}
		if _, _ = io.Copy(io.Discard, resp.Body); resp.StatusCode != 413 || !resp.Close {
			t.Errorf("%s: %d, close %v", c.path, resp.StatusCode, resp.Close)
		}
		_ = resp.Body.Close()
	}
	if up.count != 0 {
		t.Error("a body that is too large was forwarded")
	}
}

// An upstream that answers before it has read the request must not break the
// stream, however often it happens.
func TestUpstreamThatAnswersAtOnceCutsNoStream(t *testing.T) {
	streams := 2000
	if testing.Short() {
		streams = 200
	}
	const whole = firstEvent + "data: [DONE]\n\n"
	w := newWorld(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, firstEvent)
		_ = http.NewResponseController(w).Flush()
		_, _ = io.WriteString(w, "data: [DONE]\n\n")
	}), nil)
	body := `{"model":"main/gpt","pad":"` + strings.Repeat("x", 20<<10) + `"}`
	work := make(chan struct{}, streams)
	for range streams {
		work <- struct{}{}
	}
	close(work)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range work {
				if a := w.call(http.MethodPost, "/v1/chat/completions", "member", body); a.body != whole {
					t.Errorf("a stream was cut: %d %q", a.status, a.body)
				}
			}
		})
	}
	wg.Wait()
}

func TestDrainRefusesNewRequestsAndLetsRunningOnesEnd(t *testing.T) {
	release := make(chan struct{})
	w := newWorld(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, firstEvent)
		_ = http.NewResponseController(w).Flush()
		<-release
		_, _ = io.WriteString(w, "data: [DONE]\n\n")
	}), nil)
	resp := w.stream(context.Background(), "/v1/chat/completions", "member", "main/gpt")
	w.gateway.Drain()
	a := w.call(http.MethodPost, "/v1/chat/completions", "member", chat("main/gpt"))
	a.must(t, 503, string(identity.CodeDraining))
	if n := w.gateway.Running(); n != 1 {
		t.Errorf("%d running", n)
	}
	close(release)
	if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "data: [DONE]\n\n" {
		t.Errorf("the running stream ended with %q, %v", b, err)
	}
	_ = resp.Body.Close()
}
