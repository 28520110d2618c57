package gateway

import (
	"net/http"
	"strings"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/authn"
	"github.com/gatehouse-ai/gatehouse/internal/authz"
	"github.com/gatehouse-ai/gatehouse/internal/gateway/llm"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

// callModel is the stages of a model's call, after the caller is known.
func (e *Exchange) callModel() error {
	if err := e.read(); err != nil {
		return err
	}
	if err := e.authorize(); err != nil {
		return err
	}
	if err := e.suits(); err != nil {
		return err
	}
	if err := e.owns(); err != nil {
		return err
	}
	e.authzDone = time.Since(e.start) - e.authDone
	resp, err := e.send()
	if err != nil {
		return err
	}
	return e.relay(resp)
}

// read takes the whole body in and reads what decides.
func (e *Exchange) read() (err error) {
	h, ep := e.r.Header, e.op.endpoint
	if enc := h["Content-Encoding"]; len(enc) > 0 && (len(enc) > 1 || enc[0] != "identity") {
		return identity.Errorf(identity.CodeUnsupportedMediaType, "send the body without a Content-Encoding")
	}
	kind := h["Content-Type"]
	if len(kind) > 1 {
		return identity.Errorf(identity.CodeInvalidRequest, "Content-Type must be sent once")
	}
	if !ep.Multipart() && len(kind) == 1 && !isJSON(kind[0]) {
		return identity.Errorf(identity.CodeUnsupportedMediaType, "send application/json")
	}
	if e.body, err = e.g.readBody(e.w, e.r, ep.Multipart()); err != nil {
		return err
	}
	e.rec.BytesIn = e.body.size
	if ep.Multipart() {
		e.call, err = llm.PeekMultipart(e.body, e.body.size, h.Get("Content-Type"))
	} else {
		e.call, err = llm.Peek(ep, e.body.mem)
	}
	return err
}

// isJSON reports whether a media type is JSON, whatever its parameters: it is
// forwarded as plain application/json, which is UTF-8 (RFC 8259 section 8.1).
func isJSON(mediaType string) bool {
	kind, _, _ := strings.Cut(mediaType, ";")
	return strings.EqualFold(strings.TrimSpace(kind), "application/json")
}

// notPermitted is the one answer for a model that does not exist, that is
// switched off, and that the caller may not use.
func notPermitted(why string) error {
	return &identity.Error{
		Code: identity.CodeModelNotPermitted, Permission: string(identity.PermModelUse), Detail: why,
		Message: "the model does not exist, or you do not have model:use on it; GET /v1/models lists what you may use",
	}
}

// authorize asks whether the caller may use the model.
func (e *Exchange) authorize() error {
	account, name, ok := strings.Cut(e.call.Model, "/")
	if !ok {
		e.rec.Model = clip(e.call.Model)
		return &identity.Error{
			Code: identity.CodeModelNotPermitted, Permission: string(identity.PermModelUse),
			Message: "the model's name lacks its account: write account/model; GET /v1/models lists what you may use",
		}
	}
	e.rec.Account, e.rec.Model = clip(account), clip(name)
	m, err := e.permitted(e.snap, &e.caller, account, name)
	if err != nil {
		return err
	}
	e.model, e.account = m, m.Account
	return nil
}

// permitted decides about one model in one snapshot.
func (e *Exchange) permitted(s *snapshot.Snapshot, who *authn.Caller, account, name string) (*snapshot.Model, error) {
	q := authz.Request{
		Principal: who.Principal, Grant: who.Grant, Action: identity.PermModelUse, Name: account + "/" + name,
		Context: authz.Context{Now: e.g.opt.Now()},
	}
	var m *snapshot.Model
	if llm.ValidModel(name) {
		if found, ok := s.Model(account, name); ok {
			m, q.Resource = found, found.Target
		}
	}
	if d := authz.Decide(&q); !d.Allowed || m == nil {
		return nil, notPermitted(d.Reason.String())
	}
	return m, nil
}

// clip bounds what a caller can put into records.
func clip(s string) string {
	const most = 256
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "")
	}
	return s
}

// suits asks whether the model, and its provider, have the endpoint.
func (e *Exchange) suits() error {
	ep := e.op.endpoint
	if !e.model.Serves(ep.ModelType()) || !ep.Speaks(e.account.Resource.Spec.Provider) {
		return identity.Errorf(identity.CodeEndpointUnsupported, "the model does not serve %s /v1%s", http.MethodPost, ep.Path())
	}
	return nil
}

// owns refuses what reaches beyond the request: callers share the account's
// key, and so everything that is stored under it.
func (e *Exchange) owns() error { return e.reaches(&e.caller, e.account) }

func (e *Exchange) reaches(who *authn.Caller, a *snapshot.Account) error {
	if e.call.Hosted == "" && e.call.Stored == "" {
		return nil
	}
	err := authz.Allows(who.Principal, who.Grant, identity.PermHostedTools, a.Target, e.g.opt.Now())
	switch {
	case err == nil:
		return nil
	case e.call.Stored != "":
		return &identity.Error{
			Code: identity.CodeResourceNotOwned, Permission: string(identity.PermHostedTools), Err: err,
			Message: e.call.Stored + " refers to something stored at the provider that is not known to be yours; this needs provider-account:hosted-tools",
		}
	default:
		return &identity.Error{
			Code: identity.CodePermissionDenied, Permission: string(identity.PermHostedTools), Err: err,
			Message: "tools that the provider runs by itself need provider-account:hosted-tools",
		}
	}
}
