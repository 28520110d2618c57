package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/control/api/apply"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

const (
	// refusalsPerMinute is how many refusals of one caller are audited one by
	// one. What comes on top is counted: somebody who may do nothing must not
	// be able to fill the database, or to keep its one writer busy.
	refusalsPerMinute = 60
	// refusalCallers is of how many callers the counts are kept.
	refusalCallers = 10_000
	// auditTarget is the length of the longest target of a refusal, in bytes.
	// What exists has shorter names.
	auditTarget = 300
)

// refusals counts, by caller, what was refused.
type refusals struct {
	mu       sync.Mutex
	byCaller map[string]*refusalCount
}

type refusalCount struct {
	since time.Time
	n     int
}

// audited reports whether a refusal is to be audited, and how many of the
// same caller were not since the last one that was.
func (f *refusals) audited(caller string, now time.Time) (ok bool, untold int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.byCaller[caller]
	switch {
	case r == nil:
		if f.byCaller == nil || len(f.byCaller) >= refusalCallers {
			f.byCaller = map[string]*refusalCount{}
		}
		f.byCaller[caller] = &refusalCount{since: now, n: 1}
		return true, 0
	case now.Sub(r.since) >= time.Minute:
		untold = max(0, r.n-refusalsPerMinute)
		r.since, r.n = now, 0
	}
	r.n++
	return r.n <= refusalsPerMinute, untold
}

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
	ok, untold := a.refusals.audited(e.Actor+" "+e.ActorUID, c.now)
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
		a.opt.Log.ErrorContext(c.r.Context(), "a refusal could not be audited", "request_id", c.id, "error", err)
	}
}
