package h1

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/testkit/testcert"
)

// never is an Otherwise that nothing may reach.
type never struct{ t *testing.T }

func (n never) RoundTrip(r *http.Request) (*http.Response, error) {
	n.t.Errorf("%s %s went the other way", r.Method, r.URL)
	return nil, errors.New("the other way")
}

// dials counts the connections that were opened.
type dials struct{ n atomic.Int32 }

func (d *dials) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	d.n.Add(1)
	var nd net.Dialer
	return nd.DialContext(ctx, network, addr)
}

func transport(t *testing.T, opt Options) (*Transport, *dials) {
	t.Helper()
	d := &dials{}
	if opt.Dial == nil {
		opt.Dial = d.dial
	}
	if opt.Otherwise == nil {
		opt.Otherwise = never{t}
	}
	tr := New(opt)
	t.Cleanup(tr.CloseIdleConnections)
	return tr, d
}

// listen serves every connection by a function, which need not close it. All are
// closed, and the functions waited for, when the test ends.
func listen(t *testing.T, serve func(net.Conn)) (address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			wg.Go(func() {
				defer func() { _ = c.Close() }()
				serve(c)
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		mu.Lock()
		for _, c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return ln.Addr().String()
}

// serveConns answers the requests of each connection by the handler given: it
// sees the parsed request and writes raw bytes to what wrap has made of the
// connection. Returning false closes the connection.
func serveConns(t *testing.T, wrap func(net.Conn) net.Conn, handle func(n int, r *http.Request, body string, c net.Conn) bool) (address string) {
	t.Helper()
	var n atomic.Int32
	return listen(t, func(raw net.Conn) {
		c := wrap(raw)
		br := bufio.NewReader(c)
		for {
			r, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			body, err := io.ReadAll(r.Body)
			if err != nil || !handle(int(n.Add(1)), r, string(body), c) {
				return
			}
		}
	})
}

// script is a server of serveConns in the clear.
func script(t *testing.T, handle func(n int, r *http.Request, body string, c net.Conn) bool) (url string) {
	t.Helper()
	return "http://" + serveConns(t, func(c net.Conn) net.Conn { return c }, handle)
}

// tlsScript is a script over TLS, and the settings of a client that trusts it.
func tlsScript(t *testing.T, handle func(n int, c *tls.Conn, raw *grouped) bool) (url string, client *tls.Config) {
	t.Helper()
	server, client := certified()
	server.DynamicRecordSizingDisabled = true
	wrap := func(c net.Conn) net.Conn { return tls.Server(&grouped{Conn: c}, server) }
	return "https://" + serveConns(t, wrap, func(n int, _ *http.Request, _ string, c net.Conn) bool {
		secured := c.(*tls.Conn)
		return handle(n, secured, secured.NetConn().(*grouped))
	}), client
}

// certified are the settings of a server on loopback, and of a client that
// trusts it.
func certified() (server, client *tls.Config) {
	ca := testcert.NewCA("h1")
	return &tls.Config{Certificates: []tls.Certificate{ca.Server(1, "127.0.0.1").TLS()}}, &tls.Config{RootCAs: ca.Pool()}
}

// grouped holds writes back until flush, so that several records leave in one segment.
type grouped struct {
	net.Conn
	hold bool
	buf  []byte
}

func (g *grouped) Write(b []byte) (int, error) {
	if g.hold {
		g.buf = append(g.buf, b...)
		return len(b), nil
	}
	return g.Conn.Write(b)
}

func (g *grouped) flush() {
	g.hold = false
	_ = g.SetWriteDeadline(time.Time{})
	_, _ = g.Conn.Write(g.buf)
	g.buf = nil
}

type closes struct {
	io.Reader
	closed *bool
}

func (c *closes) Close() error {
	*c.closed = true
	return nil
}

// interrupter is a context that does what the gateway's own does.
type interrupter struct {
	context.Context
	mu  sync.Mutex
	cut func()
}

func (i *interrupter) Attach(f func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.cut = f
}

func (i *interrupter) Detach() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	had := i.cut != nil
	i.cut = nil
	return had
}

func (i *interrupter) end(cancel func()) {
	cancel()
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.cut != nil {
		i.cut()
		i.cut = nil
	}
}

func post(ctx context.Context, url, body string) *http.Request {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	return r
}

// got is what a request comes to.
type got struct {
	Status int
	Body   string
	Err    string
}

func do(tr http.RoundTripper, r *http.Request) got {
	resp, err := tr.RoundTrip(r)
	if err != nil {
		return got{Err: err.Error()}
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	g := got{Status: resp.StatusCode, Body: string(b)}
	if err != nil {
		g.Err = err.Error()
	}
	return g
}

const okay = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
