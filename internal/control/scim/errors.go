package scim

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/gatehouse-ai/gatehouse/internal/control/filter"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// scimType is the detail of a 400 or 409 (RFC 7644, table 9).
type scimType string

const (
	invalidFilter scimType = "invalidFilter"
	invalidPath   scimType = "invalidPath"
	invalidSyntax scimType = "invalidSyntax"
	invalidValue  scimType = "invalidValue"
	mutability    scimType = "mutability"
	noTarget      scimType = "noTarget"
	tooMany       scimType = "tooMany"
	uniqueness    scimType = "uniqueness"
	noType        scimType = ""
)

// problem is a refusal in SCIM's words.
type problem struct {
	status int
	kind   scimType
	detail string
	allow  string
	// wrong says that a credential was sent and is not good (RFC 6750, 3.1).
	wrong bool
	// retry says that the same request may succeed a little later.
	retry bool
}

func (p *problem) Error() string { return fmt.Sprintf("%d %s: %s", p.status, p.kind, p.detail) }

// bad is a 400.
func bad(kind scimType, format string, args ...any) *problem {
	return &problem{status: http.StatusBadRequest, kind: kind, detail: fmt.Sprintf(format, args...)}
}

// taken is a 409; it never says by whom.
func taken(format string, args ...any) *problem {
	return &problem{status: http.StatusConflict, kind: uniqueness, detail: fmt.Sprintf(format, args...)}
}

func absent(what string) *problem {
	return &problem{status: http.StatusNotFound, detail: "there is no such " + what}
}

func stale() *problem {
	return &problem{status: http.StatusPreconditionFailed, detail: "the resource has another version now; read it again"}
}

// misread says where a filter or a path is wrong, with an example of this API.
func misread(kind scimType, what, example string, e *filter.Error) *problem {
	return bad(kind, "the %s is wrong at %d: %s; it is written like %s", what, e.Offset, e.Message, example)
}

// problemOf puts any error into SCIM's words. An uncoded one is internal: the
// caller learns nothing of it.
func problemOf(err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	if e, ok := errors.AsType[*filter.Error](err); ok {
		return misread(invalidFilter, "filter", `userName eq "ada@example.com"`, e)
	}
	e, ok := errors.AsType[*identity.Error](err)
	if !ok {
		return &problem{status: http.StatusInternalServerError, detail: "internal error"}
	}
	p := &problem{status: e.Code.Status(), detail: e.Message}
	switch e.Code {
	case identity.CodeConflict: // the store names the field, never whose it is
		p.kind = uniqueness
	case identity.CodeAmbiguousBody, identity.CodeInvalidRequest:
		p.kind = invalidSyntax
	}
	p.retry = p.status == http.StatusServiceUnavailable || p.status == http.StatusTooManyRequests
	return p
}

// write renders a problem (RFC 7644, 3.12).
func (p *problem) write(w http.ResponseWriter) {
	body := map[string]any{"schemas": []string{urnError}, "status": strconv.Itoa(p.status), "detail": p.detail}
	if p.kind != noType {
		body["scimType"] = p.kind
	}
	h := w.Header()
	h.Set("Content-Type", mediaType)
	if p.allow != "" {
		h.Set("Allow", p.allow)
	}
	if p.retry {
		h.Set("Retry-After", "1")
	}
	if p.status == http.StatusUnauthorized {
		challenge := `Bearer realm="gatehouse"`
		if p.wrong {
			challenge += `, error="invalid_token"`
		}
		h.Set("WWW-Authenticate", challenge)
	}
	w.WriteHeader(p.status)
	_ = json.NewEncoder(w).Encode(body)
}
