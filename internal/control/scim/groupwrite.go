package scim

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

// groupChange is what a request wants of a group.
type groupChange struct {
	display, external *string
	members           memberPlan
}

// readGroup reads a whole group of POST or PUT.
func (c *call) readGroup() (groupChange, error) {
	var ch groupChange
	doc, err := c.group.canonicalResource(c.body)
	if err != nil {
		return ch, err
	}
	display, _ := doc["displayName"].(string)
	external, _ := doc["externalId"].(string)
	ch.display, ch.external = &display, &external
	ids, err := memberIDs(doc["members"])
	ch.members.replace(ids)
	if err != nil {
		return ch, err
	}
	return ch, ch.check()
}

// check looks at the names; it also trims them.
func (ch *groupChange) check() error {
	if ch.display != nil {
		if *ch.display = strings.TrimSpace(*ch.display); *ch.display == "" {
			return bad(invalidValue, "displayName is required")
		}
		if err := plain("displayName", *ch.display, "", maxDisplayName); err != nil {
			return err
		}
	}
	if ch.external != nil {
		return plain("externalId", *ch.external, "", maxExternalID)
	}
	return nil
}

// set writes the names into a team.
func (ch *groupChange) set(t *v1.Team) {
	if ch.display != nil {
		t.Spec.DisplayName = *ch.display
	}
	switch {
	case ch.external == nil:
	case *ch.external == "":
		delete(t.Annotations, noteExternalID)
	default:
		note(t, noteExternalID, *ch.external)
	}
}

func note(t *v1.Team, key, value string) {
	if t.Annotations == nil {
		t.Annotations = map[string]string{}
	}
	t.Annotations[key] = value
}

// touch makes a new version of a team.
func (c *call) touch(t *v1.Team) {
	n, _ := strconv.ParseUint(t.Annotations[noteMembers], 10, 64)
	note(t, noteMembers, strconv.FormatUint(n+1, 10))
	note(t, noteModified, c.opt.Now().UTC().Truncate(time.Millisecond).Format(time.RFC3339Nano))
}

// copyTeam is a copy whose names and annotations can be changed.
func copyTeam(t *v1.Team) *v1.Team {
	next := *t
	next.Annotations = map[string]string{}
	for k, v := range t.Annotations {
		next.Annotations[k] = v
	}
	return &next
}

func (c *call) createGroup() (*answer, error) {
	ch, err := c.readGroup()
	if err != nil {
		return nil, err
	}
	if err := c.distinct(*ch.display, *ch.external); err != nil {
		return nil, err
	}
	joins := ch.members.joins()
	if err := c.allMine(nil, joins); err != nil {
		return nil, err
	}
	if c.dryRun {
		d := difference{Resource: c.group.Name, Name: *ch.display, Operation: "create"}
		return preview(groupDifferences(d, nil, &ch, nil, joins)), nil
	}
	for n := range attempts {
		t, err := c.newTeam(&ch, n)
		if err != nil {
			return nil, err
		}
		b := &record.Batch{Conditions: []record.Condition{{Key: teamKey(t.Name)}}, PutResources: []v1.Resource{t}}
		first := min(len(joins), chunk)
		w := membership{call: c, team: t.Name}
		if err := w.plan(b, nil, joins[:first]); err != nil {
			return nil, err
		}
		b.Audit = []record.AuditEntry{c.entry("team.create", "team:"+t.Name, nil, t)}
		b.Audit = append(b.Audit, w.audit()...)
		err = c.commit(b, false)
		if identity.IsCode(err, identity.CodePreconditionFailed) {
			continue // the name is taken by now, or a member was written
		}
		if err == nil && len(joins) > first {
			t, err = c.changeMembers(t, &groupChange{}, nil, joins[first:])
		}
		if err != nil {
			return nil, err
		}
		return c.show(http.StatusCreated, c.group, c.groupDoc(t, ch.members.sorted()), teamVersion(t)), nil
	}
	return nil, busy()
}

// distinct refuses a group that this directory has already. Two groups may have
// one name if the directory itself tells them apart.
func (c *call) distinct(display, external string) error {
	return c.eachTeam(func(t *v1.Team) error {
		other := t.Annotations[noteExternalID]
		switch {
		case external != "" && other == external:
			return taken("externalId: another group has this value")
		case fold(displayOf(t)) == fold(display) && (external == "" || other == ""):
			return taken("displayName: another group has this value")
		}
		return nil
	})
}

// newTeam makes the team of a group under a name that hands out nothing: not
// that of a team, not one that anything has been granted to, and not one of
// which anybody is still a member.
func (c *call) newTeam(ch *groupChange, skip int) (*v1.Team, error) {
	base := slug(*ch.display)
	if identity.TeamSubject(base) != identity.Everyone && !c.opt.Trust.MayName(c.ctx, c.directory, base) {
		c.deny(denial{action: "team.create", target: "team:" + base, after: map[string]any{
			"reason": "something is granted to a team of this name; the group's gets another", "displayName": *ch.display,
		}})
	}
	for n := 1; n <= 200; n++ {
		name := base
		if n > 1 {
			name += "-" + strconv.Itoa(n)
		}
		free, err := c.nameFree(name)
		if err != nil {
			return nil, err
		}
		if !free {
			continue
		}
		if skip > 2 { // names go faster than they are tried: take one nobody guesses
			name = base + "-" + uuid.NewString()[:8]
		}
		t := &v1.Team{
			TypeMeta:   v1.TypeMeta{APIVersion: v1.APIVersion, Kind: v1.KindTeam},
			ObjectMeta: v1.ObjectMeta{Name: name, UID: uuid.Must(uuid.NewV7()).String(), Manager: c.manager},
		}
		ch.set(t)
		c.touch(t)
		t.Default()
		if errs := t.Validate(); len(errs) > 0 {
			return nil, bad(invalidValue, "%s", errs.Error())
		}
		return t, nil
	}
	return nil, taken("displayName: too many teams have names like this one")
}

func (c *call) nameFree(name string) (bool, error) {
	if identity.TeamSubject(name) == identity.Everyone || !c.opt.Trust.MayName(c.ctx, c.directory, name) {
		return false, nil
	}
	_, err := c.opt.Teams.Resource(c.ctx, teamKey(name))
	if !identity.IsCode(err, identity.CodeNotFound) {
		return false, err
	}
	left, err := c.opt.Past.TeamMembers(c.ctx, name, "", "", 1)
	return len(left) == 0, err
}

// slug makes a resource's name of a group's: letters, digits and hyphens.
func slug(display string) string {
	var b strings.Builder
	gap := false
	for _, r := range strings.ToLower(display) {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			if gap && b.Len() > 0 {
				b.WriteByte('-')
			}
			b.WriteRune(r)
			gap = false
		} else {
			gap = true
		}
		if b.Len() >= 48 {
			break
		}
	}
	if b.Len() == 0 {
		return "group"
	}
	return b.String()
}

func (c *call) putGroup(id string) (*answer, error) {
	ch, err := c.readGroup()
	if err != nil {
		return nil, err
	}
	t, err := c.changeGroup(id, &ch)
	if err != nil || c.dryRun {
		return c.previewed(id, &ch, err)
	}
	return c.show(http.StatusOK, c.group, c.groupDoc(t, ch.members.sorted()), teamVersion(t)), nil
}

func (c *call) patchGroup(id string) (*answer, error) {
	ops, err := c.readPatch(c.group)
	if err != nil {
		return nil, err
	}
	var ch groupChange
	for i := range ops {
		if err := ch.take(&ops[i], id); err != nil {
			return nil, err
		}
	}
	if err := ch.check(); err != nil {
		return nil, err
	}
	t, err := c.changeGroup(id, &ch)
	if err != nil || c.dryRun {
		return c.previewed(id, &ch, err)
	}
	if !c.view.names() {
		return &answer{status: http.StatusNoContent, version: teamVersion(t)}, nil
	}
	doc, err := c.wholeGroup(t)
	return c.show(http.StatusOK, c.group, doc, teamVersion(t)), err
}

// changeGroup does what a request wants; for a dry run it looks whether that
// could be done.
func (c *call) changeGroup(id string, ch *groupChange) (*v1.Team, error) {
	for range attempts {
		t, err := c.myTeam(id)
		if err != nil {
			return nil, err
		}
		if err := c.ifMatch(teamVersion(t)); err != nil {
			return nil, err
		}
		leaves, joins, err := c.resolveMembers(t, &ch.members)
		if err != nil {
			return nil, err
		}
		if err := c.allMine(leaves, joins); err != nil || c.dryRun {
			return t, err
		}
		t, err = c.changeMembers(t, ch, leaves, joins)
		if !identity.IsCode(err, identity.CodePreconditionFailed) {
			return t, err
		}
	}
	return nil, busy()
}

// resolveMembers turns a plan into who leaves and who joins. Only a plan that
// names all members has to read them.
func (c *call) resolveMembers(t *v1.Team, p *memberPlan) (leaves, joins []string, err error) {
	if !p.whole {
		return p.leaves(), p.joins(), nil
	}
	now, err := c.membersOf(t.Name, sourceSCIM)
	if err != nil {
		return nil, nil, err
	}
	is := make(map[string]bool, len(now))
	for _, uid := range now {
		is[uid] = true
		if !p.in[uid] {
			leaves = append(leaves, uid)
		}
	}
	for _, uid := range p.joins() {
		if !is[uid] {
			joins = append(joins, uid)
		}
	}
	return leaves, joins, nil
}

// previewed is the answer to a dry run, or the error that stood in its way.
func (c *call) previewed(id string, ch *groupChange, err error) (*answer, error) {
	if err != nil {
		return nil, err
	}
	t, err := c.myTeam(id)
	if err != nil {
		return nil, err
	}
	leaves, joins, err := c.resolveMembers(t, &ch.members)
	if err != nil {
		return nil, err
	}
	if leaves, joins, err = c.effective(t.Name, leaves, joins); err != nil {
		return nil, err
	}
	d := difference{Resource: c.group.Name, ID: t.UID, Name: displayOf(t), Operation: "update"}
	return preview(groupDifferences(d, t, ch, leaves, joins)), nil
}

func groupDifferences(like difference, t *v1.Team, ch *groupChange, leaves, joins []string) []difference {
	var list []difference
	add := func(attribute string, before, after any) {
		d := like
		d.Attribute, d.Before, d.After = attribute, before, after
		list = append(list, d)
	}
	text := func(s string) any {
		if s == "" {
			return nil
		}
		return s
	}
	display, external := "", ""
	if t != nil {
		display, external = displayOf(t), t.Annotations[noteExternalID]
	}
	if ch.display != nil && *ch.display != display {
		add("displayName", text(display), text(*ch.display))
	}
	if ch.external != nil && *ch.external != external {
		add("externalId", text(external), text(*ch.external))
	}
	for _, uid := range leaves {
		add("members", uid, nil)
	}
	for _, uid := range joins {
		add("members", nil, uid)
	}
	return list
}
