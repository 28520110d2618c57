package apply

import (
	"context"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/manifest"
	"github.com/gatehouse-ai/gatehouse/internal/record"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

// Snapshots hands out the present configuration.
type Snapshots interface {
	Load() *snapshot.Snapshot
	WaitFor(ctx context.Context, head identity.Head) error
}

// Resources reads what is stored, whatever the snapshot knows already.
type Resources interface {
	Resource(ctx context.Context, key identity.ResourceKey) (v1.Resource, error)
	AllResources(ctx context.Context) ([]v1.Resource, error)
}

// Writer writes a batch whole or not at all.
type Writer interface {
	Commit(ctx context.Context, b *record.Batch) (identity.Head, error)
}

// Sealer encrypts secret values and names them without revealing them.
type Sealer interface {
	Seal(plaintext, associatedData []byte) ([]byte, error)
	Digest(plaintext string, associatedData []byte) string
}

// AllowList says which files and environment variables of the host a manager's
// resources may name.
type AllowList interface {
	Check(v v1.SecretValue, manager string) error
}

// Options are what an Applier needs. All are required but Wait and Now.
type Options struct {
	Snapshots Snapshots
	Resources Resources
	Writer    Writer
	Sealer    Sealer
	Allow     AllowList
	// ExternalURL is our own issuer, which no identity provider may claim.
	ExternalURL string
	// Wait is how long a change is waited for to be live. Default 2s.
	Wait time.Duration
	Now  func() time.Time
}

// Applier is the engine. Its methods may be called by several goroutines.
type Applier struct {
	opt Options
}

// New returns an engine.
func New(opt Options) *Applier {
	if opt.Wait == 0 {
		opt.Wait = 2 * time.Second
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	return &Applier{opt: opt}
}

// The managers that are not apply:NAME.
const (
	ManagerAPI = "api"
	ManagerDir = v1.ManagerDir
	ManagerEnv = v1.ManagerEnv
)

// Actor is who writes.
type Actor struct {
	// Principal, Grant and Snapshot are the caller's; the numbers of a
	// principal mean something in its own snapshot only. A system actor has
	// none of them.
	Principal *identity.Principal
	Grant     *identity.Grant
	Snapshot  *snapshot.Snapshot
	// Manager will be the resources' manager: api, apply:NAME, dir or env.
	Manager string
	// RemoteAddr and RequestID stand in the audit.
	RemoteAddr string
	RequestID  string

	system bool
}

// SystemActor returns the operator's own writer, for manifests.dir (dir) and
// the environment (env). It needs no permission; everything else holds for it.
func SystemActor(manager string) Actor { return Actor{Manager: manager, system: true} }

// Request is a set of resources to write.
type Request struct {
	Documents []manifest.Document
	// DryRun checks everything and writes nothing.
	DryRun bool
	// Prune removes the manager's other resources.
	Prune bool
	// TakeOver makes another manager's resources the writer's.
	TakeOver bool
}

// Action is what became of one resource.
type Action string

// The actions.
const (
	Created    Action = "created"
	Configured Action = "configured"
	Unchanged  Action = "unchanged"
	Pruned     Action = "pruned"
)

// Outcome is what became of one resource.
type Outcome struct {
	Kind   v1.Kind `json:"kind"`
	Name   string  `json:"name"`
	Action Action  `json:"action"`
	// Diff is a unified diff without secrets; empty for a writer who may not
	// read the resource.
	Diff string `json:"diff,omitempty"`
}

// Result is what became of all of them.
type Result struct {
	DryRun  bool      `json:"dryRun"`
	Results []Outcome `json:"results"`
	// Warnings are for the writer: nothing is wrong, but something means less
	// than it seems.
	Warnings []string `json:"warnings,omitempty"`
}

// attempts bounds how often a change is planned anew because somebody else
// was faster.
const attempts = 8

// Apply writes a set of resources, all or nothing.
// Errors: invalid_manifest and manifest_conflict (wrapping manifest.Errors),
// permission_denied, managed_by, precondition_failed, conflict,
// database_unavailable.
func (a *Applier) Apply(ctx context.Context, actor Actor, req Request) (Result, error) {
	j := job{prune: req.Prune, takeOver: req.TakeOver, dryRun: req.DryRun}
	for _, d := range req.Documents {
		j.items = append(j.items, &item{doc: d})
	}
	p, err := a.run(ctx, actor, j)
	if err != nil {
		return Result{}, err
	}
	return p.result(), nil
}

// Put is one resource to write, with the preconditions of RFC 9110, 13.1.
type Put struct {
	Document manifest.Document
	// IfMatch is the resource version that the writer has seen; "*" is any.
	// What exists is not written without one.
	IfMatch string
	// IfNoneMatch: the resource must not exist.
	IfNoneMatch bool
	TakeOver    bool
}

// Written is a resource after it was written.
type Written struct {
	Resource v1.Resource
	Action   Action
	Warnings []string
}

// Put writes one resource.
// Errors: those of Apply, and precondition_required.
func (a *Applier) Put(ctx context.Context, actor Actor, put Put) (Written, error) {
	it := &item{doc: put.Document, ifMatch: put.IfMatch, mustNotExist: put.IfNoneMatch, needMatch: true}
	p, err := a.run(ctx, actor, job{items: []*item{it}, takeOver: put.TakeOver})
	if err != nil {
		return Written{}, err
	}
	w := Written{Resource: it.doc.Resource, Action: it.action, Warnings: p.warnings}
	if it.action == Unchanged {
		w.Resource = it.old
	}
	return w, nil
}

// Delete is one resource to remove.
type Delete struct {
	Key identity.ResourceKey
	// IfMatch may be empty.
	IfMatch  string
	TakeOver bool
}

// Delete removes one resource.
// Errors: not_found (also for one that the actor may not see),
// permission_denied, managed_by, precondition_failed, database_unavailable.
func (a *Applier) Delete(ctx context.Context, actor Actor, del Delete) error {
	_, err := a.run(ctx, actor, job{remove: &del, takeOver: del.TakeOver})
	return err
}

// job is one call of the engine.
type job struct {
	items    []*item
	remove   *Delete
	prune    bool
	takeOver bool
	dryRun   bool
}

// run plans and commits until nobody is faster. What was read is a condition
// of the commit, so two writers never overwrite one another unseen: the second
// plans again on top of the first.
func (a *Applier) run(ctx context.Context, actor Actor, j job) (*plan, error) {
	if err := j.prepare(); err != nil {
		return nil, err
	}
	for range attempts {
		p, err := a.plan(ctx, actor, j)
		if err != nil || j.dryRun || p.empty() {
			return p, err
		}
		head, err := a.opt.Writer.Commit(ctx, &p.batch)
		if identity.IsCode(err, identity.CodePreconditionFailed) {
			continue
		}
		if err != nil {
			return nil, err
		}
		a.await(ctx, p, head)
		return p, nil
	}
	return nil, identity.Errorf(identity.CodeConflict, "others keep changing the same resources; try again")
}

// await returns when the change is live here, so that what follows sees it.
func (a *Applier) await(ctx context.Context, p *plan, head identity.Head) {
	ctx, cancel := context.WithTimeout(ctx, a.opt.Wait)
	defer cancel()
	if err := a.opt.Snapshots.WaitFor(ctx, head); err != nil {
		p.warnings = append(p.warnings, "the change is stored, but not live yet")
	}
}
