package disk

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

// loader makes a world a snapshot.Loader that may be used by many.
type loader struct {
	*world
	mu   sync.Mutex
	away bool
}

var errAway = errors.New("the database is away")

func (l *loader) Load(ctx context.Context, yield func(*identity.Rows) error) (identity.Head, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.away {
		return identity.Head{}, errAway
	}
	return l.world.Load(ctx, yield)
}

func (l *loader) Since(_ context.Context, since identity.Head) (*identity.Rows, identity.Head, bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.away:
		return nil, identity.Head{}, false, errAway
	case since == l.head:
		return nil, l.head, false, nil
	case since.Epoch != l.head.Epoch || since.Revision > l.head.Revision:
		return nil, identity.Head{}, true, nil
	}
	rows := l.delta()
	l.published()
	return rows, l.head, false, nil
}

func (l *loader) Watch() (<-chan struct{}, func()) { return nil, func() {} }

// TestARestartWithoutTheDatabaseServesTheCopy follows a publisher, kills it,
// and starts another one while the database is away.
func TestARestartWithoutTheDatabaseServesTheCopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.furnish()
		w.commit()
		l := &loader{world: w}
		dir, keys := t.TempDir(), testKeys(t, 1)
		start := func() (*snapshot.Publisher, *Copy, error) {
			seed, since, readErr := Read(dir, keys, time.Now(), time.Hour)
			c, err := New(Options{Dir: dir, Keys: keys, Source: l})
			if err != nil {
				t.Fatal(err)
			}
			p := snapshot.NewPublisher(snapshot.Options{Loader: l, Journal: c, MaxStaleness: time.Hour})
			c.ConfirmedBy(func() time.Time { return p.Health().Confirmed })
			if readErr == nil {
				p.Seed(seed, since)
			}
			if err := p.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			return p, c, readErr
		}
		stop := func(p *snapshot.Publisher, c *Copy) {
			p.Close()
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
		database := func(away bool, change func()) {
			l.mu.Lock()
			defer l.mu.Unlock()
			if l.away = away; change != nil {
				change()
				w.commit()
			}
		}
		pass := func(d time.Duration) { time.Sleep(d); synctest.Wait() }

		p, c, err := start()
		if !errors.Is(err, ErrNone) {
			t.Fatalf("the first start: %v", err)
		}
		pass(10 * time.Second)
		database(false, func() { w.revoke(identity.DigestOf("token 1")) })
		pass(2 * time.Second)
		if p.Load().Head() != w.head {
			t.Fatal("the revocation was not published")
		}
		pass(3 * time.Hour) // longer than the copy may be old, but confirmed all along
		stop(p, c)

		database(true, nil)
		p, c, err = start()
		if err != nil || p.Load() == nil {
			t.Fatalf("nothing is served: %v", err)
		}
		w.same(p.Load())
		if _, ok := p.Load().Token(identity.DigestOf("token 1")); ok {
			t.Fatal("the revoked token is back")
		}
		pass(time.Hour + time.Minute)
		if p.Load() != nil {
			t.Fatal("the copy is served past its time: its age began anew with the restart")
		}
		database(false, func() { w.revoke(identity.DigestOf("token 2")) })
		pass(2 * time.Second)
		w.same(p.Load())
		if p.Load().Head() != w.head {
			t.Fatal("the database is back, its change is not")
		}
		stop(p, c)

		database(true, nil)
		p, c, _ = start()
		w.same(p.Load())
		if p.Load().Head() != w.head {
			t.Fatal("the last change was lost")
		}
		stop(p, c)

		time.Sleep(2 * time.Hour)
		if _, _, err := Read(dir, keys, time.Now(), time.Hour); !errors.Is(err, ErrStale) {
			t.Fatalf("got %v", err)
		}
	})
}
