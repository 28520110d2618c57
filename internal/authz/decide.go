package authz

import (
	"math"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

// Request is one question: may this principal, by this grant, do this to that?
type Request struct {
	Principal *identity.Principal
	Grant     *identity.Grant
	Action    identity.Permission
	// Resource is what it is about. For a model that does not exist it is nil,
	// which is denied in the same way as a model that is not permitted.
	Resource *snapshot.Target
	// Name is the fully qualified name that the caller asked for, where the
	// resource is a model; a wildcard entry covers many.
	Name    string
	Context Context
	// Trace, where not nil, takes down every step, for explain.
	Trace *identity.Trace
}

// Context is what a decision depends on besides.
type Context struct {
	// Now is the time of the request. Without it everything that ends has ended.
	Now time.Time
}

// The stages of a trace.
const (
	stageOwner = "owner"
	stageGrant = "grant"
)

// Reason says which step decided.
type Reason uint8

// The reasons.
const (
	ReasonNoGrant       Reason = iota // nothing permits it
	ReasonPermitted                   // a role permits it
	ReasonNoResource                  // there is no such model
	ReasonDisabled                    // the model is switched off
	ReasonNarrowed                    // the token was narrowed below its owner
	ReasonTokenEnded                  // the token's notAfter has passed
	ReasonOwnerLimit                  // the owner may not do it
	ReasonModelNarrowed               // the model has collaborators of its own
)

// String returns the reason's name in logs and explanations.
func (r Reason) String() string {
	switch r {
	case ReasonPermitted:
		return "permitted"
	case ReasonNoResource:
		return "no_such_resource"
	case ReasonDisabled:
		return "model_disabled"
	case ReasonNarrowed:
		return "token_narrowed"
	case ReasonTokenEnded:
		return "token_ended"
	case ReasonOwnerLimit:
		return "owner_not_permitted"
	case ReasonModelNarrowed:
		return "model_narrowed"
	default:
		return "no_grant"
	}
}

// Decision is the answer.
type Decision struct {
	Allowed bool
	Reason  Reason
}

// Decide answers a request. Deny unless something permits; in this order:
// token narrowing, owner's limits, roles on the resource and its parents.
func Decide(q *Request) Decision {
	if q.Principal == nil || q.Grant == nil {
		return Decision{Reason: ReasonNoGrant}
	}
	if d, denied := narrowing(q); denied {
		return d
	}
	if q.Resource == nil {
		q.Trace.Note("resource", false, "there is no such model; check the name (account/model), and whether spec.models of the provider account lists it")
		return Decision{Reason: ReasonNoResource}
	}
	if m := q.Resource.Model; m != nil && q.Action == identity.PermModelUse && !m.Enabled() {
		traceDisabled(q.Trace, m)
		return Decision{Reason: ReasonDisabled}
	}
	if q.Principal.LimitIDs != nil {
		if d := permitted(q, q.Principal.LimitIDs, stageOwner); !d.Allowed {
			return Decision{Reason: ReasonOwnerLimit}
		}
	}
	return permitted(q, q.Principal.SubjectIDs, stageGrant)
}

// narrowing applies what a token takes away from its owner.
func narrowing(q *Request) (Decision, bool) {
	n := q.Grant.Narrowing
	if n == nil {
		return Decision{}, false
	}
	if n.NotAfter != nil && (q.Context.Now.IsZero() || !q.Context.Now.Before(*n.NotAfter)) {
		q.Trace.Note("token", false, "the token's notAfter has passed; make a new token")
		return Decision{Reason: ReasonTokenEnded}, true
	}
	if q.Action != identity.PermModelUse {
		q.Trace.Note("token", false, "a narrowed token mints no tokens and manages nothing; use one without narrowing")
		return Decision{Reason: ReasonNarrowed}, true
	}
	if n.Models == nil || namesModel(n.Models, q.Name) {
		q.Trace.Note("token", true, "the token's narrowing names this model, or no models")
		return Decision{}, false
	}
	q.Trace.Note("token", false, "the token is narrowed to other models; make one whose narrowing.models names this one")
	return Decision{Reason: ReasonNarrowed}, true
}

// namesModel reports whether a list names a model, by itself or as account/*.
func namesModel(list []string, fqn string) bool {
	for _, m := range list {
		if m == fqn {
			return true
		}
		if account, all := strings.CutSuffix(m, "/*"); all && len(fqn) > len(account) && fqn[len(account)] == '/' && fqn[:len(account)] == account {
			return true
		}
	}
	return false
}

// permitted looks for a role of one of the subjects on the resource, then on
// each of its parents. Above a model that has collaborators of its own, only a
// role that manages access still counts.
func permitted(q *Request, ids []uint32, whose string) Decision {
	narrowed := false
	now := unix(q.Context.Now)
	for t := q.Resource; t != nil; t = t.Above {
		allowed := false
		t.Each(ids, func(e *snapshot.Entry) bool {
			ok := e.Permissions.Has(q.Action) && (e.Expires == 0 || now < e.Expires) &&
				(!narrowed || e.Permissions.Has(identity.PermAccountAccess))
			if q.Trace != nil {
				traceEntry(q, whose, t, e, ok, narrowed)
			}
			allowed = ok
			return !ok
		})
		if allowed {
			return Decision{Allowed: true, Reason: ReasonPermitted}
		}
		narrowed = narrowed || t.Narrowed
	}
	if q.Trace != nil {
		traceNoGrant(q, whose, narrowed)
	}
	if narrowed {
		return Decision{Reason: ReasonModelNarrowed}
	}
	return Decision{Reason: ReasonNoGrant}
}

// unix is a time in Unix seconds; the end of time where there is none, so that
// a forgotten clock never keeps alive what has ended.
func unix(now time.Time) int64 {
	if now.IsZero() {
		return math.MaxInt64
	}
	return now.Unix()
}

// Allows is Decide for what is not a model, as a coded error that names the
// missing permission.
func Allows(p *identity.Principal, g *identity.Grant, action identity.Permission, t *snapshot.Target, now time.Time) error {
	q := Request{Principal: p, Grant: g, Action: action, Resource: t, Context: Context{Now: now}}
	if d := Decide(&q); d.Allowed {
		return nil
	}
	return &identity.Error{
		Code: identity.CodePermissionDenied, Permission: string(action),
		Message: "this needs the permission " + string(action),
	}
}

// Held returns every permission that a principal holds on a target by way of
// it or its parents: what they may grant to others.
func Held(p *identity.Principal, g *identity.Grant, t *snapshot.Target, now time.Time) identity.PermissionSet {
	if p == nil || g == nil || g.Narrowing != nil {
		return identity.PermissionSet{}
	}
	held := heldBy(p.SubjectIDs, t, unix(now))
	if p.LimitIDs != nil {
		held = held.Intersect(heldBy(p.LimitIDs, t, unix(now)))
	}
	return held
}

func heldBy(ids []uint32, t *snapshot.Target, now int64) identity.PermissionSet {
	var held identity.PermissionSet
	narrowed := false
	for ; t != nil; t = t.Above {
		t.Each(ids, func(e *snapshot.Entry) bool {
			if (e.Expires == 0 || now < e.Expires) && (!narrowed || e.Permissions.Has(identity.PermAccountAccess)) {
				held = held.Union(e.Permissions)
			}
			return true
		})
		narrowed = narrowed || t.Narrowed
	}
	return held
}

// Models calls yield once for every model that a principal may use, by account
// and name: the named entries, and for a wildcard the names on which somebody
// has a role and what names returns for it.
func Models(s *snapshot.Snapshot, p *identity.Principal, g *identity.Grant, now time.Time,
	names func(*snapshot.Account) []string, yield func(fqn string, m *snapshot.Model),
) {
	q := Request{Principal: p, Grant: g, Action: identity.PermModelUse, Context: Context{Now: now}}
	ask := func(fqn string, m *snapshot.Model) {
		q.Resource, q.Name = m.Target, fqn
		if Decide(&q).Allowed {
			yield(fqn, m)
		}
	}
	for _, a := range s.Accounts() {
		for _, m := range a.Named() {
			ask(m.FQN, m)
		}
		if a.Wildcard == nil {
			continue
		}
		covered := slices.Concat(a.Granted(), names(a))
		slices.Sort(covered)
		for _, name := range slices.Compact(covered) {
			if m, ok := s.Model(a.Name, name); ok && (m == a.Wildcard || !m.Listed) {
				ask(a.Name+"/"+name, m)
			}
		}
	}
}
