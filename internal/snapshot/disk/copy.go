package disk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// Source is where configuration is kept: the store.
type Source interface {
	// Load hands over everything, in portions, as of one revision.
	Load(ctx context.Context, yield func(*identity.Rows) error) (identity.Head, error)
}

// Options are the settings of a Copy. Dir, Keys and Source are required.
type Options struct {
	// Dir is where the files go. It is made where it does not exist, for its
	// owner alone. One process owns it.
	Dir    string
	Keys   Keys
	Source Source
	// MinInterval is the least time between two writings of the base. Default 1m.
	MinInterval time.Duration
	// MaxJournal is the size in bytes from which a new base is due at once.
	// Default 16 MiB. At four times as much the copy is given up until there
	// is a new base.
	MaxJournal int64
	// Now is the clock. Default time.Now.
	Now func() time.Time
	// Log is told when the copy cannot be written. Default: nobody.
	Log *slog.Logger

	// chunk is how much of the base is sealed at once. Default chunkSize.
	chunk int
	// atStep is told where a test may kill the process.
	atStep func(step string)
}

// Copy is the last good snapshot on disk. It is the publisher's Journal.
type Copy struct {
	opt  Options
	wake chan struct{}
	stop context.CancelFunc
	run  sync.WaitGroup

	mu     sync.Mutex
	closed bool
	// generation changes when the copy is given up, so that a base that was
	// begun before is not put in place after.
	generation int
	base       *identity.Head // nil: there is no base
	journal    *journal       // nil: there is none that can be written
	confirmed  func() time.Time
	stamped    time.Time
}

var errClosed = errors.New("the copy on disk is closed")

// New returns the copy that is kept in a directory, and starts the goroutine
// that writes it. It goes on with what lies there if that is sound: then the
// first thing that the publisher reports must be a change of what Read
// returned, or a full load. Otherwise a new copy begins with the first report.
// Errors: the directory cannot be made or read.
func New(opt Options) (*Copy, error) {
	c, err := begin(opt)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	c.stop = stop
	c.run.Go(func() { c.follow(ctx) })
	return c, nil
}

// begin is New without the goroutine.
func begin(opt Options) (*Copy, error) {
	if opt.MinInterval == 0 {
		opt.MinInterval = time.Minute
	}
	if opt.MaxJournal == 0 {
		opt.MaxJournal = 16 << 20
	}
	if opt.chunk == 0 {
		opt.chunk = chunkSize
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(opt.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("the directory of the snapshot's copy: %w", err)
	}
	c := &Copy{opt: opt, wake: make(chan struct{}, 1)}
	for _, name := range []string{baseName, journalName, stampName} {
		if err := os.Remove(filepath.Join(opt.Dir, name+temporary)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("the directory of the snapshot's copy: %w", err)
		}
	}
	base, j, err := resume(opt.Dir, opt.Keys)
	switch {
	case err == nil:
		c.base, c.journal = &base, j
	case !errors.Is(err, ErrNone):
		// Read says so to whoever wanted it; here it is only replaced, before
		// anything is published.
		c.opt.Log.Warn("the copy of the configuration on disk is of no use and will be replaced", "error", err)
	}
	return c, nil
}

// ConfirmedBy tells the copy whom to ask when the loader last agreed with what
// is published: the publisher's Health().Confirmed. It is asked once a
// MinInterval and at Close, so that a configuration that nobody changes does not
// grow old on disk. Without it the copy is as old as its last change or base.
func (c *Copy) ConfirmedBy(when func() time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.confirmed = when
}

// Close stops writing. A base that is being written is given up; what is in
// place stays.
func (c *Copy) Close() error {
	c.mu.Lock()
	stop := c.stop
	c.mu.Unlock()
	if stop != nil {
		stop()
		c.run.Wait()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	return c.journal.close()
}

func (c *Copy) step(name string) {
	if c.opt.atStep != nil {
		c.opt.atStep(name)
	}
}

// nudge has the base looked at.
func (c *Copy) nudge() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Removed returns when a change is on stable storage, before it is published.
// Where it cannot be kept, the copy is removed instead, and the change is
// published all the same: a full disk does not keep a revocation from working.
// An error means that the copy could not be removed either; publishing the
// change would let a restart revive what it removed.
func (c *Copy) Removed(head identity.Head, rows *identity.Rows) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return errClosed
	}
	defer c.nudge()
	j := c.journal
	switch {
	case j == nil:
		return c.restart(head)
	case j.epoch != head.Epoch || head.Revision <= j.last:
		c.opt.Log.Warn("the configuration's revisions do not continue; the copy on disk begins anew", "revision", head.Revision, "after", j.last)
		return c.restart(head)
	case empty(rows):
		return nil // the next change leads from the same revision
	}
	err := c.append(head, rows)
	if err == nil {
		c.step("change durable")
		return nil
	}
	c.opt.Log.Error("a change cannot be kept in the copy on disk, which begins anew", "error", err)
	return c.restart(head)
}

// append keeps a change in the journal. The caller holds mu.
func (c *Copy) append(head identity.Head, rows *identity.Rows) error {
	var enc encoder
	if err := enc.rows(rows); err != nil {
		return err
	}
	if c.journal.size+int64(len(enc.buf)) > 4*c.opt.MaxJournal {
		return fmt.Errorf("the journal would be larger than %d bytes", 4*c.opt.MaxJournal)
	}
	return c.journal.append(entryHead{From: c.journal.last, To: head.Revision, At: c.opt.Now().UTC()}, enc.buf)
}

// Full is told of a snapshot that was read whole, before it is published. What
// it removed since the last one is not known, so the copy is removed; a new
// one is written at once.
func (c *Copy) Full(head identity.Head) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	defer c.nudge()
	if err := c.restart(head); err != nil {
		c.opt.Log.Error("what the copy of the configuration on disk would revive cannot be removed; remove it by hand", "error", err)
	}
}

// restart gives the copy up and begins a journal at a revision. The error
// means that the old copy is still there. The caller holds mu.
func (c *Copy) restart(head identity.Head) error {
	if err := c.giveUp(); err != nil {
		return err
	}
	j, err := newJournal(c.opt.Dir, c.opt.Keys, journalHead{Epoch: head.Epoch, Start: head.Revision, At: c.opt.Now().UTC()}, nil)
	if err == nil {
		c.step("new journal")
		err = j.take(c.opt.Dir)
	}
	if err != nil {
		// Nothing is there that could revive anything; the next change tries again.
		c.opt.Log.Error("no copy of the configuration can be kept on disk", "error", err)
		return nil
	}
	c.journal = j
	return nil
}

// giveUp removes the copy, the base first and durably: without it the rest
// means nothing. The caller holds mu.
func (c *Copy) giveUp() error {
	c.generation++
	_ = c.journal.close() // its file is of no more use
	c.journal, c.base, c.stamped = nil, nil, time.Time{}
	path := filepath.Join(c.opt.Dir, baseName)
	err := os.Remove(path)
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	if err != nil && empties(path) != nil {
		return fmt.Errorf("the copy of the configuration on disk must be removed and cannot be: %w", err)
	}
	c.step("base removed")
	// An old confirmation may contradict the new copy. One that stays makes
	// Read refuse it, which is safe.
	_ = os.Remove(filepath.Join(c.opt.Dir, stampName))
	if err := syncDir(c.opt.Dir); err != nil {
		return fmt.Errorf("the removal of the copy of the configuration on disk may not be durable: %w", err)
	}
	return nil
}

// empties makes a file that cannot be removed worthless.
func empties(path string) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

// follow writes the base when one is due, and the confirmation.
func (c *Copy) follow(ctx context.Context) {
	tick := time.NewTicker(c.opt.MinInterval)
	defer tick.Stop()
	var earliest time.Time
	var pause <-chan time.Time
	failing := false
	for {
		select {
		case <-ctx.Done():
			c.confirm()
			return
		case <-tick.C:
			c.confirm()
		case <-c.wake:
		case <-pause:
			pause = nil
		}
		due, overfull := c.due()
		if !due {
			continue
		}
		if wait := time.Until(earliest); wait > 0 && (!overfull || failing) {
			if pause == nil {
				pause = time.After(wait)
			}
			continue
		}
		earliest = time.Now().Add(c.opt.MinInterval)
		err := c.writeBase(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			c.opt.Log.Error("the copy of the configuration cannot be written to disk; trying again", "error", err)
		}
		failing = err != nil
		c.nudge() // something may have changed meanwhile
	}
}

// due says whether there is something new to write, and whether it is urgent.
func (c *Copy) due() (due, overfull bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.journal == nil {
		return false, false
	}
	return c.base == nil || c.base.Revision < c.journal.last, c.journal.size > c.opt.MaxJournal
}

// writeBase writes a new base and cuts the journal.
func (c *Copy) writeBase(ctx context.Context) error {
	c.mu.Lock()
	generation := c.generation
	c.mu.Unlock()
	head, err := c.writeTemporary(ctx)
	if err == nil {
		err = c.putBase(generation, head)
	}
	if err != nil {
		_ = os.Remove(filepath.Join(c.opt.Dir, baseName+temporary)) // removed by the next one otherwise
	}
	return err
}

// putBase puts a base that was written in its place.
func (c *Copy) putBase(generation int, head baseHead) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	j := c.journal
	switch {
	case generation != c.generation || j == nil:
		return errors.New("the configuration was read anew meanwhile")
	case head.Epoch != j.epoch:
		return errors.New("the database has another epoch than what is published")
	case head.Revision < j.start || (c.base != nil && head.Revision < c.base.Revision):
		return fmt.Errorf("the database is at revision %d, behind what was published", head.Revision)
	}
	err := install(c.opt.Dir, baseName)
	if err == nil {
		c.step("base in place")
		err = syncDir(c.opt.Dir)
	}
	if err != nil {
		// Which base a crash would leave is not known, nor whether the journal
		// goes with it.
		return errors.Join(err, c.restart(identity.Head{Epoch: j.epoch, Revision: j.last}))
	}
	c.base = &head.Head
	return c.cut(head)
}

// cut drops from the journal what the base has. The caller holds mu.
func (c *Copy) cut(head baseHead) error {
	old := c.journal
	j, err := old.without(c.opt.Dir, head.Revision, head.At)
	if err != nil || j == nil {
		return err // the old one still goes with the base
	}
	c.step("journal written")
	_ = old.close() // some systems replace no open file
	if err := j.take(c.opt.Dir); err != nil {
		return errors.Join(err, c.restart(identity.Head{Epoch: old.epoch, Revision: old.last}))
	}
	c.journal = j
	c.step("journal in place")
	return nil
}

// confirm writes down when the loader last agreed. It is not fsynced: without
// it the copy is only older.
func (c *Copy) confirm() {
	c.mu.Lock()
	when := c.confirmed
	c.mu.Unlock()
	if when == nil {
		return
	}
	at := when() // it may take locks of its own
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.journal == nil || c.base == nil || !at.After(c.stamped) {
		return
	}
	if err := c.writeStamp(at); err != nil {
		c.opt.Log.Error("the copy of the configuration on disk cannot be confirmed", "error", err)
		return
	}
	c.stamped = at
}

func (c *Copy) writeStamp(at time.Time) error {
	plain, err := json.Marshal(confirmation{Head: identity.Head{Epoch: c.journal.epoch, Revision: c.journal.last}, At: at.UTC()})
	if err != nil {
		return err
	}
	sealed, err := c.opt.Keys.Seal(plain, stampBinding())
	if err != nil {
		return err
	}
	file, err := create(c.opt.Dir, stampName)
	if err != nil {
		return err
	}
	_, err = file.Write(sealed)
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	return install(c.opt.Dir, stampName)
}
