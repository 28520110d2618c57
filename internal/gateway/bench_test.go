package gateway

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/authn"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

// raw is an upstream that allocates nothing per request: it reads as many
// bytes as its first request had and answers always the same.
type raw struct {
	ln   net.Listener
	wg   sync.WaitGroup
	mu   sync.Mutex
	conn []net.Conn
}

func newRaw(tb testing.TB, answer string) *raw {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	r := &raw{ln: ln}
	r.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			r.mu.Lock()
			r.conn = append(r.conn, c)
			r.mu.Unlock()
			r.wg.Go(func() { serveRaw(c, []byte(answer)) })
		}
	})
	tb.Cleanup(r.close)
	return r
}

func (r *raw) close() {
	_ = r.ln.Close()
	r.mu.Lock()
	for _, c := range r.conn {
		_ = c.Close()
	}
	r.mu.Unlock()
	r.wg.Wait()
}

var (
	headEnd = []byte("\r\n\r\n")
	lengthH = []byte("Content-Length: ")
)

func serveRaw(c net.Conn, answer []byte) {
	defer func() { _ = c.Close() }()
	buf := make([]byte, 256<<10)
	n := 0
	for {
		end := bytes.Index(buf[:n], headEnd)
		if end >= 0 {
			at := bytes.Index(buf[:end], lengthH)
			size := 0
			for i := at + len(lengthH); at >= 0 && buf[i] >= '0' && buf[i] <= '9'; i++ {
				size = size*10 + int(buf[i]-'0')
			}
			if n >= end+4+size {
				if _, err := c.Write(answer); err != nil {
					return
				}
				n = 0
				continue
			}
		}
		m, err := c.Read(buf[n:])
		if err != nil {
			return
		}
		n += m
	}
}

// client sends the same request over and over and reads the answer's end.
type client struct {
	conn    net.Conn
	request []byte
	mark    []byte
	buf     []byte
}

func newClient(tb testing.TB, addr, body, mark string) *client {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	head := "POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer member\r\nContent-Type: application/json\r\n" +
		"User-Agent: bench\r\nAccept: */*\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n"
	return &client{conn: conn, request: []byte(head + body), mark: []byte(mark), buf: make([]byte, 64<<10)}
}

func (c *client) do(tb testing.TB) {
	if _, err := c.conn.Write(c.request); err != nil {
		tb.Fatal(err)
	}
	n := 0
	for {
		m, err := c.conn.Read(c.buf[n:])
		if err != nil {
			tb.Fatal(err)
		}
		if n += m; bytes.HasSuffix(c.buf[:n], c.mark) {
			if !bytes.HasPrefix(c.buf[:n], []byte("HTTP/1.1 200")) {
				tb.Fatalf("answer: %s", c.buf[:n])
			}
			return
		}
	}
}

// fixed authenticates everybody as one caller, as a warm cache does.
type fixed struct{ caller authn.Caller }

func (f *fixed) Authenticate(context.Context, *snapshot.Snapshot, authn.Credential) (authn.Caller, error) {
	return f.caller, nil
}

func (f *fixed) Recheck(*snapshot.Snapshot, authn.Caller) (authn.Caller, error) { return f.caller, nil }

type drop struct{}

func (drop) Add(*record.Request)                  {}
func (drop) TouchToken(string, time.Time, string) {}

// serveGateway starts a gateway before an upstream, and returns its address.
func serveGateway(tb testing.TB, upstream string) string {
	everyone := []identity.Subject{identity.Everyone}
	list := accounts("http://" + upstream)
	rows := &identity.Rows{}
	for _, a := range list {
		rows.Resources = append(rows.Resources, v1.Resource(a))
	}
	b := snapshot.NewBuilder(nil)
	b.Add(rows)
	s := b.Build(identity.Head{Epoch: "e", Revision: 1})
	who := &fixed{authn.Caller{
		Principal: &identity.Principal{Kind: identity.KindUser, UID: "u", Subjects: everyone, SubjectIDs: s.Intern(everyone)},
		Grant:     &identity.Grant{Via: "jwt", ExpiresAt: time.Now().Add(time.Hour)}, Snapshot: s,
	}}
	g := New(Options{Snapshots: &shelf{s: s}, Authenticator: who, Recorder: drop{}, Keys: keys{}})
	g.Reconcile(nil, s)
	return serve(tb, g.Handler(), g.Close)
}

func serve(tb testing.TB, h http.Handler, then func()) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	srv := &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(ln)
	}()
	tb.Cleanup(func() {
		_ = srv.Close()
		<-done
		then()
	})
	return ln.Addr().String()
}

// serveBare is the yardstick: a stock ReverseProxy that does nothing.
func serveBare(tb testing.TB, upstream string) string {
	target := &url.URL{Scheme: "http", Host: upstream}
	tr := &http.Transport{MaxIdleConnsPerHost: 512, DisableCompression: true}
	pool := &bufferPool{}
	return serve(tb, &httputil.ReverseProxy{
		Rewrite:    func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Header["Authorization"] = []string{"Bearer x"} },
		Transport:  tr,
		BufferPool: pool,
	}, tr.CloseIdleConnections)
}

type bufferPool struct{ buffers }

func (p *bufferPool) Get() []byte  { return *p.get() }
func (p *bufferPool) Put(b []byte) { p.put(&b) }

const completion = `{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"gpt-4o-2024-11-20","choices":[{"index":0,"message":{"role":"assistant","content":"Hello! How can I help?"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":9,"total_tokens":18}}`

func jsonAnswer() string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: Sun, 22 Nov 2026 00:00:00 GMT\r\nContent-Length: %d\r\n\r\n%s", len(completion), completion)
}

// streamAnswer is a stream of 50 chunks.
func streamAnswer() string {
	var b strings.Builder
	b.WriteString("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
	for i := range 50 {
		event := fmt.Sprintf("data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"word %d\"}}]}\n\n", i)
		fmt.Fprintf(&b, "%x\r\n%s\r\n", len(event), event)
	}
	b.WriteString("0\r\n\r\n")
	return b.String()
}

// BenchmarkPassThrough measures a whole request over loopback, server and
// transport included, beside a bare ReverseProxy. Client and upstream
// allocate nothing.
func BenchmarkPassThrough(b *testing.B) {
	small, large := chat("main/gpt"), `{"model":"main/gpt","messages":[{"role":"user","content":"`+strings.Repeat("lorem ipsum ", 4200)+`"}]}`
	for _, c := range []struct{ name, body, answer, mark string }{
		{"c1", small, jsonAnswer(), completion[len(completion)-20:]},
		{"body50k", large, jsonAnswer(), completion[len(completion)-20:]},
		{"stream50", small, streamAnswer(), "0\r\n\r\n"},
	} {
		up := newRaw(b, c.answer).ln.Addr().String()
		for _, target := range []struct {
			name string
			addr func(testing.TB, string) string
		}{{"gatehouse", serveGateway}, {"bare", serveBare}} {
			b.Run(c.name+"/"+target.name, func(b *testing.B) {
				cl := newClient(b, target.addr(b, up), c.body, c.mark)
				cl.do(b)
				b.ReportAllocs()
				for b.Loop() {
					cl.do(b)
				}
			})
		}
	}
}

// serveFloor is what net/http's server and transport need by themselves.
func serveFloor(tb testing.TB, upstream string) string {
	target := &url.URL{Scheme: "http", Host: upstream, Path: "/v1/chat/completions"}
	tr := &http.Transport{MaxIdleConnsPerHost: 512, DisableCompression: true}
	return serve(tb, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		out := r.WithContext(r.Context())
		out.URL, out.Header, out.Body = target, http.Header{"Accept-Encoding": {"identity"}}, io.NopCloser(bytes.NewReader(body))
		resp, err := tr.RoundTrip(out)
		if err != nil {
			return
		}
		defer func() { _ = resp.Body.Close() }()
		_, _ = io.Copy(w, resp.Body)
	}), tr.CloseIdleConnections)
}

// performance.md promises at most 60 allocations per request on the
// pass-through path, server and upstream connection included. A bare
// ReverseProxy takes over 90.
func TestPassThroughTakesAtMost60AllocationsPerRequest(t *testing.T) {
	up := newRaw(t, jsonAnswer()).ln.Addr().String()
	count := func(addr string) float64 {
		cl := newClient(t, addr, chat("main/gpt"), completion[len(completion)-20:])
		for range 50 {
			cl.do(t) // fills the pools
		}
		return testing.AllocsPerRun(300, func() { cl.do(t) })
	}
	floor, bare, ours := count(serveFloor(t, up)), count(serveBare(t, up)), count(serveGateway(t, up))
	t.Logf("net/http alone %.0f, bare ReverseProxy %.0f, gatehouse %.0f allocations per request", floor, bare, ours)
	if !raceEnabled && ours > 60 {
		t.Errorf("a request takes %.0f allocations", ours)
	}
}
