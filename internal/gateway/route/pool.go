package route

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/gateway/h1"
	"github.com/gatehouse-ai/gatehouse/internal/gateway/llm"
	"github.com/gatehouse-ai/gatehouse/internal/safehttp"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

const (
	// idlePerHost keeps as many connections as may be in use at once; Go's
	// default of 2 makes every burst dial anew.
	idlePerHost = 512
	// caCheck is how often CA files are looked at for changes.
	caCheck = time.Minute
	// maxCAFile bounds a CA file.
	maxCAFile = 1 << 20
)

// Keys gives the providers' keys.
type Keys interface {
	// Key returns the key of an account, by its uid.
	Key(a *snapshot.Account) (string, error)
}

// Options are the settings of a Pool.
type Options struct {
	// Keys are needed for the catalogues.
	Keys Keys
	// CatalogueAge is how long a provider's list of models is used before it is
	// fetched again. Default 10 min.
	CatalogueAge time.Duration
	// Now is the clock. Default time.Now.
	Now func() time.Time
	// Log takes what goes wrong in the background. Default: nothing.
	Log *slog.Logger
}

// Target is where the calls of one account go.
type Target struct {
	// Transport sends. It is nil for the echo provider.
	Transport http.RoundTripper
	// Upstream says where and how the provider wants its requests.
	Upstream *llm.Upstream
	// FirstByte and StreamIdle are the account's own limits; zero: the default.
	FirstByte, StreamIdle time.Duration

	key       key
	catalogue *catalogue
}

// key is what a transport depends on.
type key struct {
	uid    string
	fields [sha256.Size]byte
}

// Pool holds the targets. Close it.
type Pool struct {
	opt     Options
	targets atomic.Pointer[map[*snapshot.Account]*Target]
	writes  sync.Pool // of *[]byte

	mu     sync.Mutex // guards changes of targets, and current
	next   *snapshot.Snapshot
	prev   *snapshot.Snapshot
	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup
	closed bool
}

// NewPool returns an empty pool.
func NewPool(opt Options) *Pool {
	if opt.CatalogueAge == 0 {
		opt.CatalogueAge = 10 * time.Minute
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	p := &Pool{opt: opt}
	p.targets.Store(&map[*snapshot.Account]*Target{})
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.work.Go(p.watchFiles)
	return p
}

// Close stops the background work and closes idle connections. Calls that are
// running go on.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.cancel()
	p.work.Wait()
	for _, t := range *p.targets.Load() {
		t.close()
	}
}

func (t *Target) close() {
	if c, ok := t.Transport.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// Reconcile prepares the targets of the next snapshot and keeps those of the
// one before, which running requests may still ask for.
func (p *Pool) Reconcile(prev, next *snapshot.Snapshot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.prev, p.next = prev, next
	p.rebuild()
}

// rebuild makes the table of both snapshots anew and reuses every target whose
// key is the same. The caller holds mu.
func (p *Pool) rebuild() {
	old := *p.targets.Load()
	byKey := make(map[key]*Target, len(old))
	for _, t := range old {
		byKey[t.key] = t
	}
	table := make(map[*snapshot.Account]*Target)
	kept := make(map[key]bool)
	for _, s := range []*snapshot.Snapshot{p.prev, p.next} {
		if s == nil {
			continue
		}
		for _, a := range s.Accounts() {
			t, err := p.target(a, byKey)
			if err != nil {
				p.opt.Log.Error("a provider account cannot be used", "account", a.Name, "error", err)
				continue
			}
			table[a], kept[t.key] = t, true
		}
	}
	p.targets.Store(&table)
	for _, t := range old {
		if !kept[t.key] {
			t.close()
		}
	}
}

// target finds or makes the target of an account. Fields that the transport
// does not depend on are taken from the account anew.
func (p *Pool) target(a *snapshot.Account, byKey map[key]*Target) (*Target, error) {
	k, ca, err := keyOf(a)
	if err != nil {
		return nil, err
	}
	spec := &a.Resource.Spec
	first, idle := spec.Timeouts.FirstByte.Std(), spec.Timeouts.StreamIdle.Std()
	if t, ok := byKey[k]; ok {
		if t.FirstByte == first && t.StreamIdle == idle {
			return t, nil
		}
		again := *t // the same transport and catalogue with other limits
		again.FirstByte, again.StreamIdle = first, idle
		return &again, nil
	}
	t := &Target{key: k, FirstByte: first, StreamIdle: idle, catalogue: &catalogue{}}
	if spec.Provider != v1.ProviderEcho {
		if t.Upstream, err = llm.NewUpstream(spec); err != nil {
			return nil, err
		}
		t.Transport = p.newTransport(spec, ca)
	}
	byKey[k] = t
	return t, nil
}

// keyOf hashes the fields that a transport depends on, the CA's bytes among
// them, and returns those bytes as a pool; nil where the system's CAs are used.
func keyOf(a *snapshot.Account) (key, *x509.CertPool, error) {
	spec := &a.Resource.Spec
	k := key{uid: a.UID}
	var pem []byte
	if spec.CACert != nil {
		pem = []byte(spec.CACert.PEM)
		if spec.CACert.File != "" {
			var err error
			if pem, err = readCA(spec.CACert.File); err != nil {
				return k, nil, err
			}
		}
	}
	fields, err := json.Marshal([]any{
		a.Name, spec.Provider, spec.BaseURL, spec.APIVersion, spec.Organization, spec.Project,
		spec.InsecureHTTP, spec.AllowPrivateNetwork, spec.CACert != nil, pem,
	})
	if err != nil {
		return k, nil, err
	}
	k.fields = sha256.Sum256(fields)
	if spec.CACert == nil {
		return k, nil, nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return k, nil, errors.New("caCert holds no certificate")
	}
	return k, pool, nil
}

func readCA(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxCAFile {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, maxCAFile)
	}
	return os.ReadFile(name)
}

func (p *Pool) newTransport(spec *v1.ProviderAccountSpec, ca *x509.CertPool) http.RoundTripper {
	policy := safehttp.PolicyFor(spec.BaseURL, spec.AllowPrivateNetwork, spec.InsecureHTTP)
	policy.RootCAs = ca
	t := safehttp.NewTransport(policy, safehttp.Options{
		DialTimeout:           10 * time.Second,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: -1, // the exchange bounds it
		MaxIdleConns:          idlePerHost,
		MaxIdleConnsPerHost:   idlePerHost,
		DisableCompression:    true, // bytes pass as they come
	})
	dial := t.DialContext
	t.DialContext = pooledWrites(dial, &p.writes)
	return h1.New(h1.Options{
		Dial: dial, TLS: t.TLSClientConfig, TLSHandshakeTimeout: t.TLSHandshakeTimeout, Proxy: t.Proxy, Otherwise: t,
		MaxIdle: idlePerHost, IdleTimeout: t.IdleConnTimeout, MaxHeader: int(t.MaxResponseHeaderBytes),
	})
}

// Target returns where the calls of an account go. An account whose CA cannot
// be read, or whose address makes no sense, has none.
func (p *Pool) Target(a *snapshot.Account) (*Target, error) {
	if t, ok := (*p.targets.Load())[a]; ok {
		return t, nil
	}
	// The account of a snapshot that was not announced (yet).
	p.mu.Lock()
	defer p.mu.Unlock()
	old := *p.targets.Load()
	if t, ok := old[a]; ok {
		return t, nil
	}
	table := make(map[*snapshot.Account]*Target, len(old)+1)
	byKey := make(map[key]*Target, len(old))
	for account, t := range old {
		table[account], byKey[t.key] = t, t
	}
	t, err := p.target(a, byKey)
	if err != nil {
		return nil, err
	}
	table[a] = t
	p.targets.Store(&table)
	return t, nil
}

// watchFiles takes up a CA file's new contents.
func (p *Pool) watchFiles() {
	tick := time.NewTicker(caCheck)
	defer tick.Stop()
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-tick.C:
			p.checkFiles()
		}
	}
}

func (p *Pool) checkFiles() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for a, t := range *p.targets.Load() {
		ca := a.Resource.Spec.CACert
		if ca == nil || ca.File == "" {
			continue
		}
		if k, _, err := keyOf(a); err == nil && k != t.key {
			p.rebuild()
			return
		}
	}
}
