package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

func TestCopyIsTheStoreWhateverHappens(t *testing.T) {
	parent := t.TempDir()
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		dir, crash := filepath.Join(parent, fmt.Sprint(run)), filepath.Join(parent, "crash")
		r := newRig(t, rt, dir)
		r.opt.chunk = 500
		defer func() {
			if r.copy != nil {
				_ = r.copy.Close()
			}
			_ = os.RemoveAll(dir)
		}()
		hasBase := false
		r.opt.atStep = func(step string) {
			copyDir(rt, dir, crash)
			s, _, err := Read(crash, r.opt.Keys, r.now, time.Hour)
			if err != nil {
				if errors.Is(err, ErrNone) && (!hasBase || step == "base removed" || step == "new journal") {
					return
				}
				rt.Fatalf("killed at %q: %v", step, err)
			}
			r.same(s)
			if s.Head().Revision < r.published {
				rt.Fatalf("killed at %q: revision %d came back after %d was published", step, s.Head().Revision, r.published)
			}
		}
		r.full()
		rt.Repeat(map[string]func(*rapid.T){
			"change": func(t *rapid.T) {
				for range rapid.IntRange(1, 4).Draw(t, "n") {
					r.anyChange(t)
				}
				r.commit()
			},
			"publish": func(*rapid.T) { r.publish() },
			"base": func(t *rapid.T) {
				if rapid.Bool().Draw(t, "changes meanwhile") {
					r.beforeEnd = func() {
						r.anyChange(t)
						r.commit()
						if rapid.Bool().Draw(t, "published") {
							r.publish()
						}
					}
				}
				r.base()
				hasBase = true
			},
			"restart": func(*rapid.T) {
				if !hasBase {
					return // nothing to start from: a full load
				}
				_ = r.copy.Close()
				s := r.mustRead()
				r.begin()
				// The gateway serves what was on disk and asks for what is newer.
				r.published = s.Head().Revision
			},
			"full": func(*rapid.T) {
				hasBase = false
				r.copy.Full(r.head)
				r.world.published()
				r.published = r.head.Revision
			},
			"": func(*rapid.T) {
				if hasBase {
					r.mustRead()
				}
			},
		})
	})
}

func (r *rig) anyChange(t *rapid.T) {
	uid := func() string { return fmt.Sprint("u", rapid.IntRange(0, 3).Draw(t, "user")) }
	n := rapid.IntRange(0, 7).Draw(t, "which")
	key := identity.ResourceKey{Kind: v1.KindRoleBinding, Name: fmt.Sprint("b", n%3)}
	switch rapid.IntRange(0, 8).Draw(t, "kind of change") {
	case 0:
		who := uid()
		r.liftTombstone(who)
		r.putUser(who, rapid.Bool().Draw(t, "active"), []string{"research"}[:n%2]...)
	case 1:
		r.removeUser(uid())
	case 2:
		r.putToken(n, uid(), nil)
	case 3:
		r.putToken(n, uid(), &identity.Narrowing{Models: []string{"a/*"}[:n%2]})
	case 4:
		r.revoke(identity.DigestOf(fmt.Sprint("token ", n)))
	case 5:
		r.put(key.Kind, key.Name, `{"subjects":["user:`+uid()+`@example.com"],"role":"tenant-admin","resources":["tenant"]}`)
	case 6:
		r.remove(key)
	case 7:
		r.quarantine(key)
	case 8:
		r.put(v1.KindTeam, "research", `{"members":["`+uid()+`@example.com"]}`)
	}
}

func TestTheBaseIsWrittenAtMostOnceAMinuteAndOnlyForANewRevision(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, t, t.TempDir())
		r.furnish()
		r.commit()
		writes := 0
		var mu sync.Mutex // the base is read by another goroutine than the test's
		locked := func(f func()) {
			mu.Lock()
			defer mu.Unlock()
			f()
		}
		r.opt.Source = loadFunc(func(ctx context.Context, yield func(*identity.Rows) error) (identity.Head, error) {
			mu.Lock()
			defer mu.Unlock()
			return r.Load(ctx, yield)
		})
		r.opt.Now = nil
		r.opt.atStep = func(step string) {
			if step == "base in place" {
				writes++
			}
		}
		var confirmed atomic.Pointer[time.Time]
		confirm := func() time.Time { now := time.Now(); confirmed.Store(&now); return now }
		confirm()
		c, err := New(r.opt)
		if err != nil {
			t.Fatal(err)
		}
		r.copy = c
		c.ConfirmedBy(func() time.Time { return *confirmed.Load() })
		expect := func(want int, why string) {
			t.Helper()
			synctest.Wait()
			c.mu.Lock()
			defer c.mu.Unlock()
			if writes != want {
				t.Fatalf("%s: %d bases were written, want %d", why, writes, want)
			}
		}
		expect(0, "nothing was published")
		c.Full(r.head)
		r.world.published()
		expect(1, "a full load")
		time.Sleep(10 * time.Minute)
		expect(1, "nothing changed")
		for i := range 30 {
			locked(func() {
				r.putUser(fmt.Sprint("u", i), true)
				r.commitAndPublish()
			})
			synctest.Wait()
			time.Sleep(time.Second)
		}
		expect(2, "thirty changes in half a minute")
		time.Sleep(time.Minute)
		expect(3, "the rest of them")
		time.Sleep(time.Hour)
		expect(3, "nothing changed")

		last := confirm()
		time.Sleep(time.Minute)
		synctest.Wait()
		if _, at, err := Read(r.opt.Dir, r.opt.Keys, time.Now(), time.Hour); err != nil || !at.Equal(last) {
			t.Errorf("confirmed at %s, %v; want %s", at, err, last)
		}

		locked(func() {
			r.failure = errors.New("the database is away")
			r.putUser("late", true)
			r.head.Revision++
			r.publish()
		})
		time.Sleep(5 * time.Minute)
		expect(3, "the database is away")
		locked(func() {
			r.failure = nil
			r.states[r.head.Revision] = r.compile()
		})
		time.Sleep(time.Minute)
		expect(4, "the database is back")

		if err := errors.Join(c.Close(), c.Close()); err != nil {
			t.Fatal(err)
		}
		if err := c.Removed(r.head, nil); err == nil {
			t.Error("a closed copy took a change")
		}
		if s, _, err := Read(r.opt.Dir, r.opt.Keys, time.Now(), 2*time.Hour); err != nil {
			t.Error(err)
		} else {
			r.same(s)
		}
	})
}

func TestAChangeDoesNotWaitForTheBase(t *testing.T) {
	r := furnished(t)
	r.beforeEnd = func() { // while the base is being written
		r.revoke(identity.DigestOf("token 1"))
		r.commit()
		done := make(chan error)
		go func() { done <- r.copy.Removed(r.head, r.delta()) }()
		if err := <-done; err != nil {
			t.Error(err)
		}
		r.world.published()
	}
	r.base()
	r.mustRead()
}

func TestSizeAndTimeOfALargeCopy(t *testing.T) {
	tokens, users := 200_000, 20_000
	if testing.Short() {
		tokens, users = 20_000, 2_000
	}
	keys := testKeys(t, 1)
	source := loadFunc(func(_ context.Context, yield func(*identity.Rows) error) (identity.Head, error) {
		uid := func(i int) string { return fmt.Sprintf("0193f1a2-0001-7000-8000-%012d", i) }
		for i := 0; i < users; i += 1000 {
			rows := &identity.Rows{}
			for j := i; j < i+1000; j++ {
				rows.Users = append(rows.Users, identity.User{
					UID: uid(j), Email: uid(j) + "@example.com", Active: true, CreatedAt: noon,
					Identities:  []identity.UserIdentity{{Issuer: "https://idp.example.com", Subject: uid(j), LinkedAt: noon}},
					Memberships: []identity.Membership{{Team: "research", Source: "scim"}},
				})
			}
			if err := yield(rows); err != nil {
				return identity.Head{}, err
			}
		}
		for i := 0; i < tokens; i += 10_000 {
			rows := &identity.Rows{}
			for j := i; j < i+10_000; j++ {
				rows.Tokens = append(rows.Tokens, identity.Token{
					ID: fmt.Sprintf("0193f1a2-0000-7000-8000-%012d", j), Kind: identity.TokenPersonal,
					Name: "laptop", Digest: identity.DigestOf(fmt.Sprint(j)), Owner: uid(j % users), ExpiresAt: noon.Add(time.Hour),
				})
			}
			if err := yield(rows); err != nil {
				return identity.Head{}, err
			}
		}
		return identity.Head{Epoch: "e1", Revision: 1}, nil
	})
	c, err := begin(Options{Dir: t.TempDir(), Keys: keys, Source: source, Now: func() time.Time { return noon }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	c.Full(identity.Head{Epoch: "e1", Revision: 1})
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	if err := c.writeBase(t.Context()); err != nil {
		t.Fatal(err)
	}
	wrote := time.Since(start)
	runtime.ReadMemStats(&after)
	info, err := os.Stat(filepath.Join(c.opt.Dir, baseName))
	if err != nil {
		t.Fatal(err)
	}
	start = time.Now()
	s, _, err := Read(c.opt.Dir, keys, noon, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d tokens, %d users: %.1f MB (%d bytes each), written in %s, read in %s; heap %.1f MB at the end of writing",
		tokens, users, float64(info.Size())/1e6, info.Size()/int64(tokens+users), wrote.Round(time.Millisecond), time.Since(start).Round(time.Millisecond),
		float64(after.HeapAlloc-min(before.HeapAlloc, after.HeapAlloc))/1e6)
	if st := s.Stats(); st.Tokens != tokens || st.Users != users {
		t.Fatalf("got %+v", st)
	}
	if perToken := info.Size() / int64(tokens+users); perToken > 150 {
		t.Errorf("%d bytes each: a million tokens would be too many to write every minute", perToken)
	}
}

type loadFunc func(context.Context, func(*identity.Rows) error) (identity.Head, error)

func (f loadFunc) Load(ctx context.Context, yield func(*identity.Rows) error) (identity.Head, error) {
	return f(ctx, yield)
}
