package apply

import (
	"encoding/json"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

// The outcomes of an audit entry.
const (
	OutcomeDone   = "done"
	OutcomeDenied = "denied"
)

// Entry returns an audit entry of an actor, without what was acted on.
func Entry(a Actor, action, target, outcome string) record.AuditEntry {
	e := record.AuditEntry{
		Actor: "system:" + a.Manager, RemoteAddr: a.RemoteAddr, RequestID: a.RequestID, Action: action, Target: target, Outcome: outcome,
	}
	if p := a.Principal; p != nil {
		e.Actor, e.ActorUID = string(p.Kind)+":"+p.Name, p.UID
	}
	if g := a.Grant; g != nil {
		e.Via, e.TokenID = g.Via, g.TokenID
	}
	return e
}

// audit puts an entry into the batch. Secret values are sealed by now, and the
// type would redact them if they were not.
func (p *plan) audit(verb string, ref identity.ResourceRef, before, after v1.Resource) {
	r := after
	if r == nil {
		r = before
	}
	e := Entry(p.actor, r.Type().Kind.Slug()+"."+verb, string(ref), OutcomeDone)
	e.Before, e.After = asJSON(before), asJSON(after)
	p.batch.Audit = append(p.batch.Audit, e)
}

// asJSON never fails: every resource was read from JSON.
func asJSON(r v1.Resource) json.RawMessage {
	if r == nil {
		return nil
	}
	j, err := json.Marshal(r)
	if err != nil {
		return json.RawMessage(`"cannot be shown"`)
	}
	return j
}
