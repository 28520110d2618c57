package h1

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAnswersAreReadAsNetHTTPReadsThem(t *testing.T) {
	for name, answer := range map[string]string{
		"length":             okay,
		"chunked":            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
		"trailer":            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n3\r\nabc\r\n0\r\nX: 1\r\n\r\n",
		"until the end":      "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it",
		"old version":        "HTTP/1.0 200 OK\r\n\r\nall of it",
		"no content":         "HTTP/1.1 204 No Content\r\n\r\n",
		"empty":              "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		"interim":            "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + okay,
		"error":              "HTTP/1.1 429 Slow\r\nRetry-After: 3\r\nContent-Length: 1\r\n\r\nx",
		"both framings":      "HTTP/1.1 200 OK\r\nContent-Length: 100\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
		"two lengths":        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
		"unknown coding":     "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nab",
		"negative length":    "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nab",
		"cut short":          "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab",
		"cut in a chunk":     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
		"not HTTP":           "SSH-2.0-OpenSSH\r\n\r\n",
		"folded field":       "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 1\r\n\r\nx",
		"field without name": "HTTP/1.1 200 OK\r\n: a\r\nContent-Length: 1\r\n\r\nx",
	} {
		t.Run(name, func(t *testing.T) {
			url := script(t, func(_ int, _ *http.Request, _ string, c net.Conn) bool {
				_, _ = io.WriteString(c, answer)
				return false
			})
			tr, _ := transport(t, Options{})
			theirs := &http.Transport{DisableCompression: true}
			defer theirs.CloseIdleConnections()
			ours, want := do(tr, post(t.Context(), url, "{}")), do(theirs, post(t.Context(), url, "{}"))
			if (ours.Err == "") != (want.Err == "") || ours.Status != want.Status || ours.Body != want.Body {
				t.Errorf("ours %+v\nnet/http's %+v", ours, want)
			}
		})
	}
}

func TestRequestsArriveAsTheyWereMeant(t *testing.T) {
	type seen struct {
		Method, Target, Host, Body string
		Header                     http.Header
		Length                     int64
	}
	var last seen
	url := script(t, func(_ int, r *http.Request, body string, c net.Conn) bool {
		last = seen{r.Method, r.RequestURI, r.Host, body, r.Header, r.ContentLength}
		_, err := io.WriteString(c, okay)
		return err == nil
	})
	host := strings.TrimPrefix(url, "http://")
	tr, dialled := transport(t, Options{})
	for _, c := range []struct {
		name string
		req  func() *http.Request
		want seen
	}{
		{"post", func() *http.Request {
			r := post(t.Context(), url+"/v1/a%2Fb?x=y%20z", `{"a":1}`)
			r.Header = http.Header{"Authorization": {"Bearer k"}, "X-Two": {"1", "2"}, "Content-Length": {"999"}, "Transfer-Encoding": {"chunked"}, "Host": {"evil"}}
			return r
		}, seen{"POST", "/v1/a%2Fb?x=y%20z", host, `{"a":1}`, http.Header{"Authorization": {"Bearer k"}, "X-Two": {"1", "2"}, "Content-Length": {"7"}}, 7}},
		{"get", func() *http.Request {
			r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
			return r
		}, seen{"GET", "/", host, "", http.Header{}, 0}},
		{"empty post", func() *http.Request {
			r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/x", http.NoBody)
			return r
		}, seen{"POST", "/x", host, "", http.Header{"Content-Length": {"0"}}, 0}},
		{"another host", func() *http.Request {
			r := post(t.Context(), url, "a")
			r.Host = "api.example.com"
			return r
		}, seen{"POST", "/", "api.example.com", "a", http.Header{"Content-Length": {"1"}}, 1}},
		{
			"the largest", func() *http.Request { return post(t.Context(), url, strings.Repeat("a", SmallBody)) },
			seen{"POST", "/", host, strings.Repeat("a", SmallBody), http.Header{"Content-Length": {fmt.Sprint(SmallBody)}}, SmallBody},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if g := do(tr, c.req()); g != (got{200, "ok", ""}) {
				t.Fatalf("%+v", g)
			}
			if diff := cmp.Diff(c.want, last); diff != "" {
				t.Error(diff)
			}
		})
	}
	if n := dialled.n.Load(); n != 1 {
		t.Errorf("%d connections for requests one after the other", n)
	}
}

func TestSecurityNothingSmugglesASecondRequest(t *testing.T) {
	reached := false
	url := script(t, func(_ int, _ *http.Request, _ string, c net.Conn) bool {
		reached = true
		_, err := io.WriteString(c, okay)
		return err == nil
	})
	tr, _ := transport(t, Options{})
	for name, change := range map[string]func(*http.Request){
		"value with a line feed":       func(r *http.Request) { r.Header["X"] = []string{"a\nY: b"} },
		"value with a carriage return": func(r *http.Request) { r.Header["X"] = []string{"a\rY: b"} },
		"value with a zero byte":       func(r *http.Request) { r.Header["X"] = []string{"a\x00b"} },
		"name with a colon":            func(r *http.Request) { r.Header["X: y\r\nZ"] = []string{"a"} },
		"name with a space":            func(r *http.Request) { r.Header["Content-Length "] = []string{"0"} },
		"empty name":                   func(r *http.Request) { r.Header[""] = []string{"0"} },
		"method":                       func(r *http.Request) { r.Method = "GET / HTTP/1.1\r\nX:" },
		"host":                         func(r *http.Request) { r.Host = "a\r\nX: y" },
		"query":                        func(r *http.Request) { r.URL.RawQuery = "a b HTTP/1.1\r\nX: y" },
		"opaque target":                func(r *http.Request) { r.URL.Opaque = "http://evil/" },
		"longer body":                  func(r *http.Request) { r.ContentLength = 1 },
		"shorter body":                 func(r *http.Request) { r.ContentLength = 3 },
	} {
		t.Run(name, func(t *testing.T) {
			closed := false
			r := post(t.Context(), url, "{}")
			r.Body = &closes{Reader: strings.NewReader("{}"), closed: &closed}
			change(r)
			if g := do(tr, r); g.Err == "" || g.Status != 0 {
				t.Errorf("%+v", g)
			}
			if !closed {
				t.Error("the body was left open")
			}
			if reached {
				t.Error("something was sent")
			}
		})
	}
}

func TestWhatDoesNotSuitGoesToNetHTTP(t *testing.T) {
	url := script(t, func(_ int, r *http.Request, body string, c net.Conn) bool {
		_, err := fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		return err == nil
	})
	other := &http.Transport{DisableCompression: true}
	tr, dialled := transport(t, Options{Otherwise: other})
	large := strings.Repeat("a", SmallBody+1)
	unknown := post(t.Context(), url, "x")
	unknown.Body, unknown.ContentLength = io.NopCloser(strings.NewReader("unknown length")), -1
	for name, c := range map[string]struct {
		req  *http.Request
		want string
	}{"large": {post(t.Context(), url, large), large}, "unknown": {unknown, "unknown length"}} {
		if g := do(tr, c.req); g != (got{200, c.want, ""}) {
			t.Errorf("%s: %d %.20q %s", name, g.Status, g.Body, g.Err)
		}
	}
	if dialled.n.Load() != 0 {
		t.Error("they went this way")
	}
}

func TestACancelledCallEndsAtOnceAndItsConnectionWithIt(t *testing.T) {
	for _, own := range []bool{false, true} {
		for _, part := range []string{"", "HTTP/1.1 200 OK\r\nContent-Le", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"} {
			t.Run(fmt.Sprintf("own context %v, after %d bytes", own, len(part)), func(t *testing.T) {
				arrived := make(chan struct{}, 1)
				url := script(t, func(n int, _ *http.Request, _ string, c net.Conn) bool {
					if n == 2 {
						_, _ = io.WriteString(c, part)
						arrived <- struct{}{}
						return true // and waits for the next request
					}
					_, err := io.WriteString(c, okay)
					return err == nil
				})
				tr, dialled := transport(t, Options{})
				_ = do(tr, post(t.Context(), url, "warm"))
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				end := cancel
				if own {
					i := &interrupter{Context: ctx}
					ctx, end = i, func() { i.end(cancel) }
				}
				done := make(chan got, 1)
				go func() { done <- do(tr, post(ctx, url, "x")) }()
				<-arrived
				end()
				select {
				case g := <-done:
					if g.Err != context.Canceled.Error() {
						t.Errorf("%+v", g)
					}
				case <-time.After(5 * time.Second):
					t.Fatal("it goes on")
				}
				if g := do(tr, post(t.Context(), url, "next")); g != (got{200, "ok", ""}) || dialled.n.Load() != 2 {
					t.Errorf("the next: %+v over connection %d", g, dialled.n.Load())
				}
			})
		}
	}
}

func TestSecurityEveryoneGetsTheirOwnAnswer(t *testing.T) {
	url := script(t, func(_ int, _ *http.Request, body string, c net.Conn) bool {
		_, err := fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body)
		return err == nil
	})
	tr, _ := transport(t, Options{MaxIdle: 8})
	var wg sync.WaitGroup
	var wrong, whole atomic.Int32
	for w := range 16 {
		wg.Go(func() {
			for i := range 100 {
				want := fmt.Sprintf("caller %d, request %d", w, i)
				ctx, cancel := context.WithCancel(t.Context())
				if i%7 == 0 {
					time.AfterFunc(time.Duration(i)*10*time.Microsecond, cancel)
				}
				if g := do(tr, post(ctx, url, want)); g.Err == "" {
					whole.Add(1)
					if g.Body != want {
						wrong.Add(1)
					}
				} else if ctx.Err() == nil {
					t.Errorf("%s: %s", want, g.Err)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	if wrong.Load() != 0 || whole.Load() < 16*85 {
		t.Errorf("%d answers were somebody else's, %d came whole", wrong.Load(), whole.Load())
	}
}

func TestAnAnswerThatIsNotReadToItsEndCostsItsConnection(t *testing.T) {
	url := script(t, func(_ int, _ *http.Request, _ string, c net.Conn) bool {
		_, err := io.WriteString(c, okay)
		return err == nil
	})
	tr, dialled := transport(t, Options{})
	for range 3 {
		resp, err := tr.RoundTrip(post(t.Context(), url, "x"))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if _, err := resp.Body.Read(make([]byte, 1)); !errors.Is(err, http.ErrBodyReadAfterClose) {
			t.Errorf("a read after Close: %v", err)
		}
	}
	if n := dialled.n.Load(); n != 3 {
		t.Errorf("%d connections", n)
	}
}

func TestOverTLSTheServerIsWhoItSaysAndSpeaksHTTP11(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %s", r.Proto, b)
	}))
	srv.EnableHTTP2 = true
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	defer srv.Close()
	trusted := srv.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	trusted.NextProtos = []string{"h2", "http/1.1"}
	tr, dialled := transport(t, Options{TLS: trusted})
	for range 3 {
		if g := do(tr, post(t.Context(), srv.URL, "hello")); g != (got{200, "HTTP/1.1 hello", ""}) {
			t.Errorf("%+v", g)
		}
	}
	if n := dialled.n.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
	stranger, _ := transport(t, Options{})
	if g := do(stranger, post(t.Context(), srv.URL, "hello")); !strings.Contains(g.Err, "certificate") {
		t.Errorf("without the CA: %+v", g)
	}
	named, _ := transport(t, Options{TLS: trusted, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, srv.Listener.Addr().String())
	}})
	if g := do(named, post(t.Context(), "https://other.test", "hello")); !strings.Contains(g.Err, "other.test") {
		t.Errorf("for another name: %+v", g)
	}
}

func TestThePolicyIsAskedBeforeAnythingIsDialled(t *testing.T) {
	tr, dialled := transport(t, Options{Proxy: httpsOnly})
	closed := false
	r := post(t.Context(), "http://127.0.0.1:1/", "x")
	r.Body = &closes{Reader: r.Body, closed: &closed}
	if g := do(tr, r); g.Err != errPolicy.Error() || dialled.n.Load() != 0 || !closed {
		t.Errorf("%+v, body closed: %v", g, closed)
	}
	tr, _ = transport(t, Options{Dial: func(context.Context, string, string) (net.Conn, error) { return nil, errPolicy }})
	if _, err := tr.RoundTrip(post(t.Context(), "http://127.0.0.1:1/", "x")); !errors.Is(err, errPolicy) {
		t.Errorf("%v", err)
	}
}

// The answer of a server that does not wait for the request's end is read all
// the same, and what stays unread of the connection is not used again.
func TestAnEarlyRefusalIsRead(t *testing.T) {
	address := listen(t, func(c net.Conn) {
		_, _ = io.CopyN(io.Discard, c, 10)
		_, _ = io.WriteString(c, "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno")
		_ = c.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, c)
	})
	tr, _ := transport(t, Options{})
	for range 3 {
		if g := do(tr, post(t.Context(), "http://"+address, strings.Repeat("a", SmallBody))); g != (got{413, "no", ""}) {
			t.Errorf("%+v", g)
		}
	}
}
