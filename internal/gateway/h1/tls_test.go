package h1

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const readerPoison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"

// Bytes after the answer in a TLS record of their own, in the same segment.
func TestSecurityASecondTLSRecordIsNobodysAnswer(t *testing.T) {
	url, cfg := tlsScript(t, func(n int, c *tls.Conn, raw *grouped) bool {
		if n == 1 {
			raw.hold = true
			_, _ = io.WriteString(c, okay)
			_, _ = io.WriteString(c, readerPoison)
			raw.flush()
			return true
		}
		_, err := io.WriteString(c, okay)
		return err == nil
	})
	tr, d := transport(t, Options{TLS: cfg})
	for i := range 2 {
		if g := do(tr, post(t.Context(), url, "x")); g != (got{200, "ok", ""}) {
			t.Errorf("request %d over %d connections: %+v", i, d.n.Load(), g)
		}
	}
}

// Bytes after the answer in the same TLS record, with a body that is read past
// the buffer.
func TestSecurityTheRestOfATLSRecordIsNobodysAnswer(t *testing.T) {
	big := strings.Repeat("b", 9000)
	url, cfg := tlsScript(t, func(n int, c *tls.Conn, raw *grouped) bool {
		if n == 1 {
			_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(big))
			_, _ = io.WriteString(c, big+readerPoison)
			return true
		}
		_, err := io.WriteString(c, okay)
		return err == nil
	})
	tr, d := transport(t, Options{TLS: cfg})
	for i := range 2 {
		resp, err := tr.RoundTrip(post(t.Context(), url, "x"))
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 32<<10) // as the relay reads
		n := 0
		for err == nil {
			var m int
			m, err = resp.Body.Read(b[n:])
			n += m
		}
		_ = resp.Body.Close()
		if s := string(b[:n]); s != big && s != "ok" || i == 1 && s != "ok" {
			t.Errorf("request %d over %d connections: %.20q", i, d.n.Load(), s)
		}
	}
}

// A farewell of TLS without the end of TCP, with the answer or later.
func TestATLSFarewellEndsTheConnection(t *testing.T) {
	for _, same := range []bool{true, false} {
		t.Run(fmt.Sprint(same), func(t *testing.T) {
			sent := make(chan struct{}, 8)
			url, cfg := tlsScript(t, func(n int, c *tls.Conn, raw *grouped) bool {
				raw.hold = same
				_, _ = io.WriteString(c, okay)
				_ = c.CloseWrite()
				if same {
					raw.flush()
				}
				sent <- struct{}{}
				return true
			})
			tr, d := transport(t, Options{TLS: cfg})
			for i := range 3 {
				if g := do(tr, post(t.Context(), url, "x")); g != (got{200, "ok", ""}) {
					t.Errorf("request %d over %d connections: %+v", i, d.n.Load(), g)
				}
				<-sent
			}
		})
	}
}

// A connection behind a wrapper cannot be looked at, and is not used again.
type wrapped struct{ net.Conn }

func TestSecurityAConnectionThatCannotBeLookedAtIsNotUsedAgain(t *testing.T) {
	read, wrote := make(chan struct{}), make(chan struct{})
	url := script(t, func(n int, _ *http.Request, _ string, c net.Conn) bool {
		_, err := io.WriteString(c, okay)
		if n == 1 {
			<-read
			_, err = io.WriteString(c, readerPoison)
			close(wrote)
		}
		return err == nil
	})
	tr, d := transport(t, Options{Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		return wrapped{c}, err
	}})
	for i := range 2 {
		if g := do(tr, post(t.Context(), url, "x")); g != (got{200, "ok", ""}) {
			t.Errorf("request %d over %d: %+v", i, d.n.Load(), g)
		}
		if i == 0 {
			close(read)
			<-wrote
		}
	}
}

func TestHostsAreWrittenAsNetHTTPWritesThem(t *testing.T) {
	var dialled, host string
	url := script(t, func(_ int, r *http.Request, _ string, c net.Conn) bool {
		host = r.Host
		_, err := io.WriteString(c, okay)
		return err == nil
	})
	addr := strings.TrimPrefix(url, "http://")
	dial := func(ctx context.Context, network, a string) (net.Conn, error) {
		dialled = a
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}
	theirs := &http.Transport{DialContext: dial}
	defer theirs.CloseIdleConnections()
	ours, _ := transport(t, Options{Dial: dial, Otherwise: theirs})
	for _, h := range []string{"bücher.example", "BÜCHER.example:8080", "api.example.", "API.Example", "[fd00::1%25eth0]:80", "[fd00::1]", "api.example:"} {
		dialled, host = "", ""
		w := do(theirs, post(t.Context(), "http://"+h+"/v1", "x"))
		wd, wh := dialled, host
		dialled, host = "", ""
		theirs.CloseIdleConnections()
		o := do(ours, post(t.Context(), "http://"+h+"/v1", "x"))
		ours.CloseIdleConnections()
		if o != w || wd != dialled || wh != host {
			t.Errorf("%s:\n ours %+v dialled %q Host %q\n net/http %+v dialled %q Host %q", h, o, dialled, host, w, wd, wh)
		}
	}
}

func TestAProviderThatSpeaksHTTP2AloneIsAskedTheOtherWay(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %s", r.Proto, b)
	}))
	srv.EnableHTTP2 = true
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.TLS = &tls.Config{NextProtos: []string{"h2"}}
	srv.StartTLS()
	defer srv.Close()
	only := srv.TLS.Clone()
	only.NextProtos = []string{"h2"}
	srv.TLS.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if !slices.Contains(hello.SupportedProtos, "h2") {
			return nil, errors.New("no common protocol") // an alert to the client
		}
		return only, nil
	}
	cfg := srv.Client().Transport.(*http.Transport).TLSClientConfig
	other := &http.Transport{TLSClientConfig: cfg.Clone(), ForceAttemptHTTP2: true}
	defer other.CloseIdleConnections()
	tr, dialled := transport(t, Options{TLS: cfg, Otherwise: other})
	for range 3 {
		if g := do(tr, post(t.Context(), srv.URL, "x")); g.Status != 200 || g.Body != "HTTP/2.0 x" {
			t.Errorf("%+v", g)
		}
	}
	if len(tr.others) != 1 || dialled.n.Load() != 1 {
		t.Errorf("%d hosts are known to speak HTTP/2 alone, after %d attempts", len(tr.others), dialled.n.Load())
	}
}

// The provider answers after the header and reads nothing of the body.
func TestAnAnswerIsReadThoughTheRequestIsNot(t *testing.T) {
	quit := make(chan struct{})
	address := listen(t, func(c net.Conn) {
		_ = c.(*net.TCPConn).SetReadBuffer(4 << 10)
		_, _ = c.Read(make([]byte, 64))
		_, _ = io.WriteString(c, "HTTP/1.1 429 Slow\r\nContent-Length: 2\r\n\r\nno")
		<-quit
	})
	defer close(quit)
	theirs := &http.Transport{}
	defer theirs.CloseIdleConnections()
	for name, rt := range map[string]http.RoundTripper{"net/http": theirs, "h1": func() http.RoundTripper { tr, _ := transport(t, Options{}); return tr }()} {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		g := do(rt, post(ctx, "http://"+address, strings.Repeat("a", SmallBody)))
		cancel()
		if g.Status != 429 {
			t.Errorf("%s: %+v", name, g)
		}
	}
}

// A call that is cancelled while its request is being written over TLS.
func TestACancelledWriteOverTLSEndsAtOnce(t *testing.T) {
	stuck := make(chan struct{})
	server, client := certified()
	address := listen(t, func(c net.Conn) {
		_ = c.(*net.TCPConn).SetReadBuffer(2 << 10)
		_ = tls.Server(c, server).HandshakeContext(context.Background())
		<-stuck
	})
	defer close(stuck)
	tr, _ := transport(t, Options{TLS: client, Dial: func(ctx context.Context, n, a string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, n, a)
		if err == nil {
			_ = c.(*net.TCPConn).SetWriteBuffer(2 << 10)
		}
		return c, err
	}})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(300*time.Millisecond, cancel)
	at := time.Now()
	g := do(tr, post(ctx, "https://"+address, strings.Repeat("a", SmallBody)))
	if d := time.Since(at); d > 2*time.Second {
		t.Errorf("it took %v: %+v", d, g)
	}
}

// A truncated answer that is read on after its error.
func TestATruncatedAnswerDoesNotBecomeWholeByReadingOn(t *testing.T) {
	url := script(t, func(_ int, _ *http.Request, _ string, c net.Conn) bool {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
		return false
	})
	tr, _ := transport(t, Options{})
	resp, err := tr.RoundTrip(post(t.Context(), url, "x"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.ReadAll(resp.Body)
	_, again := resp.Body.Read(make([]byte, 1))
	_ = resp.Body.Close()
	tr.mu.Lock()
	defer tr.mu.Unlock()
	n := 0
	for _, l := range tr.idle {
		n += len(l)
	}
	if n != 0 {
		t.Errorf("a broken connection idles (%v, then %v)", err, again)
	}
}

func TestAStatusThatIsNoneIsRefused(t *testing.T) {
	for s, refused := range map[string]bool{"099 x": true, "000 x": true, "101 x": true, "199 x": false, "600 x": false, "999 x": false} {
		url := script(t, func(_ int, _ *http.Request, _ string, c net.Conn) bool {
			_, _ = io.WriteString(c, "HTTP/1.1 "+s+"\r\nContent-Length: "+fmt.Sprint(len(okay))+"\r\n\r\n"+okay)
			return false
		})
		tr, _ := transport(t, Options{})
		theirs := &http.Transport{}
		o, w := do(tr, post(t.Context(), url, "x")), do(theirs, post(t.Context(), url, "x"))
		theirs.CloseIdleConnections()
		if refused {
			w = got{}
		}
		if o.Status != w.Status || o.Body != w.Body || refused != (o.Err != "") {
			t.Errorf("%s: ours %+v, net/http %+v", s, o, w)
		}
	}
}

// All idle connections take a request and say nothing.
func TestARequestIsRepeatedOnceAtMost(t *testing.T) {
	var warm sync.WaitGroup
	const n = 20
	warm.Add(n)
	var reached atomic.Int32
	gate := make(chan struct{})
	url := script(t, func(_ int, r *http.Request, body string, c net.Conn) bool {
		if body == "warm" {
			warm.Done()
			<-gate
			_, err := io.WriteString(c, okay)
			return err == nil
		}
		reached.Add(1)
		return false
	})
	tr, _ := transport(t, Options{})
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() { _ = do(tr, post(t.Context(), url, "warm")) })
	}
	warm.Wait()
	close(gate)
	wg.Wait()
	r := post(t.Context(), url, "x")
	r.Header["Idempotency-Key"] = []string{"k"}
	g := do(tr, r)
	if reached.Load() > 2 {
		t.Errorf("executed %d times: %+v", reached.Load(), g)
	}
}

// With calls that are cut at random moments.
func TestSecurityEveryoneGetsTheirOwnAnswerOverTLS(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		for i := range b {
			_, _ = w.Write(b[i : i+1])
			if i%5 == 0 {
				w.(http.Flusher).Flush()
			}
		}
	}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	defer srv.Close()
	tr, _ := transport(t, Options{TLS: srv.Client().Transport.(*http.Transport).TLSClientConfig, MaxIdle: 4, IdleTimeout: 20 * time.Millisecond})
	var wg sync.WaitGroup
	var wrong, whole, cut atomic.Int32
	for w := range 16 {
		wg.Go(func() {
			for i := range 60 {
				want := fmt.Sprintf("caller %d, request %d", w, i)
				ctx, cancel := context.WithCancel(t.Context())
				var end func() = cancel
				if i%2 == 0 {
					in := &interrupter{Context: ctx}
					ctx, end = in, func() { in.end(cancel) }
				}
				if i%3 == 0 {
					time.AfterFunc(time.Duration(i*w)*20*time.Microsecond, end)
				}
				if g := do(tr, post(ctx, srv.URL, want)); g.Err == "" {
					whole.Add(1)
					if g.Body != want {
						wrong.Add(1)
					}
				} else {
					cut.Add(1)
				}
				end()
			}
		})
	}
	wg.Wait()
	t.Logf("whole %d, cut %d", whole.Load(), cut.Load())
	if wrong.Load() != 0 {
		t.Errorf("%d mixed", wrong.Load())
	}
}

// The beginning of a record with the answer; its rest comes when the next
// caller waits.
func TestSecurityHalfATLSRecordIsNobodysAnswer(t *testing.T) {
	url, cfg := tlsScript(t, func(n int, c *tls.Conn, raw *grouped) bool {
		raw.hold = true
		_, _ = io.WriteString(c, okay)
		if n > 1 {
			raw.flush()
			return true
		}
		whole := len(raw.buf)
		_, _ = io.WriteString(c, readerPoison)
		rest := slices.Clone(raw.buf[whole+7:])
		raw.buf = raw.buf[:whole+7]
		raw.flush()
		_, _ = c.NetConn().(*grouped).Conn.Read(make([]byte, 1<<10)) // the next request, if it comes here
		_, _ = raw.Conn.Write(rest)
		return false
	})
	tr, d := transport(t, Options{TLS: cfg})
	for i := range 2 {
		if g := do(tr, post(t.Context(), url, "x")); g != (got{200, "ok", ""}) || int(d.n.Load()) != i+1 {
			t.Errorf("request %d over %d connections: %+v", i, d.n.Load(), g)
		}
	}
}
