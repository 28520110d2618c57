package h1

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"
)

const (
	// SmallBody is the largest body that leaves in one write with its header:
	// it fits the buffers of a connection even where the other end does not
	// read before it answers.
	SmallBody = 64 << 10
	// maxInterim is how many 1xx answers may precede the final one.
	maxInterim = 8
)

// Options are the settings of a Transport.
type Options struct {
	// Dial opens a TCP connection; it applies the address policy. Required.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// TLS is for https; it is cloned. Default: Go's.
	TLS *tls.Config
	// TLSHandshakeTimeout bounds a handshake. Default 10 s.
	TLSHandshakeTimeout time.Duration
	// Proxy is net/http's: it may refuse a request, and one that it sends to
	// a proxy goes to Otherwise. Default: none.
	Proxy func(*http.Request) (*url.URL, error)
	// Otherwise takes what is not for this transport. Required.
	Otherwise http.RoundTripper
	// MaxIdle is how many connections per host are kept. Default 64.
	MaxIdle int
	// IdleTimeout is how long they are kept. Default 90 s.
	IdleTimeout time.Duration
	// MaxHeader bounds an answer's header, in bytes, interim answers
	// included. Default 256 KiB.
	MaxHeader int

	quiet func() bool // instead of looking at the socket; for tests without one
}

// Transport is an http.RoundTripper for requests that stand whole in memory.
// It holds no goroutines; a timer closes connections that have idled too long.
type Transport struct {
	opt    Options
	writes sync.Pool // of *[]byte

	mu    sync.Mutex
	idle  map[host][]*conn // the last used last
	sweep *time.Timer      // runs while anything idles

	others map[host]bool // whoever does not speak HTTP/1.1
}

// host is what a connection leads to.
type host struct {
	secure bool
	addr   string
}

// New returns a transport.
func New(opt Options) *Transport {
	opt.TLSHandshakeTimeout = cmp.Or(opt.TLSHandshakeTimeout, 10*time.Second)
	opt.MaxIdle = cmp.Or(opt.MaxIdle, 64)
	opt.IdleTimeout = cmp.Or(opt.IdleTimeout, 90*time.Second)
	opt.MaxHeader = cmp.Or(opt.MaxHeader, 256<<10)
	if opt.TLS == nil {
		opt.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	opt.TLS = opt.TLS.Clone()
	opt.TLS.NextProtos = []string{"http/1.1"}
	return &Transport{opt: opt, idle: map[host][]*conn{}, others: map[host]bool{}}
}

// CloseIdleConnections closes what idles, here and in Otherwise. Connections in use are closed when
// they come back only if they have broken.
func (t *Transport) CloseIdleConnections() {
	t.mu.Lock()
	idle := t.idle
	t.idle = map[host][]*conn{}
	if t.sweep != nil {
		t.sweep.Stop()
		t.sweep = nil
	}
	t.mu.Unlock()
	for _, list := range idle {
		closeAll(list)
	}
	if c, ok := t.opt.Otherwise.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

func closeAll(list []*conn) {
	for _, c := range list {
		c.close()
	}
}

// expire closes what has idled too long, and looks again while anything idles.
func (t *Transport) expire() {
	var old []*conn
	t.mu.Lock()
	rest := false
	for to, list := range t.idle {
		n := 0
		for n < len(list) && time.Since(list[n].since) >= t.opt.IdleTimeout {
			n++
		}
		old = append(old, list[:n]...)
		if n == len(list) {
			delete(t.idle, to)
			continue
		}
		t.idle[to] = slices.Delete(list, 0, n)
		rest = true
	}
	if t.sweep != nil {
		if rest {
			t.sweep.Reset(t.opt.IdleTimeout)
		} else {
			t.sweep = nil
		}
	}
	t.mu.Unlock()
	closeAll(old)
}

// RoundTrip sends a request and returns when the answer's header is there.
// The request's body is read whole and closed before it returns. A request is
// sent a second time only where the first attempt provably reached nobody, or
// where the method or an Idempotency-Key says that twice is as good as once
// (RFC 9110 section 9.2.2).
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if !t.suits(req) {
		return t.opt.Otherwise.RoundTrip(req)
	}
	if t.opt.Proxy != nil {
		proxy, err := t.opt.Proxy(req)
		if err != nil {
			closeBody(req)
			return nil, err
		}
		if proxy != nil {
			return t.opt.Otherwise.RoundTrip(req)
		}
	}
	hold := t.buffer()
	defer t.writes.Put(hold)
	message, err := appendRequest((*hold)[:0], req)
	if cap(message) <= 2*SmallBody {
		*hold = message[:0]
	}
	if err != nil {
		return nil, err
	}
	return t.send(req, message)
}

func (t *Transport) buffer() *[]byte {
	if hold, ok := t.writes.Get().(*[]byte); ok {
		return hold
	}
	b := make([]byte, 0, 4<<10)
	return &b
}

// suits reports whether the request is one for this transport.
func (t *Transport) suits(req *http.Request) bool {
	if !canPeek {
		return false
	}
	if req.URL == nil || req.URL.Scheme != "http" && req.URL.Scheme != "https" || req.Header == nil || !plainHost(req.URL.Host) || req.Host != "" && !plainHost(req.Host) {
		return false
	}
	if req.ContentLength < 0 || req.ContentLength > SmallBody || req.ContentLength == 0 && req.Body != nil && req.Body != http.NoBody {
		return false
	}
	return len(req.TransferEncoding) == 0 && len(req.Trailer) == 0 && !req.Close &&
		req.Header["Upgrade"] == nil && req.Header["Connection"] == nil && req.Header["Expect"] == nil &&
		req.Method != http.MethodConnect && req.Method != http.MethodHead && !t.other(hostOf(req.URL))
}

// plainHost: neither an internationalised name nor an address with a zone,
// which are written differently when dialled and in the Host field.
func plainHost(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 || s[i] == '%' {
			return false
		}
	}
	return s != ""
}

// send tries the connections that idle, then a new one.
func (t *Transport) send(req *http.Request, message []byte) (*http.Response, error) {
	to := hostOf(req.URL)
	fresh := false
	for {
		c, err := t.get(req.Context(), to, fresh)
		if err != nil {
			if refusesHTTP1(err) {
				return t.sendOther(req, to, message)
			}
			return nil, err
		}
		resp, err := c.exchange(req, message)
		if err == nil {
			return resp, nil
		}
		c.close()
		if !c.again(req) {
			return nil, err
		}
		fresh = fresh || c.sent > 0
	}
}

// refusesHTTP1 reports whether the other end broke off the handshake, as one
// that speaks HTTP/2 alone does (RFC 7301 section 3.2). Nothing of the request
// has been sent.
func refusesHTTP1(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

// sendOther sends what was refused the other way, and remembers the host if
// that helps.
func (t *Transport) sendOther(req *http.Request, to host, message []byte) (*http.Response, error) {
	body := bytes.Clone(message[len(message)-int(req.ContentLength):])
	again := req.WithContext(req.Context())
	again.Body, again.GetBody = io.NopCloser(bytes.NewReader(body)), nil
	resp, err := t.opt.Otherwise.RoundTrip(again)
	if err == nil {
		t.mu.Lock()
		t.others[to] = true
		t.mu.Unlock()
	}
	return resp, err
}

func (t *Transport) other(to host) bool {
	if !to.secure {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.others[to]
}

func hostOf(u *url.URL) host {
	h := host{secure: u.Scheme == "https", addr: u.Host}
	if u.Port() == "" {
		port := "80"
		if h.secure {
			port = "443"
		}
		h.addr = net.JoinHostPort(u.Hostname(), port)
	}
	return h
}

// get takes the connection that was used last, if it lives, or opens one; a
// fresh one where that is asked for.
func (t *Transport) get(ctx context.Context, to host, fresh bool) (*conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if fresh {
		return t.open(ctx, to)
	}
	for {
		c := t.pop(to)
		if c == nil {
			return t.open(ctx, to)
		}
		if c.alive() {
			return c, nil
		}
		c.close()
	}
}

func (t *Transport) pop(to host) *conn {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := t.idle[to]
	if len(list) == 0 {
		return nil
	}
	c := list[len(list)-1]
	list[len(list)-1] = nil
	t.idle[to] = list[:len(list)-1]
	return c
}

// put keeps a connection for the next request, in place of the oldest where
// there are too many.
func (t *Transport) put(c *conn) {
	c.used, c.since = true, time.Now()
	var old *conn
	t.mu.Lock()
	list := t.idle[c.to]
	if len(list) >= t.opt.MaxIdle {
		old = list[0]
		list = slices.Delete(list, 0, 1)
	}
	t.idle[c.to] = append(list, c)
	if t.sweep == nil {
		t.sweep = time.AfterFunc(t.opt.IdleTimeout, t.expire)
	}
	t.mu.Unlock()
	if old != nil {
		old.close()
	}
}

func (t *Transport) open(ctx context.Context, to host) (*conn, error) {
	nc, err := t.opt.Dial(ctx, "tcp", to.addr)
	if err != nil {
		return nil, err
	}
	c := newConn(t, to, nc)
	if !to.secure {
		return c, nil
	}
	cfg := t.opt.TLS
	if cfg.ServerName == "" {
		name, _, err := net.SplitHostPort(to.addr)
		if err != nil {
			return nil, errors.Join(err, nc.Close())
		}
		cfg = cfg.Clone()
		cfg.ServerName = name
	}
	ctx, cancel := context.WithTimeout(ctx, t.opt.TLSHandshakeTimeout)
	defer cancel()
	c.tls = &records{Conn: nc}
	tc := tls.Client(c.tls, cfg)
	if err := tc.HandshakeContext(ctx); err != nil {
		_ = nc.Close()
		return nil, err
	}
	c.nc = tc
	return c, nil
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}

// readBody puts the whole body behind the header. One that is shorter or
// longer than announced is an error: the connection would lose its place.
func readBody(b []byte, req *http.Request) ([]byte, error) {
	defer closeBody(req)
	n := int(req.ContentLength)
	if n == 0 {
		return b, nil
	}
	at := len(b)
	b = slices.Grow(b, n+1)
	m, err := io.ReadFull(req.Body, b[at:at+n+1])
	switch {
	case m > n:
		return b, errors.New("the request's body is longer than its Content-Length")
	case m < n && (err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)):
		return b, errors.New("the request's body is shorter than its Content-Length")
	case m < n:
		return b, err
	}
	return b[:at+n], nil
}
