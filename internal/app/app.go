package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gatehouse-ai/gatehouse/internal/app/settings"
	"github.com/gatehouse-ai/gatehouse/internal/authn"
	"github.com/gatehouse-ai/gatehouse/internal/authn/keyring"
	"github.com/gatehouse-ai/gatehouse/internal/control/api/apply"
	"github.com/gatehouse-ai/gatehouse/internal/control/audit"
	"github.com/gatehouse-ai/gatehouse/internal/control/scim"
	"github.com/gatehouse-ai/gatehouse/internal/control/sso"
	"github.com/gatehouse-ai/gatehouse/internal/devidp"
	"github.com/gatehouse-ai/gatehouse/internal/gateway"
	"github.com/gatehouse-ai/gatehouse/internal/ledger"
	"github.com/gatehouse-ai/gatehouse/internal/seal"
	"github.com/gatehouse-ai/gatehouse/internal/secret"
	"github.com/gatehouse-ai/gatehouse/internal/secret/stored"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
	"github.com/gatehouse-ai/gatehouse/internal/store"
	"github.com/gatehouse-ai/gatehouse/internal/store/postgres"
)

// Options are what an App is told besides its settings.
type Options struct {
	// Dev adds the development identity provider, its two users and the echo
	// provider.
	Dev bool
	// Out is where people are told where things are. Default: nobody.
	Out io.Writer
	// Log is the process's own log. Default: nobody.
	Log *slog.Logger
	// Version is shown in answers and metrics.
	Version string
	// Environ is the process's environment, for provider variables.
	Environ []string
	// Now is the clock. Default time.Now.
	Now func() time.Time
	// PollOnly follows PostgreSQL by looking at the revision alone, as behind a
	// connection pooler that passes no NOTIFY. For tests.
	PollOnly bool
}

// App is a running Gatehouse.
type App struct {
	cfg settings.Settings
	opt Options
	log *slog.Logger
	now func() time.Time

	db        *store.Database
	shared    *postgres.DB // what db is on; nil with SQLite
	away      error        // why the database could not be reached at the start; nil where it was
	keys      *seal.Keyset
	ring      *keyring.Ring
	secrets   *secret.Cache
	ledger    *ledger.Ledger
	publisher *snapshot.Publisher
	gateway   *gateway.Gateway
	applier   *apply.Applier
	health    *health
	registry  *prometheus.Registry
	explainer *authn.Authenticator
	control   http.Handler
	sso       *sso.Handler
	scim      *scim.Server
	auditor   *audit.Auditor
	idp       *devidp.Provider
	listeners listeners
	env       *environment
	kept      *stored.Kept // stored secrets on disk; nil where there are none

	url, opsURL, idpURL string
	ways                waysIn
	failed              chan error // a listener that ended by itself

	// cleanUp is what Stop does, the last first. A start that fails does it too.
	cleaning sync.Mutex
	cleanUp  []func(context.Context) error
}

// Run starts an App, waits until ctx ends or a listener fails, and stops it.
func Run(ctx context.Context, cfg settings.Settings, opt Options) error {
	a, err := Start(ctx, cfg, opt)
	if err != nil {
		return err
	}
	var failure error
	select {
	case <-ctx.Done():
	case failure = <-a.failed:
	}
	// The caller's context has ended; stopping has its own limits.
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cfg.Server.DrainDelay+cfg.Server.DrainTimeout+10*time.Second)
	defer cancel()
	return errors.Join(failure, a.Stop(stopCtx))
}

// Start brings everything up, or takes down again what it had brought up.
func Start(ctx context.Context, cfg settings.Settings, opt Options) (*App, error) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Out == nil {
		opt.Out = io.Discard
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	a := &App{cfg: cfg, opt: opt, log: opt.Log, now: opt.Now, failed: make(chan error, 4), registry: prometheus.NewRegistry()}
	for _, step := range []func(context.Context) error{
		a.checkAddresses, a.openStore, a.openKeys, a.makeRuntimes, a.listen, a.makeWings, a.follow, a.configure, a.serve,
	} {
		if err := step(ctx); err != nil {
			stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			return nil, errors.Join(err, a.Stop(stopCtx))
		}
	}
	return a, nil
}

// Stop drains and takes everything down. It may be called once.
func (a *App) Stop(ctx context.Context) error {
	var errs []error
	for f := a.lastCleanUp(); f != nil; f = a.lastCleanUp() {
		errs = append(errs, f(ctx))
	}
	return errors.Join(errs...)
}

func (a *App) onStop(f func(context.Context) error) {
	a.cleaning.Lock()
	defer a.cleaning.Unlock()
	a.cleanUp = append(a.cleanUp, f)
}

// lastCleanUp takes the newest off; nil where there is none.
func (a *App) lastCleanUp() func(context.Context) error {
	a.cleaning.Lock()
	defer a.cleaning.Unlock()
	n := len(a.cleanUp)
	if n == 0 {
		return nil
	}
	f := a.cleanUp[n-1]
	a.cleanUp = a.cleanUp[:n-1]
	return f
}

// URL is where the server is reached; OpsURL the operator's listener; IDPURL
// the development identity provider, under dev.
func (a *App) URL() string    { return a.url }
func (a *App) OpsURL() string { return a.opsURL }
func (a *App) IDPURL() string { return a.idpURL }

// Address is where the main listener is, whatever the URL says.
func (a *App) Address() string { return a.listeners.main.Addr().String() }

// BootstrapFile is where the one-time admin token is, if there is one.
func (a *App) BootstrapFile() string { return a.ways.bootstrapFile }

// checkAddresses refuses what must not be reachable from elsewhere.
func (a *App) checkAddresses(context.Context) error {
	if a.opt.Dev && !settings.IsLoopback(a.cfg.Server.Address) {
		return &settings.Error{Setting: a.cfg.Origin("server.address"), Message: "gatehouse dev has well-known passwords and listens on loopback only; use 127.0.0.1, or gatehouse serve"}
	}
	return nil
}

// listenOn opens one listener; the setting is for the error.
func (a *App) listenOn(setting, address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", a.cfg.Origin(setting), err)
	}
	a.onStop(func(context.Context) error {
		_ = l.Close() // closed already where it was served
		return nil
	})
	return l, nil
}
