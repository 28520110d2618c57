package snapshot

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeStore is a loader, a journal and a runtime that take down what happens.
type fakeStore struct {
	logMu sync.Mutex
	log   []string

	mu    sync.Mutex
	rows  identity.Rows // what Load yields
	news  *identity.Rows
	head  identity.Head
	full  bool
	err   error
	jerr  error
	hang  chan struct{}
	wake  chan struct{}
	ended bool
	asked int
}

func newFakeStore() *fakeStore {
	return &fakeStore{head: identity.Head{Epoch: "e", Revision: 1}, wake: make(chan struct{}, 1)}
}

func (f *fakeStore) note(s string) {
	f.logMu.Lock()
	defer f.logMu.Unlock()
	f.log = append(f.log, s)
}

// events returns what happened since the last call.
func (f *fakeStore) events() []string {
	f.logMu.Lock()
	defer f.logMu.Unlock()
	log := f.log
	f.log = nil
	return log
}

func (f *fakeStore) Load(_ context.Context, yield func(*identity.Rows) error) (identity.Head, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note("load")
	if f.err != nil {
		return identity.Head{}, f.err
	}
	return f.head, yield(&f.rows)
}

func (f *fakeStore) Since(ctx context.Context, _ identity.Head) (*identity.Rows, identity.Head, bool, error) {
	f.mu.Lock()
	f.asked++
	hang := f.hang
	f.mu.Unlock()
	if hang != nil {
		<-hang
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	full := f.full
	f.full = false
	return f.news, f.head, full, f.err
}

func (f *fakeStore) Watch() (<-chan struct{}, func()) { return f.wake, func() { f.ended = true } }

func (f *fakeStore) Removed(identity.Head, *identity.Rows) error {
	f.note("journal")
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.jerr
}
func (f *fakeStore) Full(identity.Head) { f.note("journal full") }
func (f *fakeStore) Reconcile(prev, next *Snapshot) {
	switch {
	case prev == nil:
		f.note("first")
	default:
		f.note("reconcile")
	}
}

func (f *fakeStore) change(rows *identity.Rows) {
	f.mu.Lock()
	f.news = rows
	f.head.Revision++
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *fakeStore) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fakeStore) options() Options {
	return Options{Loader: f, Journal: f, Runtimes: []Runtime{f}, MaxStaleness: time.Hour}
}

// start runs a publisher in the bubble until the test ends it.
func start(t *testing.T, f *fakeStore) *Publisher {
	t.Helper()
	p := NewPublisher(f.options())
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Close()
		if !f.ended {
			t.Error("the watch was not ended")
		}
	})
	return p
}

func TestPublisherFollowsChangesAndGathersBursts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeStore()
		p := start(t, f)
		for i := range 5 {
			rows := people(string(rune('a'+i)) + "@example.com")
			f.change(&rows)
			time.Sleep(time.Millisecond)
		}
		time.Sleep(50 * time.Millisecond)
		if got := p.Load().Head().Revision; got != 6 {
			t.Errorf("revision %d", got)
		}
		f.set(func() {
			if f.asked != 1 {
				t.Errorf("a burst of 5 changes was asked for %d times", f.asked)
			}
		})
		if diff := cmp.Diff([]string{"load", "journal full", "first", "journal", "reconcile"}, f.events()); diff != "" {
			t.Errorf("order of events: %s", diff)
		}
	})
}

func TestPublisherPollsWithoutBeingWoken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeStore()
		p := start(t, f)
		rows := people("a@example.com")
		f.set(func() { f.news, f.head.Revision = &rows, 2 })
		time.Sleep(600 * time.Millisecond)
		if got := p.Load().Head().Revision; got != 2 {
			t.Errorf("revision %d", got)
		}
	})
}

func TestSecurityRemovalsAreJournalledBeforeTheyArePublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeStore()
		p := start(t, f)
		f.events()
		f.set(func() { f.jerr = errors.New("disk full") })
		f.change(&identity.Rows{RemovedTokens: []identity.Digest{digestOf(1)}})
		time.Sleep(100 * time.Millisecond)
		if got, log := p.Load().Head().Revision, f.events(); got != 1 || slices.Contains(log, "reconcile") {
			t.Errorf("revision %d is published although the journal failed: %v", got, log)
		}
		if p.Health().Problem == nil {
			t.Error("nobody is told")
		}
		f.set(func() { f.jerr = nil })
		time.Sleep(time.Second)
		if got := p.Load().Head().Revision; got != 2 || p.Health().Problem != nil {
			t.Errorf("revision %d, %v", got, p.Health().Problem)
		}
	})
}

func TestAFullLoadTellsTheJournalFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeStore()
		start(t, f)
		f.events()
		f.set(func() { f.full = true; f.head = identity.Head{Epoch: "restored", Revision: 1} })
		time.Sleep(time.Second)
		if diff := cmp.Diff([]string{"load", "journal full", "reconcile"}, f.events()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestSecurityASnapshotThatIsTooOldIsNotServed(t *testing.T) {
	for _, how := range []string{"fails", "hangs"} {
		t.Run("the loader "+how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakeStore()
				p := start(t, f)
				f.set(func() {
					if how == "hangs" {
						f.hang = make(chan struct{})
					} else {
						f.err = errors.New("away")
					}
				})
				time.Sleep(59 * time.Minute)
				if p.Load() == nil {
					t.Fatal("the last snapshot was dropped while it was young")
				}
				time.Sleep(2 * time.Minute)
				if p.Load() != nil || p.Health().Present {
					t.Error("a snapshot of more than an hour is served")
				}
				f.set(func() {
					f.err = nil
					if f.hang != nil {
						close(f.hang)
						f.hang = nil
					}
				})
				time.Sleep(time.Second)
				if p.Load() == nil {
					t.Error("it does not come back when the loader agrees with it again")
				}
			})
		})
	}
}

func TestSecurityASeedThatIsTooOldIsNotServed(t *testing.T) {
	for _, tc := range []struct {
		age    time.Duration
		served bool
	}{{time.Minute, true}, {2 * time.Hour, false}, {-24 * time.Hour, true}} {
		synctest.Test(t, func(t *testing.T) {
			f := newFakeStore()
			f.err = errors.New("away")
			p := NewPublisher(f.options())
			p.Seed(snap(), time.Now().Add(-tc.age))
			if got := p.Load() != nil; got != tc.served {
				t.Errorf("%s old: served %t", tc.age, got)
			}
			if err := p.Start(t.Context()); err != nil {
				t.Errorf("with a seed a start does not fail: %v", err)
			}
			defer p.Close()
			if got := p.Load() != nil; got != tc.served || p.Health().Problem == nil {
				t.Errorf("%s old, started: served %t, problem %v", tc.age, got, p.Health().Problem)
			}
			time.Sleep(61 * time.Minute) // also one that claims to be of tomorrow
			if p.Load() != nil {
				t.Errorf("%s old: served an hour later", tc.age)
			}
		})
	}
}

// What a copy says of a revision is not what the database says: somebody who
// waits for it waits for the database.
func TestSecurityASeedIsNotWhatIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeStore()
		f.err = errors.New("away")
		p := NewPublisher(f.options())
		p.Seed(snap(), time.Now())
		if err := p.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		wait := func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			return p.WaitFor(ctx, p.Load().Head())
		}
		if err := wait(); identity.CodeOf(err) != identity.CodeNoSnapshot {
			t.Errorf("from the copy alone: %v", err)
		}
		f.set(func() { f.err = nil })
		if err := wait(); err != nil {
			t.Errorf("the database is back: %v", err)
		}
	})
}

func TestStartFailsWithoutASnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeStore()
		f.err = errors.New("away")
		p := NewPublisher(f.options())
		if err := p.Start(t.Context()); !errors.Is(err, f.err) || p.Load() != nil || !f.ended {
			t.Errorf("%v, watch ended %t", err, f.ended)
		}
		p.Close()
	})
}

func TestWaitForReturnsWhenTheRevisionIsLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeStore()
		p := start(t, f)
		var live atomic.Int32
		for range 3 {
			go func() {
				if err := p.WaitFor(t.Context(), identity.Head{Epoch: "e", Revision: 2}); err == nil {
					live.Add(1)
				}
			}()
		}
		synctest.Wait()
		if live.Load() != 0 {
			t.Error("it was not waited for")
		}
		f.change(&identity.Rows{})
		time.Sleep(time.Second)
		if live.Load() != 3 {
			t.Errorf("%d were told", live.Load())
		}
		for _, head := range []identity.Head{{Epoch: "e", Revision: 3}, {Epoch: "other", Revision: 1}} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if err := p.WaitFor(ctx, head); identity.CodeOf(err) != identity.CodeNoSnapshot || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%+v: %v", head, err)
			}
			cancel()
		}
	})
}

func TestNoRowsAreNoChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeStore()
		p := start(t, f)
		f.change(nil)
		time.Sleep(time.Second)
		if got := p.Load().Head().Revision; got != 2 {
			t.Errorf("revision %d", got)
		}
	})
}
