package api

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/manifest"
)

// Problem is an error as it is answered (RFC 9457).
type Problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	// Code is for programs; it is never renamed.
	Code   string `json:"code"`
	Detail string `json:"detail"`
	// Permission is the one that is missing.
	Permission string `json:"permission,omitempty"`
	// Errors say what is wrong with a manifest, and where.
	Errors    []ProblemError `json:"errors,omitempty"`
	RequestID string         `json:"requestId,omitempty"`
}

// ProblemError is one thing that is wrong with a manifest.
type ProblemError struct {
	// File names the document, where several were sent.
	File    string `json:"file,omitempty"`
	Path    string `json:"path,omitempty"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Message string `json:"message"`
}

// answer is what an operation answers when nothing went wrong.
type answer struct {
	// status overrides the operation's where it is not 0.
	status int
	body   any
	etag   string
	// text is sent instead of body, with its form.
	text []byte
	form string
	// sent: the operation has written its answer itself.
	sent bool
}

func (ans *answer) write(w http.ResponseWriter, status int) {
	if ans == nil {
		w.WriteHeader(status)
		return
	}
	if ans.sent {
		return
	}
	if ans.status != 0 {
		status = ans.status
	}
	if ans.etag != "" {
		w.Header().Set("ETag", strconv.Quote(ans.etag))
	}
	text, form := ans.text, ans.form
	if text == nil && ans.body != nil {
		var err error
		if text, err = json.Marshal(ans.body); err != nil {
			writeProblem(w, Problem{Status: http.StatusInternalServerError, Code: string(identity.CodeInternal), Detail: "internal error"})
			return
		}
		form = formJSON
	}
	if text != nil {
		w.Header().Set("Content-Type", form)
	}
	w.WriteHeader(status)
	_, _ = w.Write(text)
}

// fail answers with an error. Refusals of what would have changed something
// are written into the audit, also those that are answered as if nothing were
// there; internal errors go to the log, with the id that
// the caller is shown.
func (a *API) fail(w http.ResponseWriter, r *http.Request, c *call, op *operation, err error) {
	p := problemOf(err)
	p.RequestID = c.id
	if auditable(c, op, p, err) {
		a.auditDenied(c, op, p, err)
	}
	if p.Status >= http.StatusInternalServerError {
		a.opt.Log.ErrorContext(r.Context(), "control API", "request_id", c.id, "method", r.Method, "code", p.Code, "error", err)
	}
	a.headers(w, err, p)
	writeProblem(w, p)
}

// refuse answers before anybody was asked for.
func (a *API) refuse(w http.ResponseWriter, r *http.Request, err error) {
	w.Header().Set("Cache-Control", "no-store")
	a.fail(w, r, &call{id: a.opt.RequestID(r)}, nil, err)
}

func (a *API) headers(w http.ResponseWriter, err error, p Problem) {
	if p.Status == http.StatusUnauthorized {
		// RFC 6750, 3: no credential, no error.
		challenge := `Bearer realm="gatehouse"`
		if p.Code != string(identity.CodeNoCredential) {
			challenge += `, error="invalid_token"`
		}
		w.Header().Set("WWW-Authenticate", challenge)
	}
	if e, ok := errors.AsType[*identity.Error](err); ok && e.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(e.RetryAfter.Seconds()))))
	}
}

func problemOf(err error) Problem {
	e, ok := errors.AsType[*identity.Error](err)
	if !ok {
		return Problem{Status: http.StatusInternalServerError, Code: string(identity.CodeInternal), Detail: "internal error; the request id leads the operator to the reason"}
	}
	p := Problem{Status: e.Code.Status(), Code: string(e.Code), Detail: e.Message, Permission: e.Permission}
	if list, ok := errors.AsType[manifest.Errors](err); ok {
		for _, m := range list[:min(len(list), enoughErrors)] {
			p.Errors = append(p.Errors, ProblemError{File: m.File, Path: m.Path, Line: m.Line, Column: m.Column, Message: m.Message})
		}
	} else if list, ok := errors.AsType[v1.FieldErrors](err); ok {
		for _, m := range list {
			p.Errors = append(p.Errors, ProblemError{Path: m.Path, Message: m.Message})
		}
	}
	return p
}

func writeProblem(w http.ResponseWriter, p Problem) {
	p.Title = http.StatusText(p.Status)
	text, err := json.Marshal(p)
	if err != nil {
		text = []byte(`{"title":"Internal Server Error","status":500}`)
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_, _ = w.Write(text)
}

// wait is how long an answer waits for its change to be live.
const wait = 2 * time.Second

func contextWithTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, wait)
}
