package scim

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

const (
	// deniedTarget bounds a target, in bytes; names are refused before at less.
	deniedTarget = 300
	// deniedWait bounds how long the answer waits for the audit.
	deniedWait = 5 * time.Second
)

// denial is a name that a directory asked for and does not get, because with it
// came what others have granted. What is merely taken, or badly written, is not
// one: directories send such things all day.
type denial struct {
	action, target string
	before         map[string]any
	after          map[string]any
}

// denyUser notes that somebody was to be given a name; who is the person that
// was in the way, or was to be changed, if there is one. The answer does not say that the person in
// the way administers the installation; the audit does, by why. It returns the
// answer.
func (c *call) denyUser(why, name string, who, asked *identity.User, p *problem) *problem {
	d := denial{action: "user.update", target: "user:" + name}
	if c.r.Method == http.MethodPost {
		d.action = "user.create"
	}
	if who != nil && who.UID != "" {
		d.before = map[string]any{"uid": who.UID, "userName": who.UserName, "email": who.Email}
	}
	d.after = map[string]any{"reason": why, "userName": asked.UserName, "email": asked.Email}
	c.deny(d)
	return p
}

// deny notes a refusal for the audit; of one request the first is kept, also
// where it is tried again because others wrote in between. A dry run tries
// nothing: it is asked so that nobody is refused, and it promises to write
// nothing.
func (c *call) deny(d denial) {
	if c.denied == nil && !c.dryRun {
		c.denied = &d
	}
}

// auditDenied writes down what was refused. That it could not be changes
// nothing for the directory, which is refused either way.
func (c *call) auditDenied() {
	d := c.denied
	if d == nil {
		return
	}
	untold, ok := c.denials.Admit(c.directory, c.opt.Now())
	if !ok {
		return
	}
	if untold > 0 {
		d.after["notAudited"] = untold
	}
	if len(d.target) > deniedTarget {
		d.target = strings.ToValidUTF8(d.target[:deniedTarget], "") + "…"
	}
	e := c.entry(d.action, d.target, nil, d.after)
	if d.before != nil {
		e.Before = asJSON(d.before)
	}
	e.Outcome = "denied"
	// Whoever hangs up is written down all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), deniedWait)
	defer cancel()
	if _, err := c.opt.Writer.Commit(ctx, &record.Batch{Audit: []record.AuditEntry{e}}); err != nil {
		c.denials.Missed(c.directory, untold+1, c.opt.Now())
		c.opt.Report(c.ctx, err)
	}
}
