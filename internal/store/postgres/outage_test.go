package postgres_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
	"github.com/gatehouse-ai/gatehouse/internal/store"
	"github.com/gatehouse-ai/gatehouse/internal/store/postgres"
)

// recovers waits until the store works again, without being opened again.
func recovers(t *testing.T, db *postgres.DB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := db.Commit(ctx, &record.Batch{PutResources: []v1.Resource{team("again")}})
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the database is back and the store is not: %v", err)
		case <-tick.C:
		}
	}
}

func TestSecurityAcknowledgedWritesSurviveTheServersDeath(t *testing.T) {
	db := opened(t, postgres.Options{URL: database(t)})
	for range 3 {
		var mu sync.Mutex
		acknowledged := map[string]bool{}
		enough, stop := make(chan struct{}), make(chan struct{})
		var writing sync.WaitGroup
		for i := range 3 {
			writing.Go(func() {
				for j := 0; ; j++ {
					select {
					case <-stop:
						return
					default:
					}
					id := fmt.Sprintf("t-%d-%d-%d", time.Now().UnixNano(), i, j)
					tok := identity.Token{ID: id, Kind: identity.TokenPersonal, Digest: identity.DigestOf(id), ExpiresAt: time.Now().Add(time.Hour)}
					if _, err := db.Commit(context.WithoutCancel(t.Context()), &record.Batch{PutTokens: []identity.Token{tok}}); err != nil {
						if identity.CodeOf(err) != identity.CodeDatabaseUnavailable {
							t.Errorf("while the server dies: %v", err)
						}
						return
					}
					if _, err := db.Commit(context.WithoutCancel(t.Context()), &record.Batch{RevokeTokens: []string{id}}); err != nil {
						return
					}
					mu.Lock()
					if acknowledged[id] = true; len(acknowledged) == 20 {
						close(enough)
					}
					mu.Unlock()
				}
			})
		}
		<-enough
		if err := errors.Join(server.Kill(), server.Run()); err != nil {
			t.Fatal(err)
		}
		close(stop)
		writing.Wait()
		recovers(t, db)
		for id := range acknowledged {
			if tok, err := db.Token(t.Context(), id); err != nil || tok.RevokedAt == nil {
				t.Fatalf("the revocation of %s was acknowledged and is gone: %v", id, err)
			}
		}
	}
}

func TestServerThatIsAwayIsSaidToBeAwaySoon(t *testing.T) {
	for _, tc := range []struct {
		name       string
		away, back func() error
	}{
		{"stopped", func() error { return server.Stop() }, func() error { return server.Run() }},
		{"frozen", func() error { return server.Freeze() }, func() error { return server.Thaw() }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			db := opened(t, postgres.Options{URL: database(t)})
			recovers(t, db)
			if err := db.AppendRequests(t.Context(), []record.Request{{ID: "1", At: time.Now()}}); err != nil {
				t.Fatal(err)
			}
			if err := tc.away(); err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := tc.back(); err != nil {
					t.Fatal(err)
				}
				recovers(t, db)
			}()
			for what, call := range map[string]func() error{
				"read": func() error { _, err := db.Head(t.Context()); return err },
				"commit": func() error {
					_, err := db.Commit(t.Context(), &record.Batch{PutResources: []v1.Resource{team("x")}})
					return err
				},
				"load": func() error {
					_, err := db.Load(t.Context(), func(*identity.Rows) error { return nil })
					return err
				},
				"touch":   func() error { return db.TouchTokens(t.Context(), map[string]identity.TokenUse{"x": {At: time.Now()}}) },
				"records": func() error { return db.AppendRequests(t.Context(), []record.Request{{ID: "2", At: time.Now()}}) },
			} {
				began := time.Now()
				err := call()
				if took := time.Since(began); took > 3*time.Second {
					t.Errorf("%s: said after %v", what, took)
				}
				if identity.CodeOf(err) != identity.CodeDatabaseUnavailable {
					t.Errorf("%s: %v", what, err)
				}
			}
		})
	}
}

func TestWriterThatNeverEndsHoldsNobodyUpForLong(t *testing.T) {
	url := database(t)
	db := opened(t, postgres.Options{URL: url})
	raw := rawConn(t, url)
	if _, err := raw.ExecContext(t.Context(), `SELECT pg_advisory_lock(1197756744, 1)`); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	_, err := db.Commit(t.Context(), &record.Batch{PutResources: []v1.Resource{team("x")}})
	wantCode(t, err, identity.CodeDatabaseUnavailable)
	if took := time.Since(began); took > 7*time.Second {
		t.Fatalf("said after %v", took)
	}
	if _, err := db.Head(t.Context()); err != nil {
		t.Fatalf("readers wait for writers: %v", err)
	}
	if err := db.Claim(t.Context(), "a", "b", time.Now()); err != nil {
		t.Fatalf("claims wait for writers of the configuration: %v", err)
	}
	if _, err := raw.ExecContext(t.Context(), `SELECT pg_advisory_unlock(1197756744, 1)`); err != nil {
		t.Fatal(err)
	}
	recovers(t, db)
}

func rawConn(t *testing.T, url string) *sql.Conn {
	t.Helper()
	pool, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pool.Close() })
	conn, err := pool.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// A deadlock ends one of its two transactions. The store's is begun again.
func TestTransactionThatLosesADeadlockIsBegunAgain(t *testing.T) {
	url := database(t)
	db := opened(t, postgres.Options{URL: url})
	b := &record.Batch{}
	for _, id := range []string{"t-1", "t-2"} {
		b.PutTokens = append(b.PutTokens, identity.Token{ID: id, Kind: identity.TokenPersonal, Digest: identity.DigestOf(id), ExpiresAt: time.Now().Add(time.Hour)})
	}
	commit(t, db, b)
	raw, other := rawConn(t, url), rawConn(t, url)
	tx, err := raw.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	// The one that looks for the deadlock is the one that loses it.
	if _, err := tx.Exec(`SET LOCAL deadlock_timeout = '1min'`); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(`UPDATE tokens SET name = 'x' WHERE id = 't-2'`); err != nil {
		t.Fatal(err)
	}
	at := time.Now().Add(time.Minute).UTC().Truncate(time.Millisecond)
	touched := make(chan error)
	go func() {
		touched <- db.TouchTokens(context.WithoutCancel(t.Context()), map[string]identity.TokenUse{"t-1": {At: at}, "t-2": {At: at}})
	}()
	for waiting := 0; waiting == 0; { // until it has t-1 and waits for t-2
		if err := other.QueryRowContext(t.Context(), `SELECT count(*) FROM pg_locks WHERE NOT granted`).Scan(&waiting); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tx.Exec(`UPDATE tokens SET name = 'x' WHERE id = 't-1'`); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := <-touched; err != nil {
		t.Fatalf("the loser of the deadlock was not begun again: %v", err)
	}
	for _, id := range []string{"t-1", "t-2"} {
		if tok, err := db.Token(t.Context(), id); err != nil || tok.LastUsedAt == nil || !tok.LastUsedAt.Equal(at) {
			t.Fatalf("token %+v, %v", tok, err)
		}
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	url := database(t)
	if err := open(t, postgres.Options{URL: url}).Close(); err != nil {
		t.Fatal(err)
	}
	name := url[strings.LastIndex(url, "/")+1 : strings.Index(url, "?")]
	if err := server.Exec(name, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (9000, true)`); err != nil {
		t.Fatal(err)
	}
	db, err := postgres.Open(t.Context(), postgres.Options{URL: url})
	if err == nil {
		_ = db.Close()
		t.Fatal("a schema of the future was opened")
	}
	if !strings.Contains(err.Error(), "version 9000") || !strings.Contains(err.Error(), "newer gatehouse") {
		t.Fatalf("error %q does not say what to do", err)
	}
}

func TestSecurityPasswordIsInNoError(t *testing.T) {
	const password = "hunter2%2Fhunter"
	urls := []string{
		"postgres://u:" + password + "@[bad/db", "postgres://u:" + password + "@h:port/db", "postgres://u:" + password + "@h/db?sslmode=nonsense",
		"postgres://u:" + password + "@h/db?sslmode=verify-full&sslrootcert=/nowhere", "postgres://u:hunter2%zz@h/db", "mysql://u:" + password + "@h/db",
		"postgres://u:" + password + "@127.0.0.1:1/db", "postgres://u:" + password + "@no-such-host.invalid/db", "hunter2",
	}
	if errServer == nil {
		urls = append(urls, fmt.Sprintf("postgres://gatehouse:%s@127.0.0.1:%d/postgres?sslmode=disable", password, server.Port),
			fmt.Sprintf("postgres://gatehouse:%s@127.0.0.1:%d/postgres", password, server.Port),
			fmt.Sprintf("postgres://gatehouse:%s@127.0.0.1:%d/postgres?sslmode=require", password, server.Port))
	}
	for _, url := range urls {
		db, err := postgres.Open(t.Context(), postgres.Options{URL: url})
		if err == nil {
			_ = db.Close()
			t.Fatalf("opened %s", url)
		}
		if strings.Contains(err.Error(), "hunter") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestSecurityConnectionsAreLimitedAsDocumented(t *testing.T) {
	db := opened(t, postgres.Options{URL: database(t)})
	config, records := db.Pools()
	for _, tc := range []struct {
		what, setting, want string
		pool                *sql.DB
	}{
		{"configuration", "synchronous_commit", "on", config.Write},
		{"configuration", "statement_timeout", "30s", config.Write},
		{"configuration", "lock_timeout", "5s", config.Write},
		{"configuration", "idle_in_transaction_session_timeout", "1min", config.Read},
		{"configuration", "application_name", "gatehouse", config.Read},
		{"records", "synchronous_commit", "off", records.Write},
		{"records", "statement_timeout", "30s", records.Write},
	} {
		var got string
		if err := tc.pool.QueryRowContext(t.Context(), "SHOW "+tc.setting).Scan(&got); err != nil || got != tc.want {
			t.Errorf("%s of the %s is %s, %v; want %s", tc.setting, tc.what, got, err, tc.want)
		}
	}
	most := 0
	for _, p := range []*sql.DB{config.Write, config.Read, records.Write, records.Read} {
		most += p.Stats().MaxOpenConnections
	}
	if most != 12 {
		t.Errorf("%d connections at most, want 12", most)
	}
	cfg, err := postgres.Parse("postgres://u@h/db?statement_timeout=1000&connect_timeout=7")
	if err != nil || cfg.ConnectTimeout != 7*time.Second || cfg.RuntimeParams["statement_timeout"] != "1000" {
		t.Errorf("%+v, %v: what the URL says counts", cfg, err)
	}
}

func TestTextThatCannotBeKeptIsRefusedNotBroken(t *testing.T) {
	db := opened(t, postgres.Options{URL: database(t)})
	_, _, err := db.EnsureUser(t.Context(), identity.Arrival{
		Key: identity.IdentityKey{Issuer: "https://a", Subject: "a\x00b"}, Email: "ada@example.com", Create: true,
	})
	wantCode(t, err, identity.CodeInvalidRequest)
}

func TestErrorsMeanWhatTheyMean(t *testing.T) {
	state := func(code string) error { return fmt.Errorf("execute: %w", &pgconn.PgError{Code: code}) }
	for _, tc := range []struct {
		err  error
		want store.Fault
	}{
		{state("23505"), store.FaultUnique},
		{state("40001"), store.FaultRetry},
		{state("40P01"), store.FaultRetry},
		{state("22021"), store.FaultText},
		{state("53300"), store.FaultUnavailable},
		{state("57P01"), store.FaultUnavailable},
		{state("57014"), store.FaultUnavailable},
		{state("55P03"), store.FaultUnavailable},
		{state("25006"), store.FaultUnavailable},
		{state("08006"), store.FaultUnavailable},
		{state("28P01"), store.FaultUnavailable},
		{state("3D000"), store.FaultUnavailable},
		{state("42601"), store.FaultOther},
		{state("23503"), store.FaultOther},
		{state(""), store.FaultOther},
		{fmt.Errorf("read: %w", io.ErrUnexpectedEOF), store.FaultUnavailable},
		{fmt.Errorf("dial: %w", syscall.ECONNREFUSED), store.FaultUnavailable},
		{errors.New("a bug"), store.FaultOther},
	} {
		if got := postgres.Classify(tc.err); got != tc.want {
			t.Errorf("%v is fault %d, want %d", tc.err, got, tc.want)
		}
	}
}
