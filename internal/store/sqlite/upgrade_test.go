package sqlite_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
	"github.com/gatehouse-ai/gatehouse/internal/store/sqlite"
)

// oldUser is what the version before this one writes, which may go on running
// beside it.
const oldUser = `INSERT INTO users (uid, email, user_name, display_name, active, created_at, user_name_key) VALUES ('u-old', 'old@example.com', '', 'Old', 1, 0, NULL)`

func oldAudit(id string) string {
	return `INSERT INTO audit (id, at, actor, actor_uid, via, token_id, remote_addr, request_id, action, target, before_json, after_json, outcome)
		VALUES ('` + id + `', 1, 'a', '', '', '', '', '', 'old', 't', NULL, '{"a": 1}', 'done')`
}

func TestDatabaseOfTheFirstVersionIsBroughtUpToDate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gatehouse.db")
	first, err := os.ReadFile("migrations/config/00001_initial.sql")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, raw, fstest.MapFS{"00001_initial.sql": {Data: first}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{oldUser, oldAudit("aud-old")} {
		if _, err := raw.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	if err := raw.Close(); err != nil {
		t.Fatal(err)
	}
	db := open(t, path, nil)
	defer func() { _ = db.Close() }()
	u, err := db.User(t.Context(), "u-old")
	if err != nil || u.Version == 0 || u.Manager != "" || u.Attributes != nil {
		t.Fatalf("user %+v, %v; want one with a version, of the manager api", u, err)
	}
	u.DisplayName = "New"
	b := &record.Batch{
		UserConditions: []record.UserCondition{{UID: u.UID, Version: u.Version}}, PutUsers: []identity.User{u},
		PutSessions: []identity.Session{{Digest: identity.DigestOf("x"), UserUID: u.UID, ExpiresAt: time.Now().Add(time.Hour)}},
	}
	if _, err := db.Commit(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if b.PutUsers[0].Version <= u.Version {
		t.Fatalf("version %d after %d", b.PutUsers[0].Version, u.Version)
	}
	oldAuditIsOutsideTheChain(t, db, "aud-old")
}

// oldAuditIsOutsideTheChain: an entry without a link is listed, and the chain
// begins with the first that has one.
func oldAuditIsOutsideTheChain(t *testing.T, db *sqlite.DB, old string) {
	t.Helper()
	b := &record.Batch{Audit: []record.AuditEntry{{Action: "new"}}}
	if _, err := db.Commit(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	all, err := db.Audit(t.Context(), "", 10)
	if err != nil || len(all) != 2 || all[1].ID != old {
		t.Fatalf("audit %+v, %v", all, err)
	}
	chained, err := db.AuditEntries(t.Context(), 0, 10)
	if err != nil || len(chained) != 1 || chained[0].ID != b.Audit[0].ID || chained[0].Seq != 1 {
		t.Fatalf("chain %+v, %v", chained, err)
	}
}

func TestVersionBeforeThisOneGoesOnWriting(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gatehouse.db")
	db := open(t, path, nil)
	defer func() { _ = db.Close() }()
	execute(t, path, oldUser)
	if u, err := db.User(t.Context(), "u-old"); err != nil || u.Version == 0 {
		t.Fatalf("user %+v, %v", u, err)
	}
	execute(t, path, oldAudit("aud-beside"))
	oldAuditIsOutsideTheChain(t, db, "aud-beside")
}
