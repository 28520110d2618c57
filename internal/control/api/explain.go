package api

import (
	"errors"
	"net/http"
	"strings"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/authn"
	"github.com/gatehouse-ai/gatehouse/internal/authz"
	"github.com/gatehouse-ai/gatehouse/internal/control/api/apply"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

// ExplainRequest is a question: may this caller do this, and why? With neither
// token nor as it is about oneself.
type ExplainRequest struct {
	// Token is any credential. It is neither kept nor logged.
	Token v1.Sensitive `json:"token,omitempty"`
	// As is user:EMAIL or virtual-account:NAME.
	As string `json:"as,omitempty"`
	// Model is account/model. Resource is anything else, as in role bindings.
	Model    string `json:"model,omitempty"`
	Resource string `json:"resource,omitempty"`
	// Action is a permission. Default model:use.
	Action string `json:"action,omitempty"`
}

// Explanation is the answer.
type Explanation struct {
	Allowed bool            `json:"allowed"`
	Reason  string          `json:"reason"`
	Steps   []identity.Step `json:"steps"`
}

func (a *API) explainOperations() []operation {
	return []operation{{
		ID: "explain", Method: http.MethodPost, Path: base + "/access:explain", Summary: "Why is it allowed or denied",
		// access:explain is asked for unless the question is about oneself.
		Permission: identity.PermAccessExplain, On: onResource, AuditAction: "access.explain",
		Body: ExplainRequest{}, Answer: Explanation{}, Status: http.StatusOK, run: (*call).explain,
	}}
}

// explain answers a question. Those who may only ask about themselves are not
// told whether what they may not use exists.
func (c *call) explain() (*answer, error) {
	var q ExplainRequest
	if err := c.decode(&q); err != nil {
		return nil, err
	}
	if err := q.check(); err != nil {
		return nil, err
	}
	others := c.mayTenant(identity.PermAccessExplain)
	tr := &identity.Trace{}
	who, err := c.explained(&q, tr)
	own := err == nil && c.same(who.Principal)
	c.about = q.about(who)
	if own && q.Token == "" {
		who.Grant = c.caller.Grant // as oneself is as one is here: no less narrowed
	}
	if others != nil && !own {
		return nil, others // the same for a token of somebody else's and a bad one
	}
	if err := c.auditExplain(&q, who, own); err != nil {
		return nil, err
	}
	out := Explanation{Steps: tr.Steps}
	if err != nil {
		out.Reason = string(identity.CodeOf(err))
	} else {
		c.decide(&q, who, others == nil, tr, &out)
	}
	out.Steps = append([]identity.Step{}, tr.Steps...)
	return &answer{body: out}, nil
}

func (q *ExplainRequest) check() error {
	wrong := func(message string) error { return identity.Errorf(identity.CodeInvalidRequest, "%s", message) }
	if q.Token != "" && q.As != "" {
		return wrong("send token or as, not both")
	}
	if kind, _, ok := v1.ParseSubject(q.As); q.As != "" && (!ok || kind != "user" && kind != "virtual-account") {
		return wrong("as must be user:EMAIL or virtual-account:NAME")
	}
	if q.Model != "" && q.Resource != "" {
		return wrong("send model or resource, not both")
	}
	if q.Action != "" && !identity.Permission(q.Action).Known() {
		return wrong("there is no such permission; GET " + base + "/permissions lists them")
	}
	if q.Resource != "" && q.Action == "" {
		return wrong("say which action is meant")
	}
	if q.Model != "" {
		if _, _, ok := v1.SplitFQN(q.Model); !ok {
			return wrong("model must be account/model")
		}
	}
	if _, _, ok := v1.ParseResource(q.Resource); q.Resource != "" && !ok {
		return wrong("resource must be tenant or kind:name")
	}
	return nil
}

// explained finds out whom the question is about.
func (c *call) explained(q *ExplainRequest, tr *identity.Trace) (authn.Caller, error) {
	switch {
	case q.Token != "":
		who, err := c.opt.Explainer.Explain(c.r.Context(), c.snap, q.Token.Reveal(), tr)
		if err == nil && (who.Principal == nil || who.Grant == nil) {
			err = errors.New("the explainer returned nobody")
		}
		if who.Snapshot == nil {
			who.Snapshot = c.snap
		}
		return who, err
	case q.As != "":
		return c.as(q.As, tr)
	}
	return authn.Caller{Principal: c.caller.Principal, Grant: c.caller.Grant, Snapshot: c.snap}, nil
}

func (c *call) as(subject string, tr *identity.Trace) (authn.Caller, error) {
	who := authn.Caller{Grant: &identity.Grant{Via: "as"}, Snapshot: c.snap}
	kind, name, _ := v1.ParseSubject(subject)
	nobody := identity.Errorf(identity.CodeInvalidToken, "nobody")
	switch kind {
	case "user":
		u, ok := c.snap.UserByEmail(name)
		switch {
		case !ok:
			tr.Add("principal", false, "there is no user %s", name)
			return who, nobody
		case !u.Active:
			tr.Add("principal", false, "the user %s is deactivated", name)
			return who, nobody
		}
		for _, t := range c.snap.UserTeams(u, "", c.now) {
			tr.Add("team", true, "%s, by %s", t.Team, t.Source)
		}
		who.Principal = c.snap.UserPrincipal(u, c.now)
		return who, nil
	case "virtual-account":
		v, ok := c.snap.VirtualAccount(name)
		switch {
		case !ok:
			tr.Add("principal", false, "there is no virtual account %s", name)
			return who, nobody
		case !v.Resource.IsEnabled():
			tr.Add("principal", false, "the virtual account %s is disabled; set spec.enabled: true", name)
			return who, nobody
		}
		who.Principal = v.Principal
		return who, nil
	}
	return who, identity.Errorf(identity.CodeInvalidRequest, "as must be user:EMAIL or virtual-account:NAME")
}

// same reports whether a principal is the caller.
func (c *call) same(p *identity.Principal) bool {
	me := c.caller.Principal
	switch {
	case p == nil || p.Kind != me.Kind:
		return false
	case p.UID != "" || me.UID != "":
		return p.UID == me.UID
	default:
		return p.Key != identity.IdentityKey{} && p.Key == me.Key
	}
}

// decide asks the one function that decides, with a trace.
func (c *call) decide(q *ExplainRequest, who authn.Caller, everything bool, tr *identity.Trace, out *Explanation) {
	if q.Model == "" && q.Resource == "" {
		out.Allowed, out.Reason = true, "authenticated"
		return
	}
	req := authz.Request{Principal: who.Principal, Grant: who.Grant, Action: identity.PermModelUse, Context: authz.Context{Now: c.now}, Trace: &identity.Trace{}}
	if q.Action != "" {
		req.Action = identity.Permission(q.Action)
	}
	if q.Model != "" {
		req.Name, req.Resource = q.Model, modelTarget(who.Snapshot, q.Model)
	} else {
		kind, name, _ := v1.ParseResource(q.Resource)
		ref := identity.ResourceRef(kind + ":" + name)
		if kind == string(identity.Tenant) {
			ref = identity.Tenant
		}
		req.Resource = who.Snapshot.Target(ref)
	}
	d := authz.Decide(&req)
	out.Allowed, out.Reason = d.Allowed, d.Reason.String()
	if d.Allowed || everything {
		tr.Steps = append(tr.Steps, req.Trace.Steps...)
		return
	}
	if d.Reason == authz.ReasonNarrowed || d.Reason == authz.ReasonTokenEnded {
		tr.Steps = append(tr.Steps, req.Trace.Steps...)
		return
	}
	out.Reason = string(identity.CodeModelNotPermitted)
	if q.Model == "" {
		out.Reason = string(identity.CodePermissionDenied)
	}
	tr.Add("result", false, "it does not exist, or nothing gives you %s on it; somebody with access:explain can see more", req.Action)
}

// modelTarget finds a model as a call would.
func modelTarget(s *snapshot.Snapshot, fqn string) *snapshot.Target {
	account, name, _ := v1.SplitFQN(fqn)
	if m, ok := s.Model(account, name); ok {
		return m.Target
	}
	return nil
}

// about names whose access is asked about.
func (q *ExplainRequest) about(who authn.Caller) string {
	if who.Principal != nil {
		return string(who.Principal.Kind) + ":" + who.Principal.Name
	}
	if kind, name, ok := v1.ParseSubject(q.As); ok {
		return kind + ":" + name
	}
	return "unknown"
}

// auditExplain takes down who looked at somebody else's access. The token is
// named by its id alone.
func (c *call) auditExplain(q *ExplainRequest, who authn.Caller, own bool) error {
	if own {
		return nil
	}
	e := c.entry("access.explain", q.about(who), apply.OutcomeDone)
	asked := map[string]string{"model": q.Model, "resource": q.Resource, "action": q.Action}
	if who.Grant != nil {
		asked["tokenId"] = who.Grant.TokenID
	}
	for k, v := range asked {
		if strings.TrimSpace(v) == "" {
			delete(asked, k)
		}
	}
	e.After = asJSON(asked)
	_, err := c.opt.Writer.Commit(c.r.Context(), &record.Batch{Audit: []record.AuditEntry{e}})
	return err
}
