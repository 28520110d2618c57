package h1

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"
)

var (
	errHeaderTooLarge = errors.New("the answer's header is too large")
	errInterim        = errors.New("the answer does not come to an end of its interim answers")
	errStatus         = errors.New("the answer's status is none")
	errUpgrade        = errors.New("the answer changes the protocol, which was not asked for")
)

// aLongTimeAgo is a deadline that has passed.
var aLongTimeAgo = time.Unix(1, 0)

// conn is a connection: one request at a time.
type conn struct {
	t    *Transport
	to   host
	raw  net.Conn // without TLS; closing it never waits
	nc   net.Conn // with TLS where there is TLS
	tls  *records // nil without TLS
	br   *bufio.Reader
	stop func() // c.cut, made once
	peek peeker

	used  bool      // an answer was read whole
	since time.Time // when it began to idle

	// Of the request that is running:
	budget int         // how much header may still come; negative: no limit
	sent   int         // bytes that were written
	got    bool        // a byte of the answer has come
	detach func() bool // where the context is not an Interrupter
}

func newConn(t *Transport, to host, nc net.Conn) *conn {
	c := &conn{t: t, to: to, raw: nc, nc: nc}
	if sc, ok := nc.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			c.peek.raw = raw
		}
	}
	c.stop = c.cut
	c.br = bufio.NewReaderSize((*source)(c), 4<<10)
	return c
}

// alive reports whether an idle connection can be used: nothing has come since
// its last answer, neither an end nor bytes that nobody asked for, which the
// next caller would take for their answer. Bytes hide in three places: on the
// socket, in what TLS has read of it, and in half a record of TLS.
func (c *conn) alive() bool {
	quiet := c.peek.quiet
	if c.t.opt.quiet != nil {
		quiet = c.t.opt.quiet
	}
	if time.Since(c.since) >= c.t.opt.IdleTimeout || !quiet() {
		return false
	}
	return c.tls == nil || c.tls.whole() && c.silent()
}

// silent reads with a deadline that has passed: that takes what TLS has
// buffered, asks the system for nothing, and never waits.
func (c *conn) silent() bool {
	if c.nc.SetReadDeadline(aLongTimeAgo) != nil {
		return false
	}
	var b [1]byte
	n, err := c.nc.Read(b[:])
	return n == 0 && errors.Is(err, os.ErrDeadlineExceeded) && c.nc.SetReadDeadline(time.Time{}) == nil
}

// close ends the connection at once. TLS is not told: its farewell could wait
// for a provider that reads nothing.
func (c *conn) close() { _ = c.raw.Close() }

// records is a connection under TLS that knows where records end (RFC 8446
// section 5.1: five bytes of header, of which the last two are the length).
type records struct {
	net.Conn
	header int // how much of a header has come
	length int // of the record, while the header comes
	rest   int // how much of the record is to come
}

// Read reads for TLS.
func (r *records) Read(b []byte) (int, error) {
	n, err := r.Conn.Read(b)
	for i := 0; i < n; {
		if r.rest > 0 {
			skip := min(r.rest, n-i)
			r.rest -= skip
			i += skip
			continue
		}
		if r.header >= 3 {
			r.length = r.length<<8 | int(b[i])
		}
		if r.header++; r.header == 5 {
			r.rest, r.header, r.length = r.length, 0, 0
		}
		i++
	}
	return n, err
}

// whole reports whether the last record has come to its end.
func (r *records) whole() bool { return r.header == 0 && r.rest == 0 }

// source is where the answer is read from: the connection, with the header's
// size bounded.
type source conn

func (s *source) Read(b []byte) (int, error) {
	if s.budget == 0 {
		return 0, errHeaderTooLarge
	}
	if s.budget > 0 && len(b) > s.budget {
		b = b[:s.budget]
	}
	n, err := s.nc.Read(b)
	if n > 0 {
		s.got = true
		if s.budget > 0 {
			s.budget -= n
		}
	}
	return n, err
}

// exchange sends the message and reads the answer's header. After an error the
// connection is of no more use.
func (c *conn) exchange(req *http.Request, message []byte) (*http.Response, error) {
	c.sent, c.got, c.budget = 0, false, c.t.opt.MaxHeader
	ctx := req.Context()
	c.attach(ctx)
	resp, err := c.answer(req, message)
	if err != nil {
		c.release(ctx)
		if gone := ctx.Err(); gone != nil {
			return nil, gone
		}
		return nil, err
	}
	c.budget = -1
	resp.Body = &body{c: c, from: resp.Body, ctx: ctx, last: resp.Close}
	return resp, nil
}

// Interrupter is a context that ends the wait of a connection by itself, so
// that none has to be derived of it for each request.
type Interrupter interface {
	// Attach has interrupt called once when the context ends, at once where it
	// has ended. interrupt does not wait. One connection is attached at a time.
	Attach(interrupt func())
	// Detach takes it back, and reports whether it has not been called.
	Detach() bool
}

// attach has the connection cut when the context ends.
func (c *conn) attach(ctx context.Context) {
	if i, ok := ctx.(Interrupter); ok {
		c.detach = nil
		i.Attach(c.stop)
		return
	}
	c.detach = context.AfterFunc(ctx, c.stop)
}

// release takes that back, and reports whether the connection was not cut.
func (c *conn) release(ctx context.Context) bool {
	if c.detach != nil {
		return c.detach()
	}
	i, ok := ctx.(Interrupter)
	return ok && i.Detach()
}

// cut ends what is being read or written.
func (c *conn) cut() { _ = c.nc.SetDeadline(aLongTimeAgo) }

func (c *conn) answer(req *http.Request, message []byte) (*http.Response, error) {
	n, err := c.nc.Write(message)
	c.sent = n
	if err != nil {
		return nil, err
	}
	for range maxInterim {
		resp, err := http.ReadResponse(c.br, req)
		switch {
		case err != nil && !c.got && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)):
			return nil, fmt.Errorf("the connection was closed before the answer: %w", err)
		case err != nil:
			return nil, err
		case resp.StatusCode == http.StatusSwitchingProtocols:
			return nil, errUpgrade
		case resp.StatusCode < http.StatusContinue:
			return nil, errStatus
		case resp.StatusCode >= http.StatusOK:
			return resp, nil
		}
	}
	return nil, errInterim
}

// again reports whether the request may be sent on another connection after
// this one has failed. A connection that had answered before and took not a
// byte was closed while it idled. One that took the request and said nothing
// may have closed just as well, but the request may also have been executed:
// it is repeated where that does no harm, on a new connection and so only once:
// not everybody keeps the promise that twice is as good as once.
func (c *conn) again(req *http.Request) bool {
	if !c.used || c.got || req.Context().Err() != nil {
		return false
	}
	if c.sent == 0 {
		return true
	}
	return req.Method == http.MethodGet || req.Method == "" || req.Header["Idempotency-Key"] != nil
}

// body is an answer's body. At its end the connection is kept, where it can be.
type body struct {
	c    *conn
	from io.ReadCloser
	ctx  context.Context
	last bool // the connection ends with this answer
	err  error
}

// Read reads on. After the end or an error it says the same again; after Close
// it is an error.
func (b *body) Read(p []byte) (int, error) {
	if b.from == nil {
		return 0, http.ErrBodyReadAfterClose
	}
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.from.Read(p)
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, io.EOF):
		b.finish()
	default:
		if gone := b.ctx.Err(); gone != nil {
			err = gone
		}
	}
	b.err = err
	return n, err
}

// drop gives the connection up.
func (b *body) drop() {
	if c := b.c; c != nil {
		b.c = nil
		c.release(b.ctx)
		c.close()
	}
}

// finish gives the connection back, once. A cut that came in between has set a
// deadline, and a byte too many says that the two ends disagree.
func (b *body) finish() {
	c := b.c
	if c == nil {
		return
	}
	b.c = nil
	if c.release(b.ctx) && !b.last && c.br.Buffered() == 0 {
		c.t.put(c)
		return
	}
	c.close()
}

// Close closes the connection unless the body was read to its end.
func (b *body) Close() error {
	b.drop()
	b.from = nil
	return nil
}
