package postgres_test

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/gatehouse-ai/gatehouse/internal/record"
	"github.com/gatehouse-ai/gatehouse/internal/store/postgres"
)

// connect is a way behind the store's back.
func connect(t *testing.T, url string) *sql.DB {
	t.Helper()
	raw, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	raw.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = raw.Close() })
	return raw
}

const oldAudit = `INSERT INTO audit (id, at, actor, actor_uid, via, token_id, remote_addr, request_id, action, target, before_json, after_json, outcome)
	VALUES ($1, 1, 'a', '', '', '', '', '', 'old', 't', NULL, '{"a": 1}', 'done')`

func TestAuditFromBeforeTheChainIsOutsideIt(t *testing.T) {
	url := database(t)
	old := fstest.MapFS{}
	for _, name := range []string{"00001_initial.sql", "00002_people.sql"} {
		text, err := os.ReadFile("migrations/" + name)
		if err != nil {
			t.Fatal(err)
		}
		old[name] = &fstest.MapFile{Data: text}
	}
	raw := connect(t, url)
	p, err := goose.NewProvider(goose.DialectPostgres, raw, old)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := raw.Exec(oldAudit, "aud-before"); err != nil {
		t.Fatal(err)
	}
	db := opened(t, postgres.Options{URL: url})
	commit(t, db, &record.Batch{Audit: []record.AuditEntry{{Action: "one"}}})
	// The version before this one may go on running beside it.
	if _, err := raw.Exec(oldAudit, "aud-beside"); err != nil {
		t.Fatal(err)
	}
	commit(t, db, &record.Batch{Audit: []record.AuditEntry{{Action: "two"}}})
	all, err := db.Audit(t.Context(), "", 10)
	if err != nil || len(all) != 4 {
		t.Fatalf("audit %+v, %v", all, err)
	}
	chained, err := db.AuditEntries(t.Context(), 0, 10)
	if err != nil || len(chained) != 2 || chained[0].Action != "one" || chained[1].Seq != 2 || chained[1].PrevHash != chained[0].Hash {
		t.Fatalf("chain %+v, %v", chained, err)
	}
}

// Whoever writes holds the row of the head, whatever other locks there are.
func TestSecurityEntryWaitsForTheHeadOfTheChain(t *testing.T) {
	url := database(t)
	db := opened(t, postgres.Options{URL: url})
	commit(t, db, &record.Batch{Audit: []record.AuditEntry{{Action: "one"}}})
	other, err := connect(t, url).BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Rollback() }()
	for _, statement := range []string{
		`UPDATE audit_chain SET seq = 2, hash = sha256('two')`,
		`INSERT INTO audit (id, at, actor, actor_uid, via, token_id, remote_addr, request_id, action, target, outcome, chain_seq, prev_hash, hash)
			SELECT 'aud-two', at, actor, actor_uid, via, token_id, remote_addr, request_id, 'two', target, outcome, 2, hash, sha256('two') FROM audit`,
	} {
		if _, err := other.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan error, 1)
	go func() {
		_, err := db.Commit(context.WithoutCancel(t.Context()), &record.Batch{Audit: []record.AuditEntry{{Action: "three"}}})
		done <- err
	}()
	watching, tick := connect(t, url), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for waiting := 0; waiting == 0; <-tick.C {
		if err := watching.QueryRow(`SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&waiting); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-done:
			t.Fatalf("it did not wait: %v", err)
		default:
		}
	}
	if err := other.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	list, err := db.AuditEntries(t.Context(), 0, 10)
	if err != nil || len(list) != 3 || list[2].Seq != 3 || list[2].PrevHash != sha256.Sum256([]byte("two")) {
		t.Fatalf("%+v, %v", list, err)
	}
}

// A prefix is looked for in the order of bytes, whatever the database's language.
func TestAuditIsInTheOrderOfBytes(t *testing.T) {
	url := database(t)
	opened(t, postgres.Options{URL: url})
	for _, column := range []string{"actor", "action", "target", "outcome"} {
		var collation string
		err := connect(t, url).QueryRow(`SELECT coalesce(collation_name, '') FROM information_schema.columns WHERE table_name = 'audit' AND column_name = $1`, column).Scan(&collation)
		if err != nil || collation != "C" {
			t.Errorf("%s has collation %q, %v", column, collation, err)
		}
	}
}

func TestPagesOfTheAuditAndOfTeamsComeFromAnIndex(t *testing.T) {
	url := database(t)
	opened(t, postgres.Options{URL: url})
	raw := connect(t, url)
	// An empty table is read whole, and nothing is cheaper.
	for _, off := range []string{"enable_seqscan", "enable_bitmapscan"} {
		if _, err := raw.Exec(`SET ` + off + ` = off`); err != nil {
			t.Fatal(err)
		}
	}
	const page = ` AND (at, seq) < (5, 5) ORDER BY at DESC, seq DESC LIMIT 10`
	for _, tc := range []struct{ query, index string }{
		{`SELECT id FROM audit WHERE true` + page, "audit_by_time"},
		{`SELECT id FROM audit WHERE actor = 'a' AND at >= 1` + page, "audit_by_actor"},
		{`SELECT id FROM audit WHERE action = 'a'` + page, "audit_by_action"},
		{`SELECT id FROM audit WHERE target = 'a'` + page, "audit_by_target"},
		{`SELECT id FROM audit WHERE outcome = 'denied'` + page, "audit_by_outcome"},
		{`SELECT action FROM audit WHERE action > 'a' ORDER BY action LIMIT 1`, "audit_by_action"},
		{`SELECT id FROM audit WHERE chain_seq > 5 ORDER BY chain_seq LIMIT 10`, "audit_by_chain_seq"},
		{`SELECT DISTINCT user_uid FROM memberships WHERE team = 'a' AND user_uid > 'u' AND source = 's' ORDER BY user_uid LIMIT 10`, "memberships_by_team"},
	} {
		rows, err := raw.Query(`EXPLAIN ` + tc.query)
		if err != nil {
			t.Fatal(err)
		}
		var plan strings.Builder
		for rows.Next() {
			var line string
			if err := rows.Scan(&line); err != nil {
				t.Fatal(err)
			}
			plan.WriteString(line + "\n")
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		if got := plan.String(); !strings.Contains(got, tc.index) || strings.Contains(got, "Sort") || strings.Contains(got, "Seq Scan") {
			t.Errorf("%s\n%s", tc.query, got)
		}
	}
}
