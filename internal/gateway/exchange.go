package gateway

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/authn"
	"github.com/gatehouse-ai/gatehouse/internal/gateway/llm"
	"github.com/gatehouse-ai/gatehouse/internal/gateway/route"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

// maxMetadata is the longest x-gatehouse-metadata, in bytes.
const maxMetadata = 4 << 10

// Exchange is one request: what is known of it so far, and its stages as
// methods. It belongs to the goroutine that serves it; what decideAgain and
// watch read of it does not change once it is running.
type Exchange struct {
	g       *Gateway
	op      *operation
	w       http.ResponseWriter
	r       *http.Request
	dialect llm.Dialect
	id      string
	at      time.Time // wall clock, as the configuration sees it
	start   time.Time // monotonic
	rec     *record.Request

	snap   *snapshot.Snapshot
	caller authn.Caller
	addr   netip.Addr

	body    *payload
	call    llm.Call
	account *snapshot.Account
	model   *snapshot.Model
	target  *route.Target

	ctx   callContext
	began bool // the header of the answer is out, or on its way
	abort bool // the answer broke off: the connection must not look whole

	// How long each stage took, from start.
	authDone, authzDone, sent, answered time.Duration

	// For the list of running calls.
	before, after *Exchange
	shard         *runningShard
	deadline      atomic.Int64 // nanoseconds since Gateway.base; 0: none
	limit         int64        // the same, when the credential's grace ends
	phase         atomic.Uint32
}

// run serves one request and is the only place that renders errors and records.
func (g *Gateway) run(op *operation, w http.ResponseWriter, r *http.Request) {
	e := &Exchange{g: g, op: op, w: w, r: r, start: time.Now(), at: g.opt.Now(), rec: &record.Request{}}
	defer e.end()
	e.begin()
	if err := e.serve(); err != nil {
		e.fail(err)
	}
}

// begin takes down what is known before anything is checked.
func (e *Exchange) begin() {
	e.id = newRequestID(e.at)
	e.dialect = dialectOf(e.op, e.r)
	e.addr = e.g.opt.ClientAddr(e.r)
	e.rec.ID, e.rec.At, e.rec.Endpoint = e.id, e.at.UTC(), e.op.endpoint.String()
	if e.addr.IsValid() {
		e.rec.RemoteAddr = e.addr.String()
	}
	e.rec.TraceID = traceID(e.r.Header["Traceparent"])
}

// serve is the order of the stages.
func (e *Exchange) serve() error {
	if err := e.admit(); err != nil {
		return err
	}
	if e.op.endpoint != llm.None {
		if err := e.authenticate(); err != nil {
			return err
		}
		if err := e.attribute(); err != nil {
			return err
		}
	}
	return e.op.handle(e)
}

// admit looks at the method and at ourselves.
func (e *Exchange) admit() error {
	if m := e.op.method; m != "" && e.r.Method != m && (m != http.MethodGet || e.r.Method != http.MethodHead) {
		e.w.Header().Set("Allow", m)
		return identity.Errorf(identity.CodeMethodNotAllowed, "use %s", m)
	}
	if e.g.draining.Load() {
		return &identity.Error{Code: identity.CodeDraining, Message: "this instance is shutting down; try again", RetryAfter: time.Second}
	}
	if e.snap = e.g.opt.Snapshots.Load(); e.snap == nil {
		return &identity.Error{Code: identity.CodeNoSnapshot, Message: "the configuration cannot be read at the moment; try again", RetryAfter: 2 * time.Second}
	}
	return nil
}

// authenticate takes the credential out of the header and finds out who it is.
func (e *Exchange) authenticate() error {
	caller, err := e.g.opt.Authenticator.Authenticate(e.r.Context(), e.snap, authn.FromHeader(e.r.Header, e.addr))
	e.authDone = time.Since(e.start)
	if err != nil {
		return err
	}
	if caller.Principal == nil || caller.Grant == nil {
		return fmt.Errorf("authentication returned nobody without an error")
	}
	if caller.Snapshot != nil {
		e.snap = caller.Snapshot
	}
	e.caller = caller
	p, g := caller.Principal, caller.Grant
	e.rec.PrincipalKind, e.rec.UID, e.rec.Principal = string(p.Kind), p.UID, p.Name
	e.rec.Issuer, e.rec.Subject, e.rec.Email = p.Key.Issuer, p.Key.Subject, p.Email
	e.rec.Via, e.rec.TokenID, e.rec.Provider = g.Via, g.TokenID, g.Provider
	if g.TokenID != "" {
		e.g.opt.Recorder.TouchToken(g.TokenID, e.at, e.rec.RemoteAddr)
	}
	if !g.AllowsAddress(e.addr) {
		return identity.Errorf(identity.CodeAddressNotPermitted, "this token may not be used from this address")
	}
	return nil
}

// attribute finds the team that the request counts for, and its metadata.
func (e *Exchange) attribute() error {
	e.rec.Team = e.caller.Principal.DefaultTeam
	if v, ok := e.r.Header["X-Gatehouse-Team"]; ok {
		if len(v) != 1 {
			return identity.Errorf(identity.CodeInvalidRequest, "x-gatehouse-team must be sent once")
		}
		if _, member := slices.BinarySearch(e.caller.Principal.Teams, v[0]); !member || v[0] == "everyone" {
			return identity.Errorf(identity.CodeNotAMember, "x-gatehouse-team must name a team that you are a member of")
		}
		e.rec.Team = v[0]
	}
	v, ok := e.r.Header["X-Gatehouse-Metadata"]
	if !ok {
		return nil
	}
	refused := identity.Errorf(identity.CodeInvalidRequest, "x-gatehouse-metadata must be one JSON object of strings of at most %d bytes", maxMetadata)
	if len(v) != 1 || len(v[0]) > maxMetadata {
		return refused
	}
	var fields map[string]*string
	if err := json.Unmarshal([]byte(v[0]), &fields); err != nil || fields == nil {
		return refused
	}
	for _, value := range fields {
		if value == nil {
			return refused
		}
	}
	text, err := json.Marshal(fields) // sorted, each member once
	if err != nil {
		return err
	}
	e.rec.Metadata = string(text)
	return nil
}

// end lets go of everything and records. It is where a panic is caught.
func (e *Exchange) end() {
	if p := recover(); p != nil {
		e.g.opt.Log.Error("panic while serving a request", "request", e.id, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		if e.began {
			e.abort = true
			e.rec.Code = string(identity.CodeInternal)
		} else {
			e.fail(fmt.Errorf("panic: %v", p))
		}
	}
	e.g.running.remove(e)
	e.ctx.end()
	if e.body != nil {
		e.body.release()
	}
	e.rec.Duration = time.Since(e.start)
	e.g.metrics.observe(e.rec)
	e.g.opt.Recorder.Add(e.rec)
	if e.abort {
		panic(http.ErrAbortHandler) // the server closes the connection without an end of the body
	}
}

// dialectOf says in which shape to answer a request, whatever becomes of it.
func dialectOf(op *operation, r *http.Request) llm.Dialect {
	switch op.endpoint {
	case llm.ModelsList, llm.ModelsGet, llm.None:
		if len(r.Header["Anthropic-Version"]) > 0 || isMessagesPath(r.URL.Path) {
			return llm.Anthropic
		}
		return llm.OpenAI
	default:
		return op.endpoint.Dialect()
	}
}

func isMessagesPath(path string) bool {
	const messages = "/v1/messages"
	return len(path) >= len(messages) && path[:len(messages)] == messages && (len(path) == len(messages) || path[len(messages)] == '/')
}

// timings writes server-timing: how long each part took, in milliseconds.
func (e *Exchange) timings() string {
	var space [128]byte
	b := space[:0]
	add := func(name string, d time.Duration) {
		if len(b) > 0 {
			b = append(b, ", "...)
		}
		b = append(b, name...)
		b = append(b, ";dur="...)
		b = strconv.AppendFloat(b, float64(max(d, 0).Microseconds())/1000, 'f', 3, 64)
	}
	upstream := max(e.answered-e.sent, 0)
	add("auth", e.authDone)
	add("authz", e.authzDone)
	add("upstream", upstream)
	add("gateway", time.Since(e.start)-upstream)
	return string(b)
}
