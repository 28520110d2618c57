package postgres_test

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
	"github.com/gatehouse-ai/gatehouse/internal/store/postgres"
)

// never is a polling interval that plays no part.
const never = time.Hour

func team(name string) *v1.Team {
	return &v1.Team{TypeMeta: v1.TypeMeta{APIVersion: v1.APIVersion, Kind: v1.KindTeam}, ObjectMeta: v1.ObjectMeta{Name: name}}
}

func commit(t testing.TB, db *postgres.DB, b *record.Batch) identity.Head {
	t.Helper()
	head, err := db.Commit(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	return head
}

func wantCode(t testing.TB, err error, code identity.Code) {
	t.Helper()
	if identity.CodeOf(err) != code || err == nil {
		t.Fatalf("error %v, want code %s", err, code)
	}
}

// wakes measures how long a commit of one store takes to wake the other.
func wakes(t *testing.T, from, to *postgres.DB, rounds int) []time.Duration {
	t.Helper()
	ch, end := to.Watch()
	defer end()
	var took []time.Duration
	for i := range rounds {
		head := commit(t, from, &record.Batch{PutResources: []v1.Resource{team(fmt.Sprint("t-", time.Now().UnixNano()))}})
		began := time.Now()
		select {
		case <-ch:
		case <-time.After(10 * time.Second):
			t.Fatalf("round %d: not woken within ten seconds", i)
		}
		took = append(took, time.Since(began))
		if seen, err := to.Head(t.Context()); err != nil || seen != head {
			t.Fatalf("woken at %+v, %v; committed %+v", seen, err, head)
		}
	}
	slices.Sort(took)
	t.Logf("median %v, longest %v", took[len(took)/2], took[len(took)-1])
	return took
}

func TestSecurityOtherReplicaIsWokenByNotifyAtOnce(t *testing.T) {
	url := database(t)
	a, b := opened(t, postgres.Options{URL: url, Poll: never}), opened(t, postgres.Options{URL: url, Poll: never})
	wakes(t, a, b, 1) // b has come to listening
	took := wakes(t, a, b, 50)
	if median := took[len(took)/2]; median > 100*time.Millisecond || took[len(took)-1] > time.Second {
		t.Fatalf("median %v, longest %v; want 100ms at most", median, took[len(took)-1])
	}
}

func TestSecurityOtherReplicaIsWokenWithoutNotify(t *testing.T) {
	url := database(t)
	a, b := opened(t, postgres.Options{URL: url, NoNotify: true}), opened(t, postgres.Options{URL: url, NoNotify: true})
	if took := wakes(t, a, b, 6); took[len(took)-1] > time.Second {
		t.Fatalf("longest %v, want a second at most", took[len(took)-1])
	}
}

func TestListeningComesBackAfterItsConnectionWasLost(t *testing.T) {
	url := database(t)
	a, b := opened(t, postgres.Options{URL: url, Poll: never}), opened(t, postgres.Options{URL: url, Poll: never})
	wakes(t, a, b, 1)
	for range 3 {
		if err := server.Exec("postgres", `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'gatehouse-listen'`); err != nil {
			t.Fatal(err)
		}
		// The first may fall into the gap: what was told there is looked up.
		wakes(t, a, b, 2)
	}
}

func TestCommitsOfTwoReplicasLoseNothingAndKeepOneOrder(t *testing.T) {
	url := database(t)
	stores := []*postgres.DB{opened(t, postgres.Options{URL: url}), opened(t, postgres.Options{URL: url})}
	const writers, each = 3, 15
	stop := make(chan struct{})
	var reading, writing sync.WaitGroup
	reading.Go(func() {
		// Each commit makes one team, so a head of revision r has r teams.
		for {
			teams := 0
			head, err := stores[1].Load(context.WithoutCancel(t.Context()), func(rows *identity.Rows) error {
				teams += len(rows.Resources)
				return nil
			})
			if err != nil || uint64(teams) != head.Revision {
				t.Errorf("%d teams at revision %d, %v", teams, head.Revision, err)
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	for i := range 2 * writers {
		writing.Go(func() {
			for j := range each {
				name := fmt.Sprintf("t-%d-%d", i, j)
				if _, err := stores[i%2].Commit(context.WithoutCancel(t.Context()), &record.Batch{PutResources: []v1.Resource{team(name)}}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writing.Wait()
	close(stop)
	reading.Wait()
	if head, err := stores[0].Head(t.Context()); err != nil || head.Revision != 2*writers*each {
		t.Fatalf("head %+v, %v; want revision %d", head, err, 2*writers*each)
	}
	rows, _, full, err := stores[0].Since(t.Context(), identity.Head{Epoch: headOf(t, stores[0]).Epoch})
	if err != nil || full || len(rows.Resources) != 2*writers*each {
		t.Fatalf("full %v, %v, %d changes", full, err, len(rows.Resources))
	}
}

func headOf(t testing.TB, db *postgres.DB) identity.Head {
	t.Helper()
	head, err := db.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return head
}

// both runs two functions at once.
func both(a, b func() error) (errA, errB error) {
	var ready, done sync.WaitGroup
	ready.Add(2)
	run := func(fn func() error, err *error) {
		done.Go(func() {
			ready.Done()
			ready.Wait()
			*err = fn()
		})
	}
	run(a, &errA)
	run(b, &errB)
	done.Wait()
	return errA, errB
}

func TestSecurityOfTwoReplicasOneWins(t *testing.T) {
	url := database(t)
	a, b := opened(t, postgres.Options{URL: url}), opened(t, postgres.Options{URL: url})
	ctx := context.WithoutCancel(t.Context())
	for _, tc := range []struct {
		name string
		code identity.Code
		try  func(db *postgres.DB, round int, who string) error
	}{
		{"writing a person", identity.CodePreconditionFailed, func(db *postgres.DB, round int, who string) error {
			u, err := db.User(ctx, "u-1")
			if err != nil {
				return err
			}
			_, err = db.Commit(ctx, &record.Batch{
				UserConditions: []record.UserCondition{{UID: "u-1", Version: u.Version}},
				PutUsers:       []identity.User{{UID: "u-1", Email: "ada@example.com", DisplayName: fmt.Sprint(who, round), Active: true}},
			})
			return err
		}},
		{"making a person", identity.CodePreconditionFailed, func(db *postgres.DB, round int, who string) error {
			uid := fmt.Sprint("new-", round)
			_, err := db.Commit(ctx, &record.Batch{
				UserConditions: []record.UserCondition{{UID: uid}}, PutUsers: []identity.User{{UID: uid, Email: uid + "@example.com", DisplayName: who}},
			})
			return err
		}},
		{"claiming", identity.CodeConflict, func(db *postgres.DB, round int, _ string) error {
			return db.Claim(ctx, "jti", fmt.Sprint(round), time.Now().Add(time.Hour))
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			commit(t, a, &record.Batch{PutUsers: []identity.User{{UID: "u-1", Email: "ada@example.com", Active: true}}})
			lost := 0
			for round := range 20 {
				errA, errB := both(func() error { return tc.try(a, round, "a") }, func() error { return tc.try(b, round, "b") })
				for _, err := range []error{errA, errB} {
					if err != nil {
						wantCode(t, err, tc.code)
						lost++
					}
				}
				if errA != nil && errB != nil {
					t.Fatalf("round %d: both lost", round)
				}
			}
			// A person can be written twice in a round, one after the other; made
			// or claimed, once.
			if tc.name != "writing a person" && lost != 20 {
				t.Fatalf("%d lost of 20 rounds", lost)
			}
		})
	}
}

// One version read by both: exactly one write of it succeeds.
func TestSecurityOneVersionIsWrittenOnceByTwoReplicas(t *testing.T) {
	url := database(t)
	a, b := opened(t, postgres.Options{URL: url}), opened(t, postgres.Options{URL: url})
	ctx := context.WithoutCancel(t.Context())
	made := &record.Batch{PutUsers: []identity.User{{UID: "u-1", Email: "ada@example.com", Active: true}}}
	commit(t, a, made)
	for round := range 25 {
		u, err := a.User(ctx, "u-1")
		if err != nil {
			t.Fatal(err)
		}
		write := func(db *postgres.DB, who string) func() error {
			return func() error {
				_, err := db.Commit(ctx, &record.Batch{
					UserConditions: []record.UserCondition{{UID: u.UID, Version: u.Version}},
					PutUsers:       []identity.User{{UID: u.UID, Email: u.Email, Active: true, DisplayName: fmt.Sprint(who, round)}},
				})
				return err
			}
		}
		errA, errB := both(write(a, "a"), write(b, "b"))
		if (errA == nil) == (errB == nil) {
			t.Fatalf("round %d: %v and %v; want exactly one to win", round, errA, errB)
		}
		if errA == nil {
			errA = errB
		}
		wantCode(t, errA, identity.CodePreconditionFailed)
	}
}

// Neither sees what the other has not committed yet, and still nothing may be
// alive afterwards.
func TestSecurityDeactivationAndSignInAtOnceLeaveNothingAlive(t *testing.T) {
	url := database(t)
	a, b := opened(t, postgres.Options{URL: url}), opened(t, postgres.Options{URL: url})
	ctx := context.WithoutCancel(t.Context())
	for round := range 25 {
		u := identity.User{UID: fmt.Sprint("u-", round), Email: fmt.Sprint(round, "@example.com"), Active: true}
		commit(t, a, &record.Batch{PutUsers: []identity.User{u}})
		off := u
		off.Active = false
		errA, errB := both(func() error {
			_, err := a.Commit(ctx, &record.Batch{PutUsers: []identity.User{off}})
			return err
		}, func() error {
			_, err := b.Commit(ctx, &record.Batch{
				PutSessions: []identity.Session{{Digest: identity.DigestOf("s" + u.UID), UserUID: u.UID, ExpiresAt: time.Now().Add(time.Hour)}},
				PutTokens:   []identity.Token{{Kind: identity.TokenPersonal, Digest: identity.DigestOf("t" + u.UID), Owner: u.UID, ExpiresAt: time.Now().Add(time.Hour)}},
			})
			return err
		})
		if errA != nil {
			t.Fatal(errA)
		}
		if errB != nil {
			wantCode(t, errB, identity.CodePreconditionFailed)
		}
		if _, err := a.Load(ctx, func(rows *identity.Rows) error {
			for _, tok := range rows.Tokens {
				t.Errorf("round %d: %s of the deactivated %s is alive", round, tok.Kind, tok.Owner)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSchemaIsMadeOnceByMany(t *testing.T) {
	url := database(t)
	const replicas = 5
	var dbs [replicas]*postgres.DB
	var errs [replicas]error
	var done sync.WaitGroup
	for i := range replicas {
		done.Go(func() {
			dbs[i], errs[i] = postgres.Open(context.WithoutCancel(t.Context()), postgres.Options{URL: url})
		})
	}
	done.Wait()
	epochs := map[string]bool{}
	for i := range replicas {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		epochs[headOf(t, dbs[i]).Epoch] = true
		if err := dbs[i].Close(); err != nil {
			t.Error(err)
		}
	}
	if len(epochs) != 1 {
		t.Fatalf("%d epochs", len(epochs))
	}
	raw, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = raw.Close() }()
	var twice int
	if err := raw.QueryRow(`SELECT count(*) - count(DISTINCT version_id) FROM goose_db_version`).Scan(&twice); err != nil || twice != 0 {
		t.Fatalf("%d migrations ran twice, %v", twice, err)
	}
}
