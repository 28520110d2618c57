package gateway

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/gateway/llm"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

const (
	// maxMetered is how much of a JSON answer is looked at for its usage; a
	// larger one is passed on, and its usage is unknown.
	maxMetered = 1 << 20
	// guarded is the size from which an answer has write deadlines; a smaller
	// one fits the connection's buffers.
	guarded = 256 << 10
)

// relay passes the answer on.
func (e *Exchange) relay(resp *http.Response) error {
	defer func() { _ = resp.Body.Close() }()
	switch s := resp.StatusCode; {
	case s == http.StatusUnauthorized || s == http.StatusForbidden || s == http.StatusProxyAuthRequired:
		// Our key's fault; and the body may repeat it.
		return identity.Errorf(identity.CodeProviderCredentials, "the provider refused this account's own credentials; its manager must look at them")
	case s < http.StatusOK || s >= http.StatusMultipleChoices && s < http.StatusBadRequest:
		return &identity.Error{Code: identity.CodeUpstreamBroke, Message: "the provider's answer cannot be passed on", Detail: resp.Status}
	}
	kind := ""
	if v := resp.Header["Content-Type"]; len(v) > 0 {
		kind = v[0]
	}
	plain := len(resp.Header["Content-Encoding"]) == 0
	e.rec.Stream = strings.HasPrefix(kind, "text/event-stream")
	p := relay{e: e, resp: resp, flush: e.rec.Stream || resp.ContentLength < 0}
	p.events, p.json = e.rec.Stream && plain, !e.rec.Stream && plain && isJSON(kind)
	if e.rec.Stream {
		p.begin() // the caller sees at once that the answer has begun
		p.flushNow()
	}
	err := p.copy()
	p.meterEnd()
	return err
}

// relay is the way of one answer's bytes.
type relay struct {
	e      *Exchange
	resp   *http.Response
	flush  bool // after every read
	events bool // usage is read of events
	json   bool // usage is read of the whole body
	meter  llm.Meter
	head   []byte // what came before the buffer, of a JSON body
	tail   []byte // the part of the buffer that holds the rest
	out    http.Flusher
	guard  *http.ResponseController // sets write deadlines; nil for a small answer
	guards time.Duration            // when the deadline was last set
}

// begin sends the header.
func (p *relay) begin() {
	e := p.e
	e.began = true
	e.answerHeader(p.resp.Header)
	e.rec.Status = p.resp.StatusCode
	if p.flush || p.resp.ContentLength >= guarded {
		p.guard = http.NewResponseController(e.w)
		p.out, _ = e.w.(http.Flusher)
	}
	e.w.WriteHeader(p.resp.StatusCode)
}

func (p *relay) flushNow() {
	if p.out != nil {
		p.out.Flush()
	} else if p.guard != nil {
		_ = p.guard.Flush() // where the writer cannot, bytes go when they go
	}
}

// copy passes chunks on as they come: read, write, flush. The limit on silence
// counts while we wait for the upstream, not while we wait for the caller.
func (p *relay) copy() error {
	e := p.e
	idle := e.g.opt.StreamIdleTimeout
	if e.target.StreamIdle > 0 {
		idle = e.target.StreamIdle
	}
	hold := e.g.buffers.get()
	defer func() {
		p.meterWhole()
		e.g.buffers.put(hold)
		if p.guard != nil {
			_ = p.guard.SetWriteDeadline(time.Time{}) // for the connection's next request
		}
	}()
	buf, filled := *hold, 0
	for {
		e.arm(phaseReading, idle)
		n, err := p.resp.Body.Read(buf[filled:])
		e.disarm()
		if n > 0 || errors.Is(err, io.EOF) {
			if !e.began {
				p.begin()
			}
		}
		if n > 0 {
			if e.rec.FirstByte == 0 {
				e.rec.FirstByte = time.Since(e.start)
			}
			if werr := p.write(buf[filled : filled+n]); werr != nil {
				return errGone
			}
			filled = p.keep(buf, filled+n)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return p.broken(e.upstreamError(err))
		}
	}
}

func (p *relay) write(chunk []byte) error {
	e := p.e
	if p.guard != nil {
		p.extend()
	}
	n, err := e.w.Write(chunk)
	e.rec.BytesOut += int64(n)
	if err != nil {
		return err
	}
	if p.events {
		p.meter.See(chunk)
	}
	if p.flush {
		p.flushNow()
	}
	return nil
}

// extend moves the write deadline, so that a caller who takes nothing does not
// hold the call for ever. There is none on the whole answer.
func (p *relay) extend() {
	limit := p.e.g.opt.StreamIdleTimeout
	now := time.Since(p.e.start)
	if p.guards == 0 || now-p.guards > limit/4 {
		p.guards = now
		_ = p.guard.SetWriteDeadline(time.Now().Add(limit)) // where the writer has none, the server's own limits hold
	}
}

// keep holds on to a JSON body for the meter and returns where the next read
// goes: behind what the buffer holds, or to its beginning.
func (p *relay) keep(buf []byte, filled int) int {
	if !p.json {
		return 0
	}
	if filled < len(buf) {
		p.tail = buf[:filled]
		return filled
	}
	p.tail = nil
	if len(p.head)+filled > maxMetered {
		p.json, p.head = false, nil
		return 0
	}
	p.head = append(p.head, buf...)
	return 0
}

// meterWhole reads the usage of a JSON body while the buffer is still ours.
func (p *relay) meterWhole() {
	switch {
	case !p.json:
	case p.head == nil:
		p.e.rec.Usage = llm.UsageOf(p.tail)
	default:
		p.e.rec.Usage = llm.UsageOf(append(p.head, p.tail...))
	}
}

// meterEnd takes over what the events said.
func (p *relay) meterEnd() {
	if p.events {
		p.meter.End()
		p.e.rec.Usage = p.meter.Usage
	}
}

// broken ends an answer that did not end by itself. One that has begun gets an
// error event where it is a stream, and its connection is aborted, so that no
// client takes it for whole.
func (p *relay) broken(err error) error {
	e := p.e
	if !e.began {
		return err
	}
	e.abort = true
	if errors.Is(err, errGone) || !e.rec.Stream {
		return err
	}
	coded := codedError(err)
	event := llm.ErrorEvent(e.op.endpoint, coded.Code, e.message(coded), e.id)
	p.extend()
	_, _ = e.w.Write(append([]byte("\n\n"), event...)) // closes an event that broke off; between events it means nothing
	p.flushNow()
	return err
}
