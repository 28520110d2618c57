package gateway

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/authn"
	"github.com/gatehouse-ai/gatehouse/internal/gateway/route"
	"github.com/gatehouse-ai/gatehouse/internal/record"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
	"github.com/prometheus/client_golang/prometheus"
)

// Snapshots gives the configuration; nil where there is none that can be used.
type Snapshots interface {
	Load() *snapshot.Snapshot
}

// Authenticator finds out who is asking. Its errors are coded.
type Authenticator interface {
	Authenticate(ctx context.Context, s *snapshot.Snapshot, c authn.Credential) (authn.Caller, error)
}

// Rechecker is what an Authenticator may be besides: it finds a caller again
// in a newer snapshot, without the network. An error means that they are
// nobody any more. Without it a running call is only cut when its model goes.
type Rechecker interface {
	Recheck(s *snapshot.Snapshot, c authn.Caller) (authn.Caller, error)
}

// Recorder takes down what happened. Neither method may wait.
type Recorder interface {
	Add(r *record.Request)
	TouchToken(id string, at time.Time, from string)
}

// Keys gives the providers' keys.
type Keys interface {
	// Key returns the key of an account as of the account's own snapshot, so
	// that a new key never goes to an old destination. Error: secret_unavailable.
	Key(a *snapshot.Account) (string, error)
}

// Options are the settings of a Gateway.
type Options struct {
	Snapshots     Snapshots
	Authenticator Authenticator
	Recorder      Recorder
	Keys          Keys
	// Pool holds the connections. Where it is nil the gateway has one of its
	// own, which Reconcile and Close reach too.
	Pool *route.Pool
	// MaxBody is the largest body of a request. Default 25 MiB.
	MaxBody int64
	// FirstByteTimeout is the wait for an answer to begin. Default 10 min.
	FirstByteTimeout time.Duration
	// StreamIdleTimeout is the longest silence within an answer, and the
	// longest wait for a caller to take what was sent. Default 2 min.
	StreamIdleTimeout time.Duration
	// MaxStream is how long an answer may go on after the caller's credential
	// has expired. Default 1 h.
	MaxStream time.Duration
	// ClientAddr returns the caller's address as far as it can be trusted.
	// Default: the connection's.
	ClientAddr func(*http.Request) netip.Addr
	// CORSOrigins are the origins (scheme://host[:port]) whose pages may call.
	CORSOrigins []string
	// SpoolDir is where large uploads wait. Default: the system's.
	SpoolDir string
	// Now is the clock. Default time.Now.
	Now func() time.Time
	// Log takes failures. Default: nothing.
	Log *slog.Logger
	// Metrics takes the gateway's metrics. Default: none.
	Metrics prometheus.Registerer
}

// Gateway serves the model APIs.
type Gateway struct {
	opt      Options
	mux      *http.ServeMux
	pool     *route.Pool
	ownPool  bool
	recheck  Rechecker // nil where the authenticator is none
	origins  map[string]bool
	buffers  buffers
	payloads payloads
	running  running
	metrics  *metrics
	latest   atomic.Pointer[snapshot.Snapshot]
	draining atomic.Bool
	base     time.Time // what deadlines count from
	stop     context.CancelFunc
	done     chan struct{}
}

// New returns a gateway. Close it.
func New(opt Options) *Gateway {
	opt.fill()
	g := &Gateway{opt: opt, pool: opt.Pool, origins: map[string]bool{}, base: time.Now(), done: make(chan struct{})}
	if g.pool == nil {
		g.pool, g.ownPool = route.NewPool(route.Options{Keys: opt.Keys, Now: opt.Now, Log: opt.Log}), true
	}
	g.recheck, _ = opt.Authenticator.(Rechecker)
	for _, o := range opt.CORSOrigins {
		g.origins[o] = true
	}
	g.metrics = newMetrics(opt.Metrics, g.Running)
	g.mux = g.routes()
	ctx, stop := context.WithCancel(context.Background())
	g.stop = stop
	go func() {
		defer close(g.done)
		g.watch(ctx)
	}()
	return g
}

func (o *Options) fill() {
	if o.MaxBody == 0 {
		o.MaxBody = 25 << 20
	}
	if o.FirstByteTimeout == 0 {
		o.FirstByteTimeout = 10 * time.Minute
	}
	if o.StreamIdleTimeout == 0 {
		o.StreamIdleTimeout = 2 * time.Minute
	}
	if o.MaxStream == 0 {
		o.MaxStream = time.Hour
	}
	if o.ClientAddr == nil {
		o.ClientAddr = connectionAddr
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

func connectionAddr(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}

// Handler returns what serves /v1.
func (g *Gateway) Handler() http.Handler { return http.HandlerFunc(g.enter) }

// Reconcile takes up a snapshot that is about to be published: the calls that
// are running are decided again, and those that are not permitted any more are
// cut before it returns.
func (g *Gateway) Reconcile(prev, next *snapshot.Snapshot) {
	if g.ownPool {
		g.pool.Reconcile(prev, next)
	}
	g.latest.Store(next)
	g.running.each(func(e *Exchange) { e.decideAgain(next) })
}

// Drain refuses new requests with 503 from now on. Those that are running go on.
func (g *Gateway) Drain() { g.draining.Store(true) }

// Running counts the calls that are on their way to or from a provider.
func (g *Gateway) Running() int { return g.running.count() }

// Close stops the background work. Calls that are running are no longer
// limited in time; stop the server first.
func (g *Gateway) Close() {
	g.stop()
	<-g.done
	g.metrics.unregister()
	if g.ownPool {
		g.pool.Close()
	}
}
