package store

import (
	"context"
	"database/sql"
	"encoding/json"

	"github.com/gatehouse-ai/gatehouse/internal/auditchain"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

const auditColumns = `id, at, actor, actor_uid, via, token_id, remote_addr, request_id, action, target, before_json, after_json, outcome`

// putAudit writes entries in their order, each linked to the one before it, and
// returns what completes the caller's once the transaction has succeeded.
func (t *tx) putAudit(entries []record.AuditEntry) (told func(), err error) {
	if len(entries) == 0 {
		return func() {}, nil
	}
	chain, head, err := t.lockChain()
	if err != nil {
		return nil, err
	}
	written := make([]record.AuditEntry, len(entries))
	for i, e := range entries {
		if e.ID == "" {
			if e.ID, err = newID(); err != nil {
				return nil, err
			}
		}
		if e.At.IsZero() {
			e.At = t.now
		}
		next, err := chain.Link(head, &e)
		if err != nil {
			return nil, err
		}
		_, err = t.exec(`INSERT INTO audit (`+auditColumns+`, chain_seq, prev_hash, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			e.ID, e.At.UnixMilli(), e.Actor, e.ActorUID, e.Via, e.TokenID, e.RemoteAddr, e.RequestID, e.Action, e.Target,
			nullJSON(e.Before), nullJSON(e.After), e.Outcome, int64(next.Seq), head.Hash[:], next.Hash[:])
		if err != nil {
			return nil, err
		}
		written[i], head = e, next
	}
	if err := t.moveChain(head); err != nil {
		return nil, err
	}
	return func() { copy(entries, written) }, nil
}

func nullJSON(j json.RawMessage) sql.NullString {
	return sql.NullString{String: string(j), Valid: j != nil}
}

func fromNullJSON(s sql.NullString) json.RawMessage {
	if !s.Valid {
		return nil
	}
	return json.RawMessage(s.String)
}

// scanAudit reads auditColumns, and more after them.
func scanAudit(r row, e *record.AuditEntry, more ...any) error {
	var at int64
	var was, is sql.NullString
	err := r.Scan(append([]any{
		&e.ID, &at, &e.Actor, &e.ActorUID, &e.Via, &e.TokenID, &e.RemoteAddr, &e.RequestID, &e.Action, &e.Target, &was, &is, &e.Outcome,
	}, more...)...)
	e.At, e.Before, e.After = fromMillis(at), fromNullJSON(was), fromNullJSON(is)
	return err
}

// Audit lists entries, the newest first, those older than the entry with the
// id after; "" begins. The order is that of writing. A limit of 0 is 500;
// 10 000 is the most.
// Errors: invalid_request (there is no entry after), database_unavailable.
func (db *Database) Audit(ctx context.Context, after string, limit int) ([]record.AuditEntry, error) {
	var list []record.AuditEntry
	err := db.view(ctx, db.config, func(t *tx) error {
		before := int64(1<<63 - 1)
		if after != "" {
			found, err := t.one(`SELECT seq FROM audit WHERE id = ?`, []any{after}, &before)
			if err != nil {
				return err
			}
			if !found {
				return noEntry(after)
			}
		}
		return t.each(`SELECT `+auditColumns+` FROM audit WHERE seq < ? ORDER BY seq DESC LIMIT ?`, []any{before, pageSize(limit)}, func(r row) error {
			var e record.AuditEntry
			err := scanAudit(r, &e)
			list = append(list, e)
			return err
		})
	})
	return list, err
}

func noEntry(id string) error {
	return identity.Errorf(identity.CodeInvalidRequest, "there is no audit entry %s to go on from", id)
}

// AuditEntries lists the entries of the chain in its order, those after a seq; 0
// begins. It tells what is there, without asking whether it is what was written:
// that is auditchain.Verify's. A limit of 0 is 500; 10 000 is the most.
// Errors: database_unavailable.
func (db *Database) AuditEntries(ctx context.Context, after uint64, limit int) ([]auditchain.Entry, error) {
	var list []auditchain.Entry
	err := db.view(ctx, db.config, func(t *tx) error {
		return t.each(`SELECT `+auditColumns+`, chain_seq, prev_hash, hash FROM audit WHERE chain_seq > ? ORDER BY chain_seq LIMIT ?`,
			[]any{seqArg(after), pageSize(limit)}, func(r row) error {
				var e auditchain.Entry
				var prev, hash []byte
				err := scanAudit(r, &e.AuditEntry, &e.Seq, &prev, &hash)
				copy(e.PrevHash[:], prev)
				copy(e.Hash[:], hash)
				list = append(list, e)
				return err
			})
	})
	return list, err
}
