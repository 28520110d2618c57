package gateway

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/gateway/llm"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// errGone: the caller closed the connection; nobody reads an answer.
var errGone = errors.New("the caller has gone")

// statusGone is recorded for a call whose caller has gone; it is not sent.
const statusGone = 499

// fail renders an error in the caller's dialect, or only takes it down where
// the answer has begun.
func (e *Exchange) fail(err error) {
	if errors.Is(err, errGone) {
		e.rec.Code = "client_gone"
		if !e.began {
			e.rec.Status, e.began, e.abort = statusGone, true, true
		}
		return
	}
	coded := codedError(err)
	e.rec.Code = string(coded.Code)
	e.log(coded, err)
	if e.began {
		return
	}
	status := coded.Code.Status()
	h := e.w.Header()
	h.Set("X-Request-Id", e.id)
	switch status {
	case http.StatusUnauthorized:
		challenge := `Bearer realm="gatehouse"`
		if coded.Code != identity.CodeNoCredential {
			challenge += `, error="invalid_token"`
		}
		h.Set("WWW-Authenticate", challenge)
	case http.StatusRequestEntityTooLarge:
		h.Set("Connection", "close")
	}
	if coded.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(coded.RetryAfter.Seconds()))))
	}
	body := llm.ErrorBody(e.dialect, coded.Code, e.message(coded), e.id)
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	h.Set("Server-Timing", e.timings())
	if e.dialect == llm.Anthropic {
		h.Set("Request-Id", e.id)
	}
	e.began = true
	e.rec.Status, e.rec.BytesOut = status, int64(len(body))
	e.w.WriteHeader(status)
	_, _ = e.w.Write(body) // the caller may have gone
}

// codedError finds the coded error; everything else is our own failure.
func codedError(err error) *identity.Error {
	if coded, ok := errors.AsType[*identity.Error](err); ok {
		return coded
	}
	return &identity.Error{Code: identity.CodeInternal, Err: err}
}

// message is what the caller reads. An uncoded error is an id and nothing else.
func (e *Exchange) message(coded *identity.Error) string {
	if coded.Code == identity.CodeInternal || coded.Message == "" {
		return "internal error; your operator finds it under the id " + e.id
	}
	return coded.Message
}

// log tells the operator what the caller is not told. Errors never hold
// credentials or bodies.
func (e *Exchange) log(coded *identity.Error, err error) {
	level := slog.LevelDebug
	// An identity provider that is away is reported once by the key ring; a
	// line for each of its tokens would let strangers fill the log.
	if coded.Code.Status() >= http.StatusInternalServerError && coded.Code != identity.CodeKeysUnavailable {
		level = slog.LevelError
	}
	e.g.opt.Log.Log(context.WithoutCancel(e.r.Context()), level, "request failed", "request", e.id, "endpoint", e.rec.Endpoint, "code", coded.Code,
		"account", e.rec.Account, "model", e.rec.Model, "principal", e.rec.Principal, "after", time.Since(e.start), "error", err)
}
