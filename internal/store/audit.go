package store

import (
	"context"
	"database/sql"
	"encoding/json"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

const auditColumns = `id, at, actor, actor_uid, via, token_id, remote_addr, request_id, action, target, before_json, after_json, outcome`

// putAudit writes entries in their order, and returns what completes the
// caller's once the transaction has succeeded.
func (t *tx) putAudit(entries []record.AuditEntry) (told func(), err error) {
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
		e.At = stamp(e.At)
		_, err = t.exec(`INSERT INTO audit (`+auditColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			e.ID, e.At.UnixMilli(), e.Actor, e.ActorUID, e.Via, e.TokenID, e.RemoteAddr, e.RequestID, e.Action, e.Target,
			nullJSON(e.Before), nullJSON(e.After), e.Outcome)
		if err != nil {
			return nil, err
		}
		written[i] = e
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

// Audit lists entries, the newest first, those older than the entry with the
// id after; "" begins. A limit of 0 is 500; 10 000 is the most.
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
				return identity.Errorf(identity.CodeInvalidRequest, "there is no audit entry %s to go on from", after)
			}
		}
		return t.each(`SELECT `+auditColumns+` FROM audit WHERE seq < ? ORDER BY seq DESC LIMIT ?`, []any{before, pageSize(limit)}, func(r row) error {
			var e record.AuditEntry
			var at int64
			var was, is sql.NullString
			err := r.Scan(&e.ID, &at, &e.Actor, &e.ActorUID, &e.Via, &e.TokenID, &e.RemoteAddr, &e.RequestID, &e.Action, &e.Target, &was, &is, &e.Outcome)
			e.At, e.Before, e.After = fromMillis(at), fromNullJSON(was), fromNullJSON(is)
			list = append(list, e)
			return err
		})
	})
	return list, err
}
