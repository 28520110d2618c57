package h1

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestAnIdleConnectionThatWasClosedCostsNoRequest(t *testing.T) {
	closed := make(chan struct{}, 1)
	url := script(t, func(_ int, _ *http.Request, body string, c net.Conn) bool {
		_, _ = io.WriteString(c, okay)
		if body == "last" {
			_ = c.Close()
			closed <- struct{}{}
			return false
		}
		return true
	})
	tr, dialled := transport(t, Options{})
	for i := range 20 {
		if g := do(tr, post(t.Context(), url, "last")); g != (got{200, "ok", ""}) {
			t.Fatalf("request %d: %+v", i, g)
		}
		<-closed // the end has come before the next request
	}
	if n := dialled.n.Load(); n != 20 {
		t.Errorf("%d connections", n)
	}
}

func TestARequestIsSentTwiceOnlyWhereThatIsAsGoodAsOnce(t *testing.T) {
	for _, c := range []struct {
		name, method, key string
		want              int32
		ok                bool
	}{
		{"POST", http.MethodPost, "", 1, false},
		{"POST with an Idempotency-Key", http.MethodPost, "k", 2, true},
		{"GET", http.MethodGet, "", 2, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var reached atomic.Int32
			url := script(t, func(n int, r *http.Request, _ string, conn net.Conn) bool {
				if n == 1 { // warms the connection
					_, err := io.WriteString(conn, okay)
					return err == nil
				}
				if reached.Add(1) == 1 {
					return false // takes the request and says nothing
				}
				_, err := io.WriteString(conn, okay)
				return err == nil
			})
			tr, _ := transport(t, Options{})
			if g := do(tr, post(t.Context(), url, "warm")); g.Status != 200 {
				t.Fatalf("%+v", g)
			}
			r, _ := http.NewRequestWithContext(t.Context(), c.method, url, http.NoBody)
			if c.method == http.MethodPost {
				r = post(t.Context(), url, "x")
			}
			if c.key != "" {
				r.Header["Idempotency-Key"] = []string{c.key}
			}
			if g := do(tr, r); (g.Status == 200) != c.ok || reached.Load() != c.want {
				t.Errorf("%+v, and the server saw it %d times", g, reached.Load())
			}
		})
	}
}

func TestSecurityBytesThatNobodyAskedForAreNobodysAnswer(t *testing.T) {
	const poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
	for name, late := range map[string]bool{"with the answer": false, "after it": true} {
		t.Run(name, func(t *testing.T) {
			wrote := make(chan struct{}, 1)
			url := script(t, func(n int, _ *http.Request, _ string, c net.Conn) bool {
				if n > 1 {
					_, err := io.WriteString(c, okay)
					return err == nil
				}
				if !late {
					_, err := io.WriteString(c, okay+poison)
					wrote <- struct{}{}
					return err == nil
				}
				_, _ = io.WriteString(c, okay)
				_, err := io.WriteString(c, poison)
				wrote <- struct{}{}
				return err == nil
			})
			tr, dialled := transport(t, Options{})
			for range 2 {
				if g := do(tr, post(t.Context(), url, "x")); g != (got{200, "ok", ""}) {
					t.Fatalf("%+v", g)
				}
				if dialled.n.Load() == 1 {
					<-wrote
				}
			}
			if dialled.n.Load() != 2 {
				t.Error("the connection was used again")
			}
		})
	}
}

func TestSecurityAnAnswersHeaderIsBounded(t *testing.T) {
	for name, answer := range map[string]string{
		"one long":         "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a", 64<<10) + "\r\nContent-Length: 0\r\n\r\n",
		"many short":       "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: a\r\n", 16<<10) + "Content-Length: 0\r\n\r\n",
		"interim for ever": strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 100) + okay,
		"other protocol":   "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			url := script(t, func(_ int, _ *http.Request, _ string, c net.Conn) bool {
				_, err := io.WriteString(c, answer)
				return err == nil
			})
			tr, dialled := transport(t, Options{MaxHeader: 32 << 10})
			for i := range 2 {
				if g := do(tr, post(t.Context(), url, "x")); g.Status != 0 || g.Err == "" {
					t.Errorf("%d %s", g.Status, g.Err)
				}
				if int(dialled.n.Load()) != i+1 {
					t.Error("the connection was used again")
				}
			}
		})
	}
	t.Run("a body is not", func(t *testing.T) {
		long := strings.Repeat("b", 200<<10)
		url := script(t, func(_ int, _ *http.Request, _ string, c net.Conn) bool {
			_, err := fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(long), long)
			return err == nil
		})
		tr, _ := transport(t, Options{MaxHeader: 1 << 10})
		if g := do(tr, post(t.Context(), url, "x")); g.Body != long {
			t.Errorf("%d bytes, %s", len(g.Body), g.Err)
		}
	})
}

// pipes is a network in memory, so that time can be made up.
func pipes(wg *sync.WaitGroup, opened, closed *atomic.Int32) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		opened.Add(1)
		wg.Go(func() {
			defer closed.Add(1)
			br := bufio.NewReader(theirs)
			for {
				r, err := http.ReadRequest(br)
				if err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, r.Body)
				if _, err := io.WriteString(theirs, okay); err != nil {
					return
				}
			}
		})
		return ours, nil
	}
}

func TestConnectionsIdleForSoLongAndSoMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var wg sync.WaitGroup
		var opened, closed atomic.Int32
		tr, _ := transport(t, Options{Dial: pipes(&wg, &opened, &closed), quiet: func() bool { return true }, MaxIdle: 2, IdleTimeout: time.Minute})
		call := func() *http.Response {
			resp, err := tr.RoundTrip(post(t.Context(), "http://provider.test/", "x"))
			if err != nil {
				t.Fatal(err)
			}
			return resp
		}
		three := []*http.Response{call(), call(), call()}
		for _, r := range three {
			_, _ = io.ReadAll(r.Body)
		}
		synctest.Wait()
		if opened.Load() != 3 || closed.Load() != 1 {
			t.Errorf("%d opened, %d closed; two may idle", opened.Load(), closed.Load())
		}
		time.Sleep(40 * time.Second)
		_, _ = io.ReadAll(call().Body) // the youngest again
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if closed.Load() != 2 {
			t.Errorf("after a minute %d are closed", closed.Load())
		}
		time.Sleep(31 * time.Second) // the sweep passed before it was due, and is not back yet
		_, _ = io.ReadAll(call().Body)
		if opened.Load() != 4 {
			t.Error("a connection that idled for more than a minute was used")
		}
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		if opened.Load() != 4 || closed.Load() != 4 {
			t.Errorf("%d opened, %d closed", opened.Load(), closed.Load())
		}
		_, _ = io.ReadAll(call().Body)
		tr.CloseIdleConnections()
		wg.Wait()
		if closed.Load() != 5 {
			t.Errorf("CloseIdleConnections left %d", 5-closed.Load())
		}
	})
}

// counted counts the connections that are open.
type counted struct {
	net.Conn
	open *atomic.Int32
	once sync.Once
}

func (c *counted) Close() error {
	c.once.Do(func() { c.open.Add(-1) })
	return c.Conn.Close()
}

func TestWhateverFailsLeavesNothingOpen(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		whole  bool // whether the body is read
	}{
		"no answer":          {"", true},
		"half a header":      {"HTTP/1.1 200 OK\r\nX", true},
		"half a body":        {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx", true},
		"a body unread":      {okay, false},
		"announced as last":  {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", true},
		"bytes to follow":    {okay + "HTTP", true},
		"until it is closed": {"HTTP/1.1 200 OK\r\n\r\nok", true},
	} {
		t.Run(name, func(t *testing.T) {
			keeps := strings.Contains(c.answer, "ok") && c.answer != "HTTP/1.1 200 OK\r\n\r\nok"
			url := script(t, func(_ int, _ *http.Request, _ string, conn net.Conn) bool {
				_, err := io.WriteString(conn, c.answer)
				return err == nil && keeps
			})
			var open, dialled atomic.Int32
			tr, _ := transport(t, Options{Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
				nc, err := (&net.Dialer{}).DialContext(ctx, network, addr)
				dialled.Add(1)
				open.Add(1)
				return &counted{Conn: nc, open: &open}, err
			}})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			own := &interrupter{Context: ctx}
			for range 2 {
				r, _ := http.NewRequestWithContext(own, http.MethodGet, url, http.NoBody)
				if resp, err := tr.RoundTrip(r); err == nil {
					if c.whole {
						_, _ = io.ReadAll(resp.Body)
					}
					_ = resp.Body.Close()
				}
			}
			if open.Load() != 0 || dialled.Load() != 2 {
				t.Errorf("%d of %d connections are open", open.Load(), dialled.Load())
			}
			if own.Detach() {
				t.Error("the context would still cut a connection")
			}
		})
	}
}

func TestAnAnswerThatHasBegunIsNotAskedForAgain(t *testing.T) {
	var reached atomic.Int32
	url := script(t, func(n int, _ *http.Request, _ string, c net.Conn) bool {
		if n == 1 {
			_, err := io.WriteString(c, okay)
			return err == nil
		}
		reached.Add(1)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Le")
		return false
	})
	tr, _ := transport(t, Options{})
	for range 2 {
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
		_ = do(tr, r)
	}
	if reached.Load() != 1 {
		t.Errorf("it was asked for %d times", reached.Load())
	}
}
