package gateway

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

const (
	// chunkSize is the size of the relay's buffers.
	chunkSize = 32 << 10
	// smallBody is what is read without asking how much will come.
	smallBody = 16 << 10
	// keptBody is the largest body whose buffer is used again, and the largest
	// upload that does not go to disk.
	keptBody = 1 << 20
)

// buffers are the relay's.
type buffers struct{ pool sync.Pool }

func (b *buffers) get() *[]byte {
	if p, ok := b.pool.Get().(*[]byte); ok {
		return p
	}
	p := make([]byte, chunkSize)
	return &p
}

func (b *buffers) put(p *[]byte) { b.pool.Put(p) }

// payloads keeps the buffers of bodies.
type payloads struct{ pool sync.Pool }

func (p *payloads) get() *payload {
	b, ok := p.pool.Get().(*payload)
	if !ok {
		b = &payload{home: p}
	}
	b.refs.Store(1)
	return b
}

// payload is the whole body of a request: in memory, or for a large upload in
// a file. It lives until the exchange and every reader have let go, since a
// transport may go on reading after the answer has come.
type payload struct {
	home *payloads
	mem  []byte
	file *os.File
	left string // the file's name, where it could not be removed at once
	size int64
	refs atomic.Int32
	// In place of the bytes [from, to) stands model.
	from, to int64
	model    []byte

	patient patientBody // while it is read
}

func (p *payload) release() {
	if p.refs.Add(-1) > 0 {
		return
	}
	if p.file != nil {
		_ = p.file.Close()
		if p.left != "" {
			_ = os.Remove(p.left)
		}
		p.file, p.left = nil, ""
	}
	p.size, p.from, p.to, p.model = 0, 0, 0, p.model[:0]
	if cap(p.mem) > keptBody {
		p.mem = nil
	}
	p.mem = p.mem[:0]
	p.home.pool.Put(p)
}

// ReadAt reads the body as it came.
func (p *payload) ReadAt(b []byte, off int64) (int, error) {
	if off >= p.size {
		return 0, io.EOF
	}
	if p.file != nil {
		return p.file.ReadAt(b, off)
	}
	n := copy(b, p.mem[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// length is the body's size with the model replaced.
func (p *payload) length() int64 { return p.size - (p.to - p.from) + int64(len(p.model)) }

// reader reads the body with the model replaced.
func (p *payload) reader() io.ReadCloser {
	p.refs.Add(1)
	return &payloadReader{p: p}
}

// payloadReader is handed to a transport. It is not used again, since some
// transports close twice; and it locks, since some close while they read.
type payloadReader struct {
	mu  sync.Mutex
	p   *payload
	off int64
}

func (r *payloadReader) Read(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.p
	if p == nil {
		return 0, errors.New("read of a body that was closed")
	}
	total := 0
	for len(b) > 0 {
		n, err := r.segment(b)
		total += n
		r.off += int64(n)
		b = b[n:]
		if err != nil {
			return total, err
		}
		if n == 0 {
			break
		}
	}
	if total == 0 && r.off >= p.length() {
		return 0, io.EOF
	}
	return total, nil
}

// segment reads from what stands before, in place of, or after the model.
func (r *payloadReader) segment(b []byte) (int, error) {
	p := r.p
	after := p.from + int64(len(p.model))
	switch {
	case r.off < p.from:
		return p.bytes(b[:min(int64(len(b)), p.from-r.off)], r.off)
	case r.off < after:
		return copy(b, p.model[r.off-p.from:]), nil
	case r.off < p.length():
		return p.bytes(b, r.off-after+p.to)
	default:
		return 0, nil
	}
}

func (p *payload) bytes(b []byte, off int64) (int, error) {
	n, err := p.ReadAt(b, off)
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

func (r *payloadReader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.p != nil {
		r.p.release()
		r.p = nil
	}
	return nil
}

// readBody reads the whole body before anything is sent: a transport that is
// handed the inbound body breaks streams whose upstream answers early. Errors:
// body_too_large, invalid_request.
func (g *Gateway) readBody(w http.ResponseWriter, r *http.Request, spool bool) (*payload, error) {
	n, limit := r.ContentLength, g.opt.MaxBody
	if n > limit {
		return nil, g.tooLarge()
	}
	p := g.payloads.get()
	body := &p.patient
	body.from, body.conn, body.limit = r.Body, deadlines(w), g.opt.StreamIdleTimeout
	defer body.done()
	var err error
	if n >= 0 && n <= keptBody {
		if int64(cap(p.mem)) < n {
			p.mem = make([]byte, 0, n)
		}
		p.mem = p.mem[:n]
		_, err = io.ReadFull(body, p.mem)
		p.size = n
	} else {
		err = g.readLong(p, body, spool)
	}
	if err == nil {
		return p, nil
	}
	p.release()
	if _, ok := errors.AsType[*identity.Error](err); ok {
		return nil, err
	}
	return nil, identity.Wrap(identity.CodeInvalidRequest, err, "the body ended early")
}

func (g *Gateway) tooLarge() error {
	return identity.Errorf(identity.CodeBodyTooLarge, "the body is larger than %d bytes", g.opt.MaxBody)
}

// readLong grows with what really comes, not with what was announced.
func (g *Gateway) readLong(p *payload, body io.Reader, spool bool) error {
	if cap(p.mem) == 0 {
		p.mem = make([]byte, 0, smallBody)
	}
	for {
		if len(p.mem) == cap(p.mem) {
			if spool && len(p.mem) >= keptBody {
				return g.spool(p, body)
			}
			grown := make([]byte, len(p.mem), 2*cap(p.mem))
			copy(grown, p.mem)
			p.mem = grown
		}
		n, err := body.Read(p.mem[len(p.mem):cap(p.mem)])
		p.mem = p.mem[:len(p.mem)+n]
		if int64(len(p.mem)) > g.opt.MaxBody {
			return g.tooLarge()
		}
		if errors.Is(err, io.EOF) {
			p.size = int64(len(p.mem))
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// spool puts what has come, and the rest, into a file that has no name as soon
// as the system allows it.
func (g *Gateway) spool(p *payload, body io.Reader) error {
	f, err := os.CreateTemp(g.opt.SpoolDir, "gatehouse-upload-*")
	if err != nil {
		return identity.Wrap(identity.CodeInternal, err, "the upload cannot be kept")
	}
	p.file = f
	if os.Remove(f.Name()) != nil { // not while it is open, on some systems
		p.left = f.Name()
	}
	if _, err := f.Write(p.mem); err != nil {
		return identity.Wrap(identity.CodeInternal, err, "the upload cannot be kept")
	}
	n, err := io.Copy(f, io.LimitReader(body, g.opt.MaxBody-int64(len(p.mem))+1))
	if err != nil {
		return err
	}
	if p.size = int64(len(p.mem)) + n; p.size > g.opt.MaxBody {
		return g.tooLarge()
	}
	return nil
}

// patientBody gives up a caller who sends nothing for so long: the whole body
// has no deadline, since a slow line is no fault, but silence is one.
type patientBody struct {
	from  io.Reader
	conn  readDeadline
	limit time.Duration
}

type readDeadline interface{ SetReadDeadline(time.Time) error }

// deadlines spares the controller where the writer is the server's own.
func deadlines(w http.ResponseWriter) readDeadline {
	if d, ok := w.(readDeadline); ok {
		return d
	}
	return http.NewResponseController(w)
}

func (b *patientBody) Read(p []byte) (int, error) {
	_ = b.conn.SetReadDeadline(time.Now().Add(b.limit)) // where the connection has none, the server's own limits hold
	return b.from.Read(p)
}

func (b *patientBody) done() {
	_ = b.conn.SetReadDeadline(time.Time{})
	b.from, b.conn = nil, nil
}
