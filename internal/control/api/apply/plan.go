package apply

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/manifest"
	"github.com/gatehouse-ai/gatehouse/internal/record"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

// item is one document on its way.
type item struct {
	doc manifest.Document
	// The preconditions of a PUT.
	ifMatch      string
	mustNotExist bool
	needMatch    bool
	// wanted is the version that the document itself says it is based on.
	wanted string
	// given are the secret values as they were sent: a plan puts sealed ones
	// in their place, and the next plan begins with them again.
	given map[string]v1.SecretValue

	key    identity.ResourceKey
	old    v1.Resource // nil: it does not exist
	action Action
	diff   string
}

func (it *item) new() v1.Resource { return it.doc.Resource }

// ref names the resource in decisions and in the audit.
func (it *item) ref() identity.ResourceRef { return identity.KindRef(it.key.Kind, it.key.Name) }

func keyOf(r v1.Resource) identity.ResourceKey {
	return identity.ResourceKey{Kind: r.Type().Kind, Name: r.Meta().Name}
}

// prepare looks at the documents alone.
func (j *job) prepare() error {
	seen := map[identity.ResourceKey]bool{}
	var errs manifest.Errors
	for _, it := range j.items {
		r := it.doc.Resource
		it.key, it.wanted, it.given = keyOf(r), r.Meta().ResourceVersion, map[string]v1.SecretValue{}
		for _, f := range r.Secrets() {
			it.given[f.Path] = *f.Value
		}
		if seen[it.key] {
			errs = append(errs, it.doc.Locate(v1.FieldErrors{{Path: "metadata.name", Message: string(it.key.Kind) + " " + it.key.Name + " stands in this set twice"}})...)
		}
		seen[it.key] = true
		if grantCount(r) > maxGrants {
			errs = append(errs, it.doc.Locate(v1.FieldErrors{{Path: "spec", Message: "amounts to more than 100000 grants; write several"}})...)
		}
	}
	return invalid(errs)
}

// invalid makes the coded error of what is wrong, or nil where nothing is.
func invalid(errs manifest.Errors) error {
	if len(errs) == 0 {
		return nil
	}
	return &identity.Error{Code: identity.CodeInvalidManifest, Message: "the manifest is not right", Err: errs}
}

// conflicting is invalid for manifests that are right in themselves and do not
// fit what is there: another state, and the same manifest is accepted.
func conflicting(errs manifest.Errors) error {
	if len(errs) == 0 {
		return nil
	}
	return &identity.Error{Code: identity.CodeManifestConflict, Message: "the manifest does not fit what is there", Err: errs}
}

// plan is what one attempt is going to write.
type plan struct {
	*Applier
	ctx      context.Context
	actor    Actor
	snap     *snapshot.Snapshot
	now      time.Time
	items    []*item
	inSet    map[identity.ResourceKey]*item
	pruned   []v1.Resource
	gone     map[identity.ResourceKey]bool
	roles    map[string]role
	warnings []string
	dryRun   bool
	takeOver bool
	batch    record.Batch
}

func (p *plan) empty() bool {
	return len(p.batch.PutResources) == 0 && len(p.batch.DeleteResources) == 0
}

// plan reads what is there and decides. The order matters: what a writer may
// not do is refused before anything is said about what else exists.
func (a *Applier) plan(ctx context.Context, actor Actor, j job) (*plan, error) {
	p := &plan{
		Applier: a, ctx: ctx, actor: actor, snap: actor.Snapshot, now: a.opt.Now(), items: j.items, dryRun: j.dryRun, takeOver: j.takeOver,
		inSet: map[identity.ResourceKey]*item{}, gone: map[identity.ResourceKey]bool{}, roles: map[string]role{},
	}
	if p.snap == nil {
		p.snap = a.opt.Snapshots.Load()
	}
	if p.snap == nil {
		if !actor.system {
			return nil, identity.Errorf(identity.CodeNoSnapshot, "the configuration is not available")
		}
		p.snap = snapshot.NewBuilder(nil).Build(identity.Head{})
	}
	if j.remove != nil {
		return p, p.delete(*j.remove)
	}
	// Whoever may not write the first has not had all the others looked up.
	admit := func(it *item) error {
		if err := p.read(it); err != nil {
			return err
		}
		return p.mayWrite(it)
	}
	steps := []func(*item) error{admit, p.preconditions, p.managed}
	for _, step := range steps {
		for _, it := range p.items {
			if err := step(it); err != nil {
				return nil, about(it.ref(), err)
			}
		}
	}
	if j.prune {
		if err := p.prune(); err != nil {
			return nil, err
		}
	}
	if err := p.references(); err != nil {
		return nil, err
	}
	for _, step := range []func(*item) error{p.mode, p.mayGrant, p.secrets, p.settle} {
		for _, it := range p.items {
			if err := step(it); err != nil {
				return nil, about(it.ref(), err)
			}
		}
	}
	return p, nil
}

// read finds what is stored now and puts the document back as it was sent.
func (p *plan) read(it *item) error {
	for _, f := range it.new().Secrets() {
		*f.Value = it.given[f.Path]
	}
	m := it.new().Meta()
	m.UID, m.ResourceVersion, m.Generation, m.CreationTimestamp, m.Manager = "", "", 0, nil, p.actor.Manager
	p.inSet[it.key] = it
	old, err := p.stored(it.key)
	it.old = old
	return err
}

// stored returns nil where there is no such resource.
func (p *plan) stored(key identity.ResourceKey) (v1.Resource, error) {
	r, err := p.opt.Resources.Resource(p.ctx, key)
	if identity.IsCode(err, identity.CodeNotFound) {
		return nil, nil
	}
	return r, err
}

func (p *plan) preconditions(it *item) error {
	if it.old == nil {
		if it.ifMatch != "" || it.wanted != "" {
			return identity.Errorf(identity.CodePreconditionFailed, "%s does not exist any more", it.ref())
		}
		return nil
	}
	version := it.old.Meta().ResourceVersion
	switch {
	case it.mustNotExist:
		return identity.Errorf(identity.CodePreconditionFailed, "%s exists already", it.ref())
	case it.needMatch && it.ifMatch == "":
		return identity.Errorf(identity.CodePreconditionRequired, "%s exists; send If-Match with the ETag that you have read", it.ref())
	case it.ifMatch != "" && it.ifMatch != "*" && it.ifMatch != version, it.wanted != "" && it.wanted != version:
		return identity.Errorf(identity.CodePreconditionFailed, "%s was changed by somebody else; read it again", it.ref())
	}
	return nil
}

// managed keeps writers from overwriting one another: each resource has one.
func (p *plan) managed(it *item) error {
	if it.old == nil {
		return nil
	}
	return p.managedBy(it.old, it.ref())
}

func (p *plan) managedBy(old v1.Resource, ref identity.ResourceRef) error {
	manager := old.Meta().Manager
	if manager == "" || manager == p.actor.Manager {
		return nil
	}
	if !p.takeOver {
		return identity.Errorf(identity.CodeManagedBy, "%s is managed by %s; change it there, or take it over (takeOver, --take-over)", ref, manager)
	}
	return p.may(identity.PermTakeOver, ref, p.target(old))
}

// prune removes what the same manager wrote and the set no longer has.
func (p *plan) prune() error {
	all, err := p.opt.Resources.AllResources(p.ctx)
	if err != nil {
		return err
	}
	for _, r := range all {
		key := keyOf(r)
		if r.Meta().Manager != p.actor.Manager || p.inSet[key] != nil {
			continue
		}
		if err := p.mayDelete(r); err != nil {
			return about(identity.KindRef(key.Kind, key.Name), err)
		}
		p.pruned = append(p.pruned, r)
		p.remove(r)
	}
	return nil
}

// remove puts the removal of a resource into the batch.
func (p *plan) remove(r v1.Resource) {
	key := keyOf(r)
	p.gone[key] = true
	p.condition(key, r)
	p.batch.DeleteResources = append(p.batch.DeleteResources, key)
	p.audit(verbDelete, identity.KindRef(key.Kind, key.Name), r, nil)
}

// condition makes what was read a condition of the commit.
func (p *plan) condition(key identity.ResourceKey, old v1.Resource) {
	c := record.Condition{Key: key}
	if old != nil {
		c.ResourceVersion = old.Meta().ResourceVersion
	}
	if !slices.Contains(p.batch.Conditions, c) {
		p.batch.Conditions = append(p.batch.Conditions, c)
	}
}

func (p *plan) delete(del Delete) error {
	ref := identity.KindRef(del.Key.Kind, del.Key.Name)
	old, err := p.stored(del.Key)
	if err != nil {
		return err
	}
	if old == nil {
		return Hide(p.mayDeleteAt(ref, del.Key.Kind, p.snap.Target(ref)), notFound(ref), false)
	}
	if err := p.mayDelete(old); err != nil {
		if !p.mayRead(old) {
			return Hide(p.mayDeleteAt(ref, del.Key.Kind, p.target(old)), notFound(ref), true)
		}
		return err
	}
	if del.IfMatch != "" && del.IfMatch != "*" && del.IfMatch != old.Meta().ResourceVersion {
		return identity.Errorf(identity.CodePreconditionFailed, "%s was changed by somebody else; read it again", ref)
	}
	if err := p.managedBy(old, ref); err != nil {
		return err
	}
	p.remove(old)
	return nil
}

func notFound(ref identity.ResourceRef) error {
	return identity.Errorf(identity.CodeNotFound, "there is no %s that you may see", ref)
}

// settle says what becomes of a document and puts it into the batch.
func (p *plan) settle(it *item) error {
	it.action = Created
	verb := verbCreate
	if it.old != nil {
		it.action, verb = Configured, verbUpdate
		same, err := equal(it.old, it.new())
		if err != nil {
			return err
		}
		if same {
			it.action = Unchanged
		}
	}
	if it.diff = ""; it.old == nil || p.mayRead(it.old) {
		it.diff = manifest.Diff(it.old, it.new())
	}
	p.condition(it.key, it.old)
	if it.action == Unchanged {
		return nil
	}
	p.batch.PutResources = append(p.batch.PutResources, it.new())
	p.audit(verb, it.ref(), it.old, it.new())
	return nil
}

// equal compares what writers write; what Gatehouse sets is left out, but for
// the manager.
func equal(a, b v1.Resource) (bool, error) {
	x, err := written(a)
	if err != nil {
		return false, err
	}
	y, err := written(b)
	return bytes.Equal(x, y), err
}

func written(r v1.Resource) ([]byte, error) {
	j, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	var parts struct {
		Spec json.RawMessage `json:"spec"`
	}
	if err := json.Unmarshal(j, &parts); err != nil {
		return nil, err
	}
	m := r.Meta()
	return json.Marshal(struct {
		Labels, Annotations map[string]string `json:",omitempty"`
		Manager             string
		Spec                json.RawMessage
	}{m.Labels, m.Annotations, m.Manager, parts.Spec})
}

// result lists what became of everything, in the order in which it was sent.
func (p *plan) result() Result {
	res := Result{DryRun: p.dryRun, Results: []Outcome{}, Warnings: p.warnings}
	for _, it := range p.items {
		res.Warnings = append(res.Warnings, it.doc.Notes...)
		res.Results = append(res.Results, Outcome{Kind: it.key.Kind, Name: it.key.Name, Action: it.action, Diff: it.diff})
	}
	for _, r := range p.pruned {
		o := Outcome{Kind: r.Type().Kind, Name: r.Meta().Name, Action: Pruned}
		if p.mayRead(r) {
			o.Diff = manifest.Diff(r, nil)
		}
		res.Results = append(res.Results, o)
	}
	return res
}
