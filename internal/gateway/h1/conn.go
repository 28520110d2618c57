package h1

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"time"
)

var (
	errHeaderTooLarge = errors.New("the answer's header is too large")
	errInterim        = errors.New("the answer does not come to an end of its interim answers")
	errUpgrade        = errors.New("the answer changes the protocol, which was not asked for")
)

// aLongTimeAgo is a deadline that has passed.
var aLongTimeAgo = time.Unix(1, 0)

// conn is a connection: one request at a time.
type conn struct {
	t    *Transport
	to   host
	nc   net.Conn // with TLS where there is TLS
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
	c := &conn{t: t, to: to, nc: nc}
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
// its last answer, neither an end nor bytes that nobody asked for. Under TLS a
// late session ticket costs the connection; it is rare.
func (c *conn) alive() bool {
	return time.Since(c.since) < c.t.opt.IdleTimeout && c.peek.quiet()
}

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
		case resp.StatusCode >= http.StatusOK:
			return resp, nil
		}
	}
	return nil, errInterim
}

// again reports whether the request may be sent on another connection after
// this one has failed. A connection that had answered before and took not a
// byte was closed while it idled; one that took the request and said nothing
// may have closed just as well, but the request may also have been executed.
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
}

// Read reads on. After the end it says so again; after Close it is an error.
func (b *body) Read(p []byte) (int, error) {
	if b.from == nil {
		return 0, http.ErrBodyReadAfterClose
	}
	n, err := b.from.Read(p)
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		b.finish()
	default:
		if gone := b.ctx.Err(); gone != nil {
			err = gone
		}
	}
	return n, err
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
	_ = c.nc.Close()
}

// Close closes the connection unless the body was read to its end.
func (b *body) Close() error {
	if c := b.c; c != nil {
		b.c = nil
		c.release(b.ctx)
		_ = c.nc.Close()
	}
	b.from = nil
	return nil
}
