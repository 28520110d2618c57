package sqlite

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// A page costs the same wherever it is where an index has the order of the
// list: then nothing is sorted and no table is gone through from its beginning.
func TestPagesComeFromAnIndex(t *testing.T) {
	db, err := Open(t.Context(), Options{Path: filepath.Join(t.TempDir(), "gatehouse.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	const page = ` AND (at, seq) < (5, 5) ORDER BY at DESC, seq DESC LIMIT 10`
	for _, tc := range []struct{ query, index string }{
		{`SELECT id FROM audit WHERE 1 = 1` + page, "audit_by_time"},
		{`SELECT id FROM audit WHERE at >= 1 AND at < 9` + page, "audit_by_time"},
		{`SELECT id FROM audit WHERE actor = 'a' AND at >= 1` + page, "audit_by_actor"},
		{`SELECT id FROM audit WHERE action = 'a'` + page, "audit_by_action"},
		{`SELECT id FROM audit WHERE target = 'a'` + page, "audit_by_target"},
		{`SELECT id FROM audit WHERE outcome = 'denied'` + page, "audit_by_outcome"},
		{`SELECT action FROM audit WHERE action > 'a' ORDER BY action LIMIT 1`, "audit_by_action"},
		{`SELECT id FROM audit WHERE chain_seq > 5 ORDER BY chain_seq LIMIT 10`, "audit_by_chain_seq"},
		{`SELECT seq FROM audit_checkpoints WHERE seq >= 5 ORDER BY seq LIMIT 10`, "PRIMARY KEY"},
		{`SELECT name FROM tokens WHERE owner = 'u' AND id > 't' ORDER BY id LIMIT 10`, "tokens_by_owner (owner=? AND id>?)"},
		{`SELECT DISTINCT user_uid FROM memberships WHERE team = 'a' AND user_uid > 'u' AND source = 's' ORDER BY user_uid LIMIT 10`, "memberships_by_team"},
	} {
		rows, err := db.config.Read.QueryContext(t.Context(), `EXPLAIN QUERY PLAN `+tc.query)
		if err != nil {
			t.Fatal(err)
		}
		var plan []string
		for rows.Next() {
			var id, parent, unused int
			var detail string
			if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
				t.Fatal(err)
			}
			plan = append(plan, detail)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(plan); !strings.Contains(got, tc.index) || strings.Contains(got, "TEMP B-TREE") {
			t.Errorf("%s\n%s", tc.query, got)
		}
	}
}
