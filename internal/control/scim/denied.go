package scim

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

const (
	// deniedPerMinute is how many refusals of one directory are audited one by
	// one. The rest is counted, and the next entry tells how many: the audit is
	// never emptied, and a directory that goes on all night must not fill it.
	deniedPerMinute = 60
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
	untold, ok := c.denials.admit(c.directory, c.opt.Now())
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
		c.denials.missed(c.directory, untold+1)
		c.opt.Report(c.ctx, err)
	}
}

// denials counts, by directory, what was refused. Directories are made by
// administrators, so there are few.
type denials struct {
	mu          sync.Mutex
	byDirectory map[string]*tally
}

type tally struct {
	since time.Time
	// told counts since then; untold, since the last entry.
	told, untold int
}

// admit says whether a refusal is audited, and how many were not since the last
// that was.
func (f *denials) admit(directory string, now time.Time) (untold int, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.of(directory)
	if t.since.IsZero() || now.Sub(t.since) >= time.Minute {
		t.since, t.told = now, 0
	}
	if t.told == deniedPerMinute {
		t.untold++
		return 0, false
	}
	t.told++
	untold, t.untold = t.untold, 0
	return untold, true
}

// missed counts what was admitted and could not be written.
func (f *denials) missed(directory string, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.of(directory).untold += n
}

func (f *denials) of(directory string) *tally {
	t := f.byDirectory[directory]
	if t == nil {
		t = &tally{}
		if f.byDirectory == nil {
			f.byDirectory = map[string]*tally{}
		}
		f.byDirectory[directory] = t
	}
	return t
}
