package scim

import (
	"net/http"
	"slices"
	"strings"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/control/filter"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

// chunk is how many people one transaction changes at most.
const chunk = 1000

// memberPlan is what a request wants of a group's members: everybody who is to
// be in it, or who is to come and go.
type memberPlan struct {
	// whole: in is all of the members, and not only what changes.
	whole bool
	in    map[string]bool
}

func (p *memberPlan) set(uid string, in bool) {
	if p.in == nil {
		p.in = map[string]bool{}
	}
	p.in[uid] = in
}

func (p *memberPlan) replace(uids []string) {
	p.whole, p.in = true, nil
	for _, uid := range uids {
		p.set(uid, true)
	}
}

func (p *memberPlan) which(in bool) []string {
	var list []string
	for uid, v := range p.in {
		if v == in {
			list = append(list, uid)
		}
	}
	slices.Sort(list)
	return list
}

func (p *memberPlan) joins() []string  { return p.which(true) }
func (p *memberPlan) leaves() []string { return p.which(false) }
func (p *memberPlan) sorted() []string { return p.which(true) }

// memberIDs reads canonical members. A group within a group is refused: what it
// grants would not be what either says.
func memberIDs(v any) ([]string, error) {
	var ids []string
	for _, m := range values(v) {
		o, _ := m.(map[string]any)
		id, _ := o["value"].(string)
		kind, _ := o["type"].(string)
		ref, _ := o["$ref"].(string)
		if strings.EqualFold(kind, "Group") || strings.Contains(ref, Root+"/Groups/") {
			return nil, bad(invalidValue, "members: groups within groups are not supported; send the people themselves")
		}
		if id == "" {
			return nil, bad(invalidValue, "members: each needs a value, the id of a user")
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// take reads one operation of a PATCH into the change.
func (ch *groupChange) take(op *operation, id string) error {
	if skip, err := op.fixed(id); skip || err != nil {
		return err
	}
	switch op.at.attr.Name {
	case "members":
		return ch.takeMembers(op)
	case "displayName":
		return op.text(&ch.display)
	default: // externalId
		return op.text(&ch.external)
	}
}

// text reads an operation on an attribute that is one string.
func (op *operation) text(into **string) error {
	holder := map[string]any{}
	if op.kind == opRemove || op.value == nil {
		if err := op.remove(holder); err != nil {
			return err
		}
	} else if err := op.put(holder, op.at.attr); err != nil {
		return err
	}
	s, _ := holder[op.at.attr.Name].(string)
	*into = &s
	return nil
}

func (ch *groupChange) takeMembers(op *operation) error {
	if op.at.sub != nil || op.where != nil && op.kind != opRemove {
		return bad(mutability, "a member is added and removed, not changed")
	}
	if op.where != nil {
		ids, ok := chosenIDs(op.expr)
		if !ok {
			return bad(invalidFilter, `members are chosen by value: members[value eq "…"]`)
		}
		for _, uid := range ids {
			ch.members.set(uid, false)
		}
		return nil
	}
	v, err := canonical(op.at.attr, op.value)
	if err != nil {
		return err
	}
	if op.kind == opRemove && empty(v) {
		ch.members.replace(nil)
		return nil
	}
	ids, err := memberIDs(v)
	if err != nil {
		return err
	}
	if op.kind == opReplace {
		ch.members.replace(ids)
		return nil
	}
	for _, uid := range ids {
		ch.members.set(uid, op.kind == opAdd)
	}
	return nil
}

// chosenIDs reads value eq "a" or value eq "b".
func chosenIDs(e filter.Expr) ([]string, bool) {
	switch e := e.(type) {
	case filter.Or:
		a, okA := chosenIDs(e.Left)
		b, okB := chosenIDs(e.Right)
		return append(a, b...), okA && okB
	case filter.Compare:
		id, isText := e.Value.(string)
		return []string{id}, isText && e.Op == filter.Equal && strings.EqualFold(e.Path, "value")
	default:
		return nil, false
	}
}

// allMine refuses members who are not people of this directory, before anything
// is written. What fits into one transaction is looked at there.
func (c *call) allMine(leaves, joins []string) error {
	if len(leaves)+len(joins) <= chunk && !c.dryRun {
		return nil
	}
	for _, uid := range joins {
		if _, err := c.member(uid); err != nil {
			return err
		}
	}
	return nil
}

// member reads somebody who is to join.
func (c *call) member(uid string) (identity.User, error) {
	u, err := c.mine(c.ctx, uid)
	if p, ok := err.(*problem); ok && p.status == http.StatusNotFound {
		return u, bad(invalidValue, "members: %q is not a user of this directory", uid)
	}
	return u, err
}

// effective leaves out those who would not change.
func (c *call) effective(team string, leaves, joins []string) (gone, came []string, err error) {
	pick := func(uids []string, in bool) (list []string, err error) {
		for _, uid := range uids {
			u, err := c.mine(c.ctx, uid)
			if p, ok := err.(*problem); ok && p.status == http.StatusNotFound {
				continue
			}
			if err != nil {
				return nil, err
			}
			if (belongs(&u, team, sourceSCIM) >= 0) != in {
				list = append(list, uid)
			}
		}
		return list, nil
	}
	if gone, err = pick(leaves, false); err != nil {
		return nil, nil, err
	}
	came, err = pick(joins, true)
	return gone, came, err
}

// belongs finds a membership; -1 is none. Source "" is any.
func belongs(u *identity.User, team, source string) int {
	return slices.IndexFunc(u.Memberships, func(m identity.Membership) bool {
		return m.Team == team && (source == "" || m.Source == source)
	})
}

// membership plans changes of one team's members within one batch.
type membership struct {
	*call
	team           string
	added, removed []string
}

// plan puts the changed people into the batch, each on condition that nobody
// has written them meanwhile.
func (w *membership) plan(b *record.Batch, leaves, joins []string) error {
	for _, uid := range leaves {
		u, err := w.opt.People.User(w.ctx, uid)
		if identity.IsCode(err, identity.CodeNotFound) || err == nil && u.Manager != w.manager {
			continue // gone already, or never here
		}
		if err != nil {
			return err
		}
		w.leave(b, &u, sourceSCIM)
	}
	for _, uid := range joins {
		u, err := w.member(uid)
		if err != nil {
			return err
		}
		if belongs(&u, w.team, sourceSCIM) >= 0 {
			continue
		}
		w.put(b, &u, append(slices.Clone(u.Memberships), identity.Membership{Team: w.team, Source: sourceSCIM}))
		w.added = append(w.added, u.Email)
	}
	return nil
}

func (w *membership) leave(b *record.Batch, u *identity.User, source string) {
	if belongs(u, w.team, source) < 0 {
		return
	}
	w.put(b, u, slices.DeleteFunc(slices.Clone(u.Memberships), func(m identity.Membership) bool {
		return m.Team == w.team && (source == "" || m.Source == source)
	}))
	w.removed = append(w.removed, u.Email)
}

func (w *membership) put(b *record.Batch, u *identity.User, list []identity.Membership) {
	b.UserConditions = append(b.UserConditions, record.UserCondition{UID: u.UID, Version: u.Version})
	next := *u
	next.Memberships = list
	b.PutUsers = append(b.PutUsers, next)
}

func (w *membership) empty() bool { return len(w.added)+len(w.removed) == 0 }

// audit tells who came and went.
func (w *membership) audit() []record.AuditEntry {
	if w.empty() {
		return nil
	}
	return []record.AuditEntry{w.entry("team.update", "team:"+w.team, nil, map[string]any{"membersAdded": w.added, "membersRemoved": w.removed})}
}

// changeMembers writes a change of a group, at most chunk people at a time;
// those who lose something first. The first transaction fails with
// precondition_failed if the team has another version than was read; later
// ones read it again.
func (c *call) changeMembers(t *v1.Team, ch *groupChange, leaves, joins []string) (*v1.Team, error) {
	for first := true; first || len(leaves)+len(joins) > 0; first = false {
		l := leaves[:min(len(leaves), chunk)]
		j := joins[:min(len(joins), chunk-len(l))]
		next, err := c.changeSome(t, ch, l, j)
		for n := 1; !first && identity.IsCode(err, identity.CodePreconditionFailed) && n < attempts; n++ {
			if t, err = c.myTeam(t.UID); err == nil {
				next, err = c.changeSome(t, ch, l, j)
			}
		}
		if err != nil {
			return nil, err
		}
		t, leaves, joins = next, leaves[len(l):], joins[len(j):]
	}
	return t, nil
}

func (c *call) changeSome(t *v1.Team, ch *groupChange, leaves, joins []string) (*v1.Team, error) {
	next := copyTeam(t)
	ch.set(next)
	b := &record.Batch{Conditions: []record.Condition{{Key: teamKey(t.Name), ResourceVersion: t.ResourceVersion}}, PutResources: []v1.Resource{next}}
	w := membership{call: c, team: t.Name}
	if err := w.plan(b, leaves, joins); err != nil {
		return nil, err
	}
	renamed := next.Spec.DisplayName != t.Spec.DisplayName || next.Annotations[noteExternalID] != t.Annotations[noteExternalID]
	if !renamed && w.empty() {
		return t, nil
	}
	c.touch(next)
	if renamed {
		b.Audit = append(b.Audit, c.entry("team.update", "team:"+t.Name, t, next))
	}
	b.Audit = append(b.Audit, w.audit()...)
	return next, c.commit(b, len(w.removed) > 0)
}

// deleteGroup takes everybody out of the team and then removes it. What is left
// of a team would be handed to the next one of its name, so nothing is: also
// not memberships that others gave.
func (c *call) deleteGroup(id string) (*answer, error) {
	tries := 0
	for first := true; ; {
		t, err := c.myTeam(id)
		if err != nil {
			return nil, err
		}
		if first {
			if err := c.ifMatch(teamVersion(t)); err != nil {
				return nil, err
			}
		}
		if c.dryRun {
			return preview([]difference{{Resource: c.group.Name, ID: t.UID, Name: displayOf(t), Operation: "delete"}}), nil
		}
		done, err := c.deleteSome(t)
		switch {
		case identity.IsCode(err, identity.CodePreconditionFailed):
			if tries++; tries == attempts {
				return nil, busy()
			}
			continue
		case err != nil:
			return nil, err
		case done:
			return &answer{status: http.StatusNoContent}, nil
		}
		first = false
	}
}

func (c *call) deleteSome(t *v1.Team) (done bool, err error) {
	uids, err := c.opt.Past.TeamMembers(c.ctx, t.Name, "", "", chunk+1)
	if err != nil {
		return false, err
	}
	done = len(uids) <= chunk
	b := &record.Batch{Conditions: []record.Condition{{Key: teamKey(t.Name), ResourceVersion: t.ResourceVersion}}}
	w := membership{call: c, team: t.Name}
	for _, uid := range uids[:min(len(uids), chunk)] {
		u, err := c.opt.People.User(c.ctx, uid)
		if identity.IsCode(err, identity.CodeNotFound) {
			continue
		}
		if err != nil {
			return false, err
		}
		w.leave(b, &u, "")
	}
	b.Audit = w.audit()
	if done {
		b.DeleteResources = []identity.ResourceKey{teamKey(t.Name)}
		b.Audit = append(b.Audit, c.entry("team.delete", "team:"+t.Name, t, nil))
	} else {
		next := copyTeam(t)
		c.touch(next)
		b.PutResources = []v1.Resource{next}
	}
	return done, c.commit(b, true)
}
