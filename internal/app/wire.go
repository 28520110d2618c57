package app

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/app/settings"
	"github.com/gatehouse-ai/gatehouse/internal/authn"
	"github.com/gatehouse-ai/gatehouse/internal/authn/keyring"
	"github.com/gatehouse-ai/gatehouse/internal/control/api"
	"github.com/gatehouse-ai/gatehouse/internal/control/api/apply"
	"github.com/gatehouse-ai/gatehouse/internal/gateway"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/ledger"
	"github.com/gatehouse-ai/gatehouse/internal/secret"
	"github.com/gatehouse-ai/gatehouse/internal/secret/env"
	"github.com/gatehouse-ai/gatehouse/internal/secret/file"
	"github.com/gatehouse-ai/gatehouse/internal/secret/stored"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
	"github.com/gatehouse-ai/gatehouse/internal/store/sqlite"
)

// allow is what resources made through the API may read of this host: what the
// operator listed, and never what is Gatehouse's own.
func (a *App) allow() secret.Allow {
	allow := secret.Allow{Env: a.cfg.Secrets.AllowEnv, Files: a.cfg.Secrets.AllowFiles}
	ref, _ := a.cfg.MasterKeyRef()
	if name, ok := strings.CutPrefix(ref, "env:"); ok {
		allow.NeverEnv = append(allow.NeverEnv, name)
	}
	for _, kv := range a.opt.Environ {
		name, _, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, "GATEHOUSE_") || strings.HasPrefix(name, "AUTH_") {
			allow.NeverEnv = append(allow.NeverEnv, name)
		}
	}
	if path, ok := strings.CutPrefix(ref, "file:"); ok {
		allow.NeverFiles = append(allow.NeverFiles, path)
	}
	own := []string{a.cfg.Server.TLS.Key, a.cfg.BootstrapTokenFile()}
	if path, memory := a.cfg.Database.SQLite(); !memory {
		own = append(own, path, path+"-wal", filepath.Join(filepath.Dir(path), sqlite.RecordsFile))
	}
	for _, path := range own {
		if path != "" {
			allow.NeverFiles = append(allow.NeverFiles, path)
		}
	}
	return allow
}

// liveWait is how long a write waits to be live everywhere in this process.
const liveWait = 2 * time.Second

// recordBatch is the largest number of request records written at once. A
// record costs a third in a batch of thousands of what it costs among dozens.
const recordBatch = 4096

// makeRuntimes makes what outlives snapshots.
func (a *App) makeRuntimes(context.Context) error {
	allow := a.allow()
	if err := allow.Validate(); err != nil {
		return err
	}
	keyDir := ""
	if dir := a.cfg.CopyDir(); dir != "" {
		if err := a.own(dir); err != nil {
			return err
		}
		keyDir = filepath.Join(dir, "keys")
	}
	a.ring = keyring.New(keyring.Options{Clock: a.now, Dir: keyDir, Log: a.log})
	a.onStop(func(context.Context) error { a.ring.Close(); return nil })

	files := file.New(file.Options{Log: a.log})
	a.onStop(func(context.Context) error { files.Close(); return nil })
	values, err := a.storedValues()
	if err != nil {
		return err
	}
	a.secrets = secret.New(secret.Options{Allow: allow, Clock: a.now, Log: a.log, Backends: map[secret.Kind]secret.Backend{
		secret.KindEnv:    env.New(lookupIn(a.opt.Environ)),
		secret.KindFile:   files,
		secret.KindStored: stored.New(values, a.keys),
	}})
	a.onStop(func(context.Context) error { a.secrets.Close(); return nil })

	a.ledger = ledger.New(ledger.Options{Sink: a.db, Toucher: a.db, Batch: recordBatch, Clock: a.now, Log: a.log})
	a.onStop(a.ledger.Close)
	return nil
}

// lookupIn looks a variable up in an environment, the last of a name as the
// process itself would see it.
func lookupIn(environ []string) func(string) (string, bool) {
	m := map[string]string{}
	for _, kv := range environ {
		k, v, _ := strings.Cut(kv, "=")
		m[k] = v
	}
	return func(k string) (string, bool) { v, ok := m[k]; return v, ok }
}

// makeWings makes the two wings. They know each other by the snapshot only.
func (a *App) makeWings(ctx context.Context) error {
	keyRun := &keyRuntime{ring: a.ring, allow: a.allow(), log: func(p string, err error) {
		a.log.Error("an identity provider's CA may not be read; its tokens are answered with 503", "provider", p, "error", err)
	}}
	secretRun := &secretRuntime{cache: a.secrets, kept: a.kept}
	gatewayRun := &lateRuntime{}
	publish := snapshot.Options{
		Loader: a.db, Runtimes: []snapshot.Runtime{keyRun, secretRun, gatewayRun},
		MaxStaleness: a.cfg.Snapshot.MaxStaleness, Now: a.now, Log: a.log,
	}
	if err := a.keepCopy(&publish); err != nil {
		return err
	}
	a.publisher = snapshot.NewPublisher(publish)
	options := authn.Options{Keys: a.ring, Directory: directory{a.db}, Snapshots: a.publisher, Now: a.now}
	a.explainer = authn.New(options)
	callers := a.explainer
	if !a.cfg.Compat.AuthEnabled {
		options.Anonymous = anonymous
		callers = authn.New(options)
		a.log.Warn("AUTH_ENABLE=false: the model routes are open to everybody on this machine; the control API is not")
	}
	addr := clientAddr(a.cfg.Server.TrustedProxies)
	a.gateway = gateway.New(gateway.Options{
		Snapshots: a.publisher, Authenticator: callers, Recorder: a.ledger, Keys: secretRun,
		MaxBody: int64(a.cfg.Server.MaxBody), FirstByteTimeout: a.cfg.Upstream.FirstByteTimeout,
		StreamIdleTimeout: a.cfg.Upstream.StreamIdleTimeout, ClientAddr: addr, CORSOrigins: a.cfg.Server.CORS.Origins,
		Now: a.now, Log: a.log, Metrics: a.registry,
	})
	gatewayRun.runtime = a.gateway
	a.onStop(func(context.Context) error { a.gateway.Close(); return nil })
	if err := a.makePeople(secretRun, addr); err != nil {
		return err
	}
	if err := a.makeAuditor(ctx); err != nil {
		return err
	}
	control, err := api.New(api.Options{
		Browsers: a.sso.Sessions(), SignInTests: a.sso, AuditExport: a.auditor,
		Snapshots: a.publisher, Authenticator: a.explainer, Explainer: a.explainer, Writer: a.db, Resources: a.db, People: a.db,
		Tokens: a.db, Audit: a.db, Logs: a.db, Sealer: a.keys, Allow: a.allow(), Used: a.ledger.TouchToken, ExternalURL: a.url, Addr: addr, Now: a.now, Log: a.log,
	})
	if err != nil {
		return err
	}
	a.control = control.Handler()
	a.applier = control.Applier()
	return nil
}

// lateRuntime stands for a runtime that is made after the publisher.
type lateRuntime struct{ runtime snapshot.Runtime }

// Reconcile passes on.
func (l *lateRuntime) Reconcile(prev, next *snapshot.Snapshot) {
	if l.runtime != nil {
		l.runtime.Reconcile(prev, next)
	}
}

// directory is the store as authn asks it.
type directory struct {
	store interface {
		EnsureUser(ctx context.Context, a identity.Arrival) (string, identity.Head, error)
	}
}

// Ensure creates or links a person.
func (d directory) Ensure(ctx context.Context, who identity.Arrival) (string, identity.Head, error) {
	return d.store.EnsureUser(ctx, who)
}

// anonymous is who a caller is while authentication is switched off.
func anonymous(s *snapshot.Snapshot) *identity.Principal {
	p := &identity.Principal{Kind: identity.KindExternal, Name: settings.EnvCallers}
	s.Finish(p, []identity.Subject{identity.ExternalIdentitySubject(settings.EnvCallers)})
	return p
}

// pruneEvery is how often the store forgets the changes that no reader needs.
const pruneEvery = time.Hour

// maintain does what has to be done now and then.
func (a *App) maintain(ctx context.Context) {
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	a.onStop(func(context.Context) error { stop(); <-done; return nil })
	go func() {
		defer close(done)
		tick := time.NewTicker(pruneEvery)
		defer tick.Stop()
		for {
			select {
			case <-run.Done():
				return
			case <-tick.C:
				if err := a.db.Prune(run); err != nil && run.Err() == nil {
					a.log.Error("old changes could not be forgotten", "error", err)
				}
			}
		}
	}()
}

// configure prepares what the environment, gatehouse dev and manifests.dir say,
// and has it written: now, or when the database is back.
func (a *App) configure(ctx context.Context) error {
	// Once here, so that what is wrong at the start ends it.
	_, notices, err := settings.EnvResources(a.cfg.Compat, a.opt.Environ, a.opt.Dev)
	if err != nil {
		return err
	}
	for _, n := range notices {
		a.log.Warn(n.String())
	}
	a.env = &environment{applier: a.applier, snapshots: a.publisher, resources: func() ([]v1.Resource, error) {
		resources, _, err := settings.EnvResources(a.cfg.Compat, a.opt.Environ, a.opt.Dev)
		return resources, err
	}}
	a.health = &health{publisher: a.publisher, ring: a.ring, secrets: a.secrets, now: a.now}
	if dir, file := a.cfg.Manifests.Dir, a.cfg.Compat.OIDCConfigFile; dir != "" || file != "" {
		a.health.manifests = &manifestWatcher{dir: dir, file: file, applier: a.applier, env: a.env, log: a.log}
		a.onStop(func(context.Context) error { a.health.manifests.close(); return nil })
	}
	if a.away != nil {
		a.awaitDatabase(ctx)
		return nil
	}
	a.ways, err = a.write(ctx)
	return err
}

// waysIn are how somebody becomes the first administrator; each may be empty.
type waysIn struct{ breakGlassLink, bootstrapFile string }

// write writes what configure has prepared, and makes the ways in.
func (a *App) write(ctx context.Context) (waysIn, error) {
	if a.opt.Dev {
		if err := a.configureDev(ctx); err != nil {
			return waysIn{}, err
		}
	}
	if w := a.health.manifests; w != nil {
		if err := w.start(ctx); err != nil {
			return waysIn{}, err
		}
	} else if err := a.env.apply(ctx, nil); err != nil {
		return waysIn{}, err
	}
	a.warn()
	link := a.announceBreakGlass(ctx)
	file, err := a.bootstrap(ctx)
	return waysIn{breakGlassLink: link, bootstrapFile: file}, err
}

// warn says at every start what trusts more than is wise.
func (a *App) warn() {
	for _, p := range a.publisher.Load().Problems() {
		a.log.Warn("configuration", "resource", p.Resource, "problem", p.Message)
	}
}

// configureDev writes the resources of gatehouse dev, as the operator would.
func (a *App) configureDev(ctx context.Context) error {
	docs, err := devDocuments(a.idpURL)
	if err != nil {
		return err
	}
	_, err = a.applier.Apply(ctx, apply.SystemActor("apply:dev"), apply.Request{Documents: docs, Prune: true})
	return err
}

// announce tells people where things are, at once: whoever waits for a line of
// it has the others too.
func (a *App) announce() {
	text := fmt.Sprintf("gateway, control API, console: %s\nmetrics, readiness: %s\n", a.url, a.opsURL)
	if a.opt.Dev {
		text = a.devWelcome()
	}
	a.tell(text + a.ways.text())
}

// tell writes to whoever watches the start.
func (a *App) tell(text string) { _, _ = io.WriteString(a.opt.Out, text) }

// text tells people of the ways in.
func (w waysIn) text() (text string) {
	if w.breakGlassLink != "" {
		text += "local administrator for emergencies, a link that works once, for a day, until another is printed: " + w.breakGlassLink + "\n"
	}
	if w.bootstrapFile != "" {
		text += fmt.Sprintf("one-time admin token (until the first tenant-admin, %s at most): %s\n", bootstrapLife, w.bootstrapFile)
	}
	return text
}
