package llm

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math"
	"net/http"
	"strconv"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// EchoModel is the one model in the echo provider's catalogue.
const EchoModel = "echo"

// echoLimit is how much of a request the echo provider reads.
const echoLimit = 32 << 20

// Echo answers a call in process, always the same for the same request: with
// the last user's text. The account's spec.echo makes it slow or failing. The
// body is read and closed. Errors: those of ctx.
func Echo(ctx context.Context, spec *v1.Echo, e Endpoint, model string, body io.ReadCloser) (*http.Response, error) {
	raw, err := io.ReadAll(io.LimitReader(body, echoLimit))
	_ = body.Close()
	if err != nil {
		return nil, err
	}
	if spec == nil {
		spec = &v1.Echo{}
	}
	if err := wait(ctx, spec.Delay.Std()); err != nil {
		return nil, err
	}
	if spec.Status >= http.StatusBadRequest {
		return echoFailure(spec, e), nil
	}
	a := echoAnswer{endpoint: e, model: model, request: raw}
	if events := a.stream(); events != nil {
		h := http.Header{"Content-Type": {"text/event-stream; charset=utf-8"}, "Cache-Control": {"no-cache"}}
		return echoResponse(http.StatusOK, h, -1, &echoStream{ctx: ctx, events: events, delay: spec.ChunkDelay.Std()}), nil
	}
	kind, answer := a.whole()
	return echoResponse(http.StatusOK, http.Header{"Content-Type": {kind}}, len(answer), bytes.NewReader(answer)), nil
}

func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

func echoResponse(status int, h http.Header, length int, body io.Reader) *http.Response {
	if length >= 0 {
		h["Content-Length"] = []string{strconv.Itoa(length)}
	}
	return &http.Response{StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: h, ContentLength: int64(length), Body: io.NopCloser(body)}
}

func echoFailure(spec *v1.Echo, e Endpoint) *http.Response {
	code := identity.CodeUpstreamBroke
	if spec.Status == http.StatusTooManyRequests {
		code = identity.CodeRateLimited
	}
	b := ErrorBody(e.Dialect(), code, "the echo account is set to fail with "+strconv.Itoa(spec.Status), "echo")
	h := http.Header{"Content-Type": {"application/json"}}
	if after := spec.RetryAfter.Std(); after > 0 {
		h["Retry-After"] = []string{strconv.Itoa(int(math.Ceil(after.Seconds())))}
	}
	return echoResponse(spec.Status, h, len(b), bytes.NewReader(b))
}

// echoStream hands out events, one a Read, with a wait before each but the first.
type echoStream struct {
	ctx    context.Context
	events [][]byte
	delay  time.Duration
	begun  bool
	rest   []byte
}

func (s *echoStream) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		if len(s.events) == 0 {
			return 0, io.EOF
		}
		if s.begun {
			if err := wait(s.ctx, s.delay); err != nil {
				return 0, err
			}
		}
		s.begun = true
		s.rest, s.events = s.events[0], s.events[1:]
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// object is a JSON object; its members are written in alphabetical order.
type object map[string]any

func (o object) bytes() []byte {
	b, _ := json.Marshal(o) // made of strings and numbers: always marshals
	return b
}
