package audit

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/auditchain"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

const (
	// keyName is under what the signing key lies in the store; replicas share it.
	keyName = "audit-signing-1"
	// portion is how many entries are read at once.
	portion = 1000
	// signTimeout bounds one checkpoint in the background.
	signTimeout = 10 * time.Second
)

// Store keeps the chain.
type Store interface {
	// AuditHead returns the chain's id and its newest entry.
	AuditHead(ctx context.Context) (chain string, head auditchain.Head, err error)
	// AuditEntries lists entries in the chain's order, those after a seq.
	AuditEntries(ctx context.Context, after uint64, limit int) ([]auditchain.Entry, error)
	// Checkpoints lists checkpoints, those of entries from a seq on.
	Checkpoints(ctx context.Context, from uint64, limit int) ([]auditchain.Checkpoint, error)
	// PutCheckpoint keeps a checkpoint; one of the same entry stays as it is.
	PutCheckpoint(ctx context.Context, c *auditchain.Checkpoint) error
	// PutKey keeps a sealed key where there is none, and returns what is kept.
	PutKey(ctx context.Context, name string, sealed []byte) (kept []byte, err error)
}

// Sealer encrypts the signing key.
type Sealer interface {
	Seal(plaintext, associatedData []byte) ([]byte, error)
	Open(sealed, associatedData []byte) ([]byte, error)
}

// Options are what an Auditor needs; Store and Sealer are required.
type Options struct {
	Store  Store
	Sealer Sealer
	// Every is how often the head is signed, if it has moved. Default 1 min.
	Every time.Duration
	// Now is the clock. Default time.Now.
	Now func() time.Time
	// Log hears of checkpoints that could not be made. Default none.
	Log *slog.Logger
}

// Auditor signs and exports the audit. Close it.
type Auditor struct {
	opt    Options
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu  sync.Mutex
	key ed25519.PrivateKey // nil until it could be read
}

// New reads the signing key, or makes it, and begins to sign; where the database
// is away, as soon as it is back. Errors: the store's others and the sealer's; a
// key that another master key sealed.
func New(ctx context.Context, opt Options) (*Auditor, error) {
	if opt.Every == 0 {
		opt.Every = time.Minute
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	a := &Auditor{opt: opt}
	if _, err := a.signer(ctx); err != nil && identity.CodeOf(err) != identity.CodeDatabaseUnavailable {
		return nil, err
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	a.cancel = cancel
	a.work.Go(func() { a.run(run) })
	return a, nil
}

// signer is the signing key, read when it is first needed. Its thumbprint is
// logged, so that it can be noted somewhere that this database is not.
func (a *Auditor) signer(ctx context.Context) (ed25519.PrivateKey, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.key != nil {
		return a.key, nil
	}
	key, err := a.open(ctx)
	if err != nil {
		return nil, fmt.Errorf("the audit's signing key: %w", err)
	}
	a.key = key
	a.opt.Log.Info("the audit is signed", "key", auditchain.KeyID(publicOf(key)))
	return key, nil
}

// open makes a key and keeps it, unless there is one.
func (a *Auditor) open(ctx context.Context) (ed25519.PrivateKey, error) {
	place := []byte("key/" + keyName)
	_, fresh, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	sealed, err := a.opt.Sealer.Seal(fresh.Seed(), place)
	if err != nil {
		return nil, err
	}
	kept, err := a.opt.Store.PutKey(ctx, keyName, sealed)
	if err != nil {
		return nil, err
	}
	seed, err := a.opt.Sealer.Open(kept, place)
	if err != nil {
		return nil, err
	}
	if len(seed) != ed25519.SeedSize {
		return nil, errors.New("what is kept is no key")
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// Close signs once more and stops.
func (a *Auditor) Close() {
	a.cancel()
	a.work.Wait()
}

// PublicKey is what the checkpoints are verified with; nil until the key could
// be read.
func (a *Auditor) PublicKey() ed25519.PublicKey {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.key == nil {
		return nil
	}
	return publicOf(a.key)
}

func publicOf(key ed25519.PrivateKey) ed25519.PublicKey {
	return key.Public().(ed25519.PublicKey) //nolint:forcetypeassert // ed25519's own promise
}

func (a *Auditor) run(ctx context.Context) {
	tick := time.NewTicker(a.opt.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			if a.PublicKey() != nil { // else the store was away all along, and there is nothing new
				a.checkpoint(context.WithoutCancel(ctx))
			}
			return
		case <-tick.C:
			a.checkpoint(ctx)
		}
	}
}

func (a *Auditor) checkpoint(ctx context.Context) {
	within, cancel := context.WithTimeout(ctx, signTimeout)
	defer cancel()
	if _, err := a.Sign(within); err != nil && ctx.Err() == nil {
		a.opt.Log.Warn("the audit could not be signed; it is tried again", "error", err)
	}
}

// Sign signs the head and keeps the checkpoint, unless it is signed already.
// It returns the head. Errors: the store's; a chain that ends before an entry
// that was signed.
func (a *Auditor) Sign(ctx context.Context) (auditchain.Head, error) {
	key, err := a.signer(ctx)
	if err != nil {
		return auditchain.Head{}, err
	}
	id, head, err := a.opt.Store.AuditHead(ctx)
	if err != nil {
		return head, err
	}
	have, err := a.opt.Store.Checkpoints(ctx, head.Seq, 1)
	if err != nil {
		return head, err
	}
	if len(have) > 0 && have[0].Seq > head.Seq {
		if err := a.checkEnd(ctx, &have[0]); err != nil {
			return head, err
		}
	}
	if head.Seq == 0 || len(have) > 0 && have[0].Seq == head.Seq {
		return head, nil
	}
	chain, err := auditchain.NewChain(id)
	if err != nil {
		return head, err
	}
	c, err := chain.Sign(head, a.opt.Now(), key)
	if err != nil {
		return head, err
	}
	return head, a.opt.Store.PutCheckpoint(ctx, &c)
}

// checkEnd compares the chain's end with a checkpoint that is ahead of what was
// read of it. Another replica may have written and signed meanwhile. One that is
// not ours says nothing: whoever can write one must not stop us from signing.
func (a *Auditor) checkEnd(ctx context.Context, c *auditchain.Checkpoint) error {
	if !c.SignedBy(a.PublicKey()) {
		return nil
	}
	_, head, err := a.opt.Store.AuditHead(ctx)
	if err == nil && head.Seq < c.Seq {
		err = fmt.Errorf("the audit was cut: it ends at entry %d, and entry %d was signed at %s", head.Seq, c.Seq, c.At.Format(time.RFC3339))
	}
	return err
}

// Export writes the chain from an entry on, 1 for the whole, up to a head that
// is signed for it. From the entry after the last it is without entries and
// proves that there are none. What is written before an error has no end line,
// and no verifier takes it for whole. Errors: invalid_request (an entry that
// is further on), the store's and the writer's; a chain whose end is gone.
func (a *Auditor) Export(ctx context.Context, w io.Writer, from uint64) error {
	from = max(from, 1)
	id, _, err := a.opt.Store.AuditHead(ctx)
	if err != nil {
		return err
	}
	head, err := a.Sign(ctx)
	if err != nil {
		return err
	}
	if from > head.Seq+1 {
		return identity.Errorf(identity.CodeConflict, "the audit ends at entry %d", head.Seq)
	}
	x := &export{store: a.opt.Store, until: head.Seq, after: from - 1}
	if err := x.read(ctx); err != nil {
		return err
	}
	h := auditchain.Header{Chain: id, Keys: []ed25519.PublicKey{a.PublicKey()}}
	switch {
	case from == 1: // after nothing, whatever the first entry says
	case len(x.entries) > 0:
		h.After = auditchain.Head{Seq: from - 1, Hash: x.entries[0].PrevHash}
	default:
		h.After = head
	}
	if x.out, err = auditchain.NewWriter(w, h); err != nil {
		return err
	}
	if err := x.before(ctx, from); err != nil {
		return err
	}
	for len(x.entries) > 0 {
		if err := x.write(); err != nil {
			return err
		}
		if err := x.read(ctx); err != nil {
			return err
		}
	}
	return x.out.Close()
}

// export goes through the chain portion by portion.
type export struct {
	store       Store
	out         *auditchain.Writer
	after       uint64 // the last entry that was read
	until       uint64
	entries     []auditchain.Entry
	checkpoints []auditchain.Checkpoint
}

func (x *export) read(ctx context.Context) (err error) {
	x.entries = nil
	if x.after >= x.until {
		return nil
	}
	if x.entries, err = x.store.AuditEntries(ctx, x.after, portion); err != nil {
		return err
	}
	if n := slices.IndexFunc(x.entries, func(e auditchain.Entry) bool { return e.Seq > x.until }); n >= 0 {
		x.entries = x.entries[:n]
	}
	if len(x.entries) == 0 {
		return fmt.Errorf("the audit has no entry %d, but a head of %d", x.after+1, x.until)
	}
	first := x.entries[0].Seq
	x.after = x.entries[len(x.entries)-1].Seq
	x.checkpoints, err = x.store.Checkpoints(ctx, first, len(x.entries))
	return err
}

// before writes the checkpoint of the entry before a partial export: then its
// first entry is known to follow what was signed.
func (x *export) before(ctx context.Context, from uint64) error {
	if from == 1 {
		return nil
	}
	c, err := x.store.Checkpoints(ctx, from-1, 1)
	if err != nil || len(c) == 0 || c[0].Seq != from-1 {
		return err
	}
	return x.out.Checkpoint(&c[0])
}

func (x *export) write() error {
	for i := range x.entries {
		e := &x.entries[i]
		if err := x.out.Entry(e); err != nil {
			return err
		}
		for len(x.checkpoints) > 0 && x.checkpoints[0].Seq <= e.Seq {
			if x.checkpoints[0].Seq == e.Seq {
				if err := x.out.Checkpoint(&x.checkpoints[0]); err != nil {
					return err
				}
			}
			x.checkpoints = x.checkpoints[1:]
		}
	}
	return nil
}
