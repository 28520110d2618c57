package api

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/authz"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// base is where the API lives.
const base = "/api/v1"

// scope says on what an operation's permission is asked for, and by whom.
type scope string

const (
	// onTenant: asked for on the tenant before the operation runs.
	onTenant scope = "tenant"
	// onResource: the operation asks, on the resource that it is about.
	onResource scope = "resource"
	// onSelf: the operation is about the caller; to be known is enough, or the
	// operation asks itself.
	onSelf scope = "self"
)

const (
	// authenticated is the permission of an operation for everybody we know.
	authenticated identity.Permission = "authenticated"
	// notAudited is the audit action of an operation that changes nothing.
	notAudited = "none"
)

// operation is one method of one path. Permission and AuditAction are never
// left out; register refuses an operation without them.
type operation struct {
	ID, Method, Path, Summary string

	Permission  identity.Permission
	On          scope
	AuditAction string
	// Also are the cases in which it asks for another permission, or is audited
	// as something else.
	Also []special

	Query []query
	// Body and Answer are values of the types that are sent and answered; nil
	// for none.
	Body, Answer any
	// Item is a value of what an Answer of the type ResourceList lists.
	Item any
	// Kind is that of the one resource of the path, where there is one.
	Kind v1.Kind
	// YAML: the body may be YAML as well; Manifest: so may the answer.
	YAML, Manifest bool
	// Form is the media type of the answer. Default application/json.
	Form string
	// IfMatch and IfNoneMatch are the preconditions that it looks at.
	IfMatch, IfNoneMatch bool
	// Status is that of success.
	Status int
	run    func(*call) (*answer, error)
}

// special is a case of an operation that has its own permission and audit
// action.
type special struct {
	// where completes "Where it".
	where       string
	permission  identity.Permission
	auditAction string
}

// creating is the case of a PUT of something that is not there yet.
func creating(perm identity.Permission, action string) special {
	return special{"creates", perm, action}
}

// isAction reports whether a text is an audit action.
func isAction(s string) bool { return strings.Count(s, ".") == 1 }

func (op *operation) fault() string {
	known := op.Permission == authenticated || op.Permission.Known()
	reads := op.Method == http.MethodGet
	switch {
	case !known:
		return "declares no permission of the catalogue"
	case op.On != onTenant && op.On != onResource && op.On != onSelf:
		return "does not say on what its permission is asked for"
	case op.Permission == authenticated && op.On != onSelf:
		return "is for everybody, but not about the caller"
	case op.AuditAction == "" || op.AuditAction != notAudited && !isAction(op.AuditAction):
		return "declares no audit action"
	case !reads && op.AuditAction == notAudited:
		return "changes something without an audit action"
	case slices.ContainsFunc(op.Also, func(s special) bool { return !s.permission.Known() || !isAction(s.auditAction) }):
		return "has a case without permission or audit action"
	case op.IfNoneMatch && len(op.Also) == 0:
		return "may create, and does not say with which permission and audit action"
	case op.run == nil || op.ID == "" || op.Status == 0:
		return "is not complete"
	}
	return ""
}

// register adds an operation: its route, and its description.
func (a *API) register(op operation) error {
	if why := op.fault(); why != "" {
		return fmt.Errorf("control API: %s %s %s", op.Method, op.Path, why)
	}
	h := a.describeOperation(&op)
	a.huma.OpenAPI().AddOperation(h)
	a.huma.Adapter().Handle(h, func(ctx huma.Context) {
		r, w := humago.Unwrap(ctx)
		a.serve(&op, w, r)
	})
	a.ops = append(a.ops, op)
	return nil
}

// route refuses what is not written canonically, and serves what is there. A
// path that nobody registered is a secret to whoever is not known, too.
func (a *API) route(w http.ResponseWriter, r *http.Request) {
	if !canonical(r) {
		a.refuse(w, r, identity.Errorf(identity.CodeInvalidRequest, "the path is not written canonically"))
		return
	}
	h, pattern := a.mux.Handler(r)
	if pattern != "" {
		a.mux.ServeHTTP(w, r)
		return
	}
	c, err := a.begin(w, r, nil)
	if err == nil {
		err = unrouted(w, h, r)
	}
	a.fail(w, r, c, nil, err)
}

// canonical refuses paths that could be read in two ways.
func canonical(r *http.Request) bool {
	p := r.URL.Path
	raw := strings.ToLower(r.URL.EscapedPath())
	for _, bad := range []string{"%2f", "%5c", "%2e", "%00"} {
		if strings.Contains(raw, bad) {
			return false
		}
	}
	return !strings.Contains(p, "//") && !strings.Contains(p, `\`) && !strings.Contains(p+"/", "/../") && !strings.Contains(p+"/", "/./")
}

// unrouted tells a wrong method from a wrong path, as the mux does.
func unrouted(w http.ResponseWriter, h http.Handler, r *http.Request) error {
	probe := &probeWriter{header: http.Header{}}
	h.ServeHTTP(probe, r)
	if probe.status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", probe.header.Get("Allow"))
		return identity.Errorf(identity.CodeMethodNotAllowed, "this path has no %s", r.Method)
	}
	return identity.Errorf(identity.CodeNotFound, "there is no such path")
}

// probeWriter takes the status that the mux would answer with.
type probeWriter struct {
	header http.Header
	status int
}

func (p *probeWriter) Header() http.Header         { return p.header }
func (p *probeWriter) Write(b []byte) (int, error) { return len(b), nil }
func (p *probeWriter) WriteHeader(status int)      { p.status = status }

// serve runs an operation: who is asking, may they, and what is the answer.
func (a *API) serve(op *operation, w http.ResponseWriter, r *http.Request) {
	c, err := a.begin(w, r, op)
	if err == nil {
		c.about = c.subject()
	}
	if err == nil && op.On == onTenant {
		err = authz.Allows(c.caller.Principal, c.caller.Grant, op.Permission, c.snap.Tenant(), c.now)
	}
	if err == nil {
		err = op.checkQuery(r.URL.RawQuery)
	}
	var ans *answer
	if err == nil {
		ans, err = op.run(c)
	}
	if err != nil {
		a.fail(w, r, c, op, err)
		return
	}
	ans.write(w, op.Status)
}
