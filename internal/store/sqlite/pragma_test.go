package sqlite

import (
	"database/sql"
	"path/filepath"
	"testing"
)

func TestSecurityDurabilityIsAsDocumented(t *testing.T) {
	db, err := Open(t.Context(), Options{Path: filepath.Join(t.TempDir(), "gatehouse.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	const normal, full = "1", "2"
	for _, tc := range []struct {
		what, pragma, want string
		pool               *sql.DB
	}{
		{"configuration", "synchronous", full, db.config.Write},
		{"configuration", "journal_mode", "wal", db.config.Write},
		{"configuration", "foreign_keys", "1", db.config.Write},
		{"configuration's readers", "query_only", "1", db.config.Read},
		{"records", "synchronous", normal, db.records.Write},
		{"records", "journal_mode", "wal", db.records.Write},
		{"records' readers", "query_only", "1", db.records.Read},
	} {
		var got string
		if err := tc.pool.QueryRowContext(t.Context(), "PRAGMA "+tc.pragma).Scan(&got); err != nil || got != tc.want {
			t.Errorf("%s of the %s is %s, %v; want %s", tc.pragma, tc.what, got, err, tc.want)
		}
	}
	if n := db.config.Write.Stats().MaxOpenConnections; n != 1 {
		t.Errorf("%d writers, want one", n)
	}
}
