package audit_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/auditchain"
	"github.com/gatehouse-ai/gatehouse/internal/control/audit"
)

const (
	entries    = 12
	checkpoint = 4 // every so many
)

// original is a database file, closed, and who audited it.
func original(t *testing.T) (file []byte, a *audit.Auditor, head auditchain.Head) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "gatehouse.db")
	db := openDB(t, path)
	a = start(t, db)
	for range entries / checkpoint {
		fill(t, db, checkpoint)
		head = sign(t, a)
	}
	a.Close()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return file, a, head
}

// tampered runs statements on a copy of the file, and opens it again.
func tampered(t *testing.T, file []byte, change func(*sql.DB) error) *audit.Auditor {
	t.Helper()
	path := filepath.Join(t.TempDir(), "gatehouse.db")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	raw, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	if err := change(raw); err != nil {
		t.Fatal(err)
	}
	if err := raw.Close(); err != nil {
		t.Fatal(err)
	}
	return start(t, openDB(t, path))
}

func statements(list ...string) func(*sql.DB) error {
	return func(raw *sql.DB) error {
		for _, s := range list {
			res, err := raw.Exec(s)
			if err != nil {
				return fmt.Errorf("%s: %w", s, err)
			}
			if n, err := res.RowsAffected(); err != nil || n == 0 {
				return fmt.Errorf("%s: %d rows, %w", s, n, err)
			}
		}
		return nil
	}
}

// shift moves the entries behind a seq by so many.
func shift(after, by int) []string {
	return []string{
		fmt.Sprintf(`UPDATE audit SET chain_seq = -(chain_seq + %d) WHERE chain_seq > %d`, by, after),
		`UPDATE audit SET chain_seq = -chain_seq WHERE chain_seq < 0`,
		fmt.Sprintf(`UPDATE audit_chain SET seq = seq + %d`, by),
	}
}

// rewrite changes an entry and links it and all that follow again, as somebody
// can who knows the format and not the key.
func rewrite(seq uint64, through uint64, more ...string) func(*sql.DB) error {
	return func(raw *sql.DB) error {
		var id string
		if err := raw.QueryRow(`SELECT chain FROM audit_chain`).Scan(&id); err != nil {
			return err
		}
		chain, err := auditchain.NewChain(id)
		if err != nil {
			return err
		}
		if err := statements(fmt.Sprintf(`UPDATE audit SET actor = 'user:mallory@example.com' WHERE chain_seq = %d`, seq))(raw); err != nil {
			return err
		}
		for ; seq <= through; seq++ {
			if err := relink(raw, chain, seq); err != nil {
				return err
			}
		}
		return statements(more...)(raw)
	}
}

func relink(raw *sql.DB, chain auditchain.Chain, seq uint64) error {
	prev := auditchain.Head{Seq: seq - 1}
	var hash []byte
	if err := raw.QueryRow(`SELECT hash FROM audit WHERE chain_seq = ?`, seq-1).Scan(&hash); err != nil {
		return err
	}
	copy(prev.Hash[:], hash)
	e := entry(0)
	var at int64
	err := raw.QueryRow(`SELECT id, at, actor, request_id, target, before_json, after_json FROM audit WHERE chain_seq = ?`, seq).
		Scan(&e.ID, &at, &e.Actor, &e.RequestID, &e.Target, (*[]byte)(&e.Before), (*[]byte)(&e.After))
	if err != nil {
		return err
	}
	e.At = time.UnixMilli(at)
	next, err := chain.Link(prev, &e)
	if err != nil {
		return err
	}
	_, err = raw.Exec(`UPDATE audit SET prev_hash = ?, hash = ? WHERE chain_seq = ?`, prev.Hash[:], next.Hash[:], seq)
	return err
}

// headFromLast makes the row of the head say what the last entry is.
const headFromLast = `UPDATE audit_chain SET (seq, hash) = (SELECT chain_seq, hash FROM audit WHERE chain_seq IS NOT NULL ORDER BY chain_seq DESC LIMIT 1)`

type tampering struct {
	change func(*sql.DB) error
	// kinds are what may be found; none says that the export itself refuses.
	kinds []auditchain.Kind
}

func found(kind auditchain.Kind, list ...string) tampering {
	return tampering{statements(list...), []auditchain.Kind{kind}}
}

func tamperings() map[string]tampering {
	const copied = `INSERT INTO audit (id, at, actor, actor_uid, via, token_id, remote_addr, request_id, action, target, outcome, chain_seq, prev_hash, hash)
		SELECT 'inserted', at, actor, actor_uid, via, token_id, remote_addr, request_id, action, target, outcome, 6, prev_hash, hash FROM audit WHERE chain_seq = 7`
	all := map[string]tampering{
		"a JSON that is none":            found(auditchain.KindAltered, `UPDATE audit SET after_json = '{' WHERE chain_seq = 5`),
		"a JSON that says the same":      found(auditchain.KindAltered, `UPDATE audit SET after_json = '{ "n":1}' WHERE chain_seq = 5`),
		"a line in a text":               found(auditchain.KindAltered, `UPDATE audit SET actor = 'a' || char(10) || '{}' WHERE chain_seq = 5`),
		"the last entry":                 found(auditchain.KindAltered, `UPDATE audit SET target = 'x' WHERE chain_seq = 12`),
		"a hash computed":                {rewrite(5, 5), []auditchain.Kind{auditchain.KindUnlinked}},
		"all hashes computed":            {rewrite(5, 12, headFromLast), []auditchain.Kind{auditchain.KindCheckpoint}},
		"all hashes after a checkpoint":  {rewrite(9, 12, headFromLast), []auditchain.Kind{auditchain.KindCheckpoint}},
		"all hashes, the first unsigned": {rewrite(5, 12, headFromLast, `DELETE FROM audit_checkpoints WHERE seq = 8`), []auditchain.Kind{auditchain.KindCheckpoint}},
		"removed":                        found(auditchain.KindRemoved, `DELETE FROM audit WHERE chain_seq = 6`),
		"removed, the first":             found(auditchain.KindRemoved, `DELETE FROM audit WHERE chain_seq = 1`),
		"removed, the first three":       found(auditchain.KindRemoved, `DELETE FROM audit WHERE chain_seq <= 3`),
		"removed, all but the last":      found(auditchain.KindRemoved, `DELETE FROM audit WHERE chain_seq < 12`),
		"taken out of the chain":         found(auditchain.KindRemoved, `UPDATE audit SET chain_seq = NULL WHERE chain_seq = 6`),
		"removed and renumbered":         {statements(append([]string{`DELETE FROM audit WHERE chain_seq = 6`}, shift(6, -1)...)...), nil},
		"removed, renumbered, unsigned": {
			statements(append(append([]string{`DELETE FROM audit WHERE chain_seq = 6`}, shift(6, -1)...), `DELETE FROM audit_checkpoints WHERE seq > 4`)...),
			[]auditchain.Kind{auditchain.KindUnlinked, auditchain.KindAltered},
		},
		"inserted":         {statements(append(shift(5, 1), copied)...), []auditchain.Kind{auditchain.KindAltered, auditchain.KindUnlinked}},
		"a gap at the end": found(auditchain.KindRemoved, `UPDATE audit SET chain_seq = 100 WHERE chain_seq = 12`, `UPDATE audit_chain SET seq = 100`),
		"reordered":        found(auditchain.KindUnlinked, `UPDATE audit SET chain_seq = -5 WHERE chain_seq = 5`, `UPDATE audit SET chain_seq = 5 WHERE chain_seq = 6`, `UPDATE audit SET chain_seq = 6 WHERE chain_seq = -5`),
		"cut":              {statements(`DELETE FROM audit WHERE chain_seq > 10`), nil},
		"cut, all of it":   {statements(`DELETE FROM audit`), nil},
		"cut, with a head": {statements(`DELETE FROM audit WHERE chain_seq > 10`, headFromLast), nil},
		"cut to nothing": {
			statements(`DELETE FROM audit`, `UPDATE audit_chain SET seq = 0, hash = zeroblob(32)`), nil,
		},
		"the chain's id":           found(auditchain.KindAltered, `UPDATE audit_chain SET chain = 'another'`),
		"a checkpoint's hash":      found(auditchain.KindSignature, `UPDATE audit_checkpoints SET hash = zeroblob(32) WHERE seq = 8`),
		"a checkpoint's time":      found(auditchain.KindSignature, `UPDATE audit_checkpoints SET at = at + 1 WHERE seq = 8`),
		"a checkpoint's signature": found(auditchain.KindSignature, `UPDATE audit_checkpoints SET signature = zeroblob(64) WHERE seq = 8`),
		"the head's signature":     found(auditchain.KindSignature, `UPDATE audit_checkpoints SET signature = zeroblob(64) WHERE seq = 12`),
		"a checkpoint's key":       found(auditchain.KindUnknownKey, `UPDATE audit_checkpoints SET key_id = 'sha256:' || hex(zeroblob(32)) WHERE seq = 8`),
		"the key":                  found(auditchain.KindUnknownKey, `DELETE FROM keys`, `DELETE FROM audit_checkpoints`),
	}
	for _, column := range []string{
		"id", "actor", "actor_uid", "via", "token_id", "remote_addr", "request_id", "action", "target", "outcome",
	} {
		all["altered "+column] = found(auditchain.KindAltered, `UPDATE audit SET `+column+` = `+column+` || 'x' WHERE chain_seq = 5`)
	}
	for column, value := range map[string]string{"at": "at + 1", "before_json": "NULL", "after_json": `'{"n":7}'`, "hash": "zeroblob(32)"} {
		all["altered "+column] = found(auditchain.KindAltered, `UPDATE audit SET `+column+` = `+value+` WHERE chain_seq = 5`)
	}
	all["altered prev_hash"] = found(auditchain.KindUnlinked, `UPDATE audit SET prev_hash = zeroblob(32) WHERE chain_seq = 5`)
	return all
}

func TestSecurityTamperingWithTheDatabaseIsFound(t *testing.T) {
	file, was, _ := original(t)
	opt := strict(was)
	if r := verify(t, export(t, tampered(t, file, statements()), 1), opt); r.Entries != entries || r.Checkpoints != entries/checkpoint {
		t.Fatalf("without tampering: %+v", r)
	}
	for name, tamper := range tamperings() {
		t.Run(name, func(t *testing.T) {
			a := tampered(t, file, tamper.change)
			var out bytes.Buffer
			failed := a.Export(t.Context(), &out, 1)
			_, err := auditchain.Verify(&out, opt)
			if err == nil {
				t.Fatal("it verifies")
			}
			if (failed != nil) != (tamper.kinds == nil) {
				t.Fatalf("export: %v; verified: %v", failed, err)
			}
			if tamper.kinds != nil {
				wantKind(t, err, tamper.kinds...)
			}
		})
	}
}

// What doc.go of auditchain says is found by a head noted elsewhere and by
// nothing else; and what hides nothing.
func TestWhatTheChainAloneDoesNotProve(t *testing.T) {
	file, was, noted := original(t)
	for name, c := range map[string]struct {
		change func(*sql.DB) error
		hides  bool
	}{
		"cut with its checkpoints":           {statements(`DELETE FROM audit WHERE chain_seq > 10`, `DELETE FROM audit_checkpoints WHERE seq > 10`, headFromLast), true},
		"written anew after a checkpoint":    {rewrite(9, 12, headFromLast, `DELETE FROM audit_checkpoints WHERE seq > 8`), true},
		"a checkpoint removed in the middle": {statements(`DELETE FROM audit_checkpoints WHERE seq = 8`), false},
	} {
		t.Run(name, func(t *testing.T) {
			text := export(t, tampered(t, file, c.change), 1)
			opt := strict(was)
			verify(t, text, opt)
			opt.Expect = &noted
			_, err := auditchain.Verify(bytes.NewReader(text), opt)
			if !c.hides {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantKind(t, err, auditchain.KindExpected)
		})
	}
}

// Whoever can write a row must not be able to keep us from signing.
func TestSecurityPlantedCheckpointDoesNotStopSigning(t *testing.T) {
	file, was, _ := original(t)
	a := tampered(t, file, statements(
		`DELETE FROM audit_checkpoints WHERE seq = 12`, `INSERT INTO audit_checkpoints SELECT 1000000, hash, at, key_id, signature FROM audit_checkpoints WHERE seq = 8`))
	r := verify(t, export(t, a, 1), strict(was))
	if r.Signed != entries {
		t.Fatalf("%+v", r)
	}
}

// A replica that is ahead is no sign of tampering.
func TestCheckpointOfAnotherReplicaThatIsAheadIsNoAlarm(t *testing.T) {
	m := &memory{}
	other := start(t, m)
	a := start(t, &behind{memory: m, other: other, t: t})
	m.write(t, 3)
	if _, err := a.Sign(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// behind reads the head just before the other replica writes and signs.
type behind struct {
	*memory
	other *audit.Auditor
	once  bool
	t     *testing.T
}

func (b *behind) AuditHead(ctx context.Context) (string, auditchain.Head, error) {
	id, head, err := b.memory.AuditHead(ctx)
	if !b.once {
		b.once = true
		b.write(b.t, 2)
		sign(b.t, b.other)
	}
	return id, head, err
}
