package authz

import (
	"fmt"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

func traceDisabled(t *identity.Trace, m *snapshot.Model) {
	switch {
	case t == nil:
	case m.Spec == nil:
		t.Add("resource", false, "%s is granted to somebody, but provider-account:%s does not list it; add it to spec.models", m.FQN, m.Account.Name)
	default:
		t.Add("resource", false, "%s is disabled; set enabled: true for the model %s in spec.models of provider-account:%s", m.FQN, m.Spec.Name, m.Account.Name)
	}
}

func traceEntry(q *Request, whose string, on *snapshot.Target, e *snapshot.Entry, ok, narrowed bool) {
	why := ""
	switch {
	case ok:
		why = "permits " + string(q.Action)
	case e.Expires != 0 && unix(q.Context.Now) >= e.Expires:
		why = "has expired; change spec.expiresAt"
	case !e.Permissions.Has(q.Action):
		why = "does not hold " + string(q.Action)
	case narrowed:
		why = "does not count, because the model has collaborators of its own"
	}
	q.Trace.Add(whose, ok, "%s has %s on %s (from %s): %s", e.Who, e.Role, on.Ref, e.Source, why)
}

func traceNoGrant(q *Request, whose string, narrowed bool) {
	who := fmt.Sprint(q.Principal.Subjects)
	if whose == stageOwner {
		who = "the owning team"
	}
	hint := fmt.Sprintf("bind a role with %s to one of them on %s: a RoleBinding, or collaborators", q.Action, q.Resource.Ref)
	if narrowed {
		hint = fmt.Sprintf("%s has collaborators of its own; add one of them there", q.Resource.Ref)
	}
	q.Trace.Add(whose, false, "nothing gives %s the permission %s on %s; %s", who, q.Action, q.Resource.Ref, hint)
}
