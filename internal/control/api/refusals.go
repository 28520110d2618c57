package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/gatehouse-ai/gatehouse/internal/control/api/apply"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

// auditTarget is the length of the longest target of a refusal, in bytes. What
// exists has shorter names.
const auditTarget = 300

// auditable reports whether an answer is a refusal, shown or hidden, of what
// would have changed something.
func auditable(c *call, op *operation, p Problem, err error) bool {
	if op == nil || op.AuditAction == notAudited || c.caller.Principal == nil {
		return false
	}
	r, ok := errors.AsType[*apply.Refused](err)
	return p.Status == http.StatusForbidden || ok && r.Because != nil
}

// auditDenied takes down that somebody tried. That it could not be taken down
// changes nothing for the caller, who is refused either way.
func (a *API) auditDenied(c *call, op *operation, p Problem, err error) {
	target, after := c.about, map[string]any{"code": p.Code, "permission": p.Permission}
	if r, ok := errors.AsType[*apply.Refused](err); ok {
		if r.Ref != "" {
			target = string(r.Ref)
		}
		if r.Because != nil {
			after["permission"], after["exists"] = problemOf(r.Because).Permission, r.Exists
		}
	}
	if target == "" {
		target = string(identity.Tenant)
	}
	// A database may refuse what is not UTF-8, and the entry would be lost.
	target = strings.ToValidUTF8(target, "\uFFFD")
	if len(target) > auditTarget {
		target = strings.ToValidUTF8(target[:auditTarget], "") + "…"
	}
	e := c.entry(op.AuditAction, target, apply.OutcomeDenied)
	caller := e.Actor + " " + e.ActorUID
	untold, ok := a.refusals.Admit(caller, c.now)
	if !ok {
		return
	}
	if untold > 0 {
		after["notAudited"] = untold
	}
	if id := c.r.PathValue("id"); id != "" {
		after["id"] = shorten(strings.ToValidUTF8(id, "\uFFFD"))
	}
	if c.dryRun {
		after["dryRun"] = true
	}
	e.After, _ = json.Marshal(after)
	// Whoever hangs up is written down all the same.
	ctx, cancel := contextWithTimeout(context.WithoutCancel(c.r.Context()))
	defer cancel()
	if _, err := a.opt.Writer.Commit(ctx, &record.Batch{Audit: []record.AuditEntry{e}}); err != nil {
		a.refusals.Missed(caller, untold+1, c.now)
		a.opt.Log.ErrorContext(c.r.Context(), "a refusal could not be audited", "request_id", c.id, "error", err)
	}
}
