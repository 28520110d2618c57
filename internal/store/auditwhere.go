package store

import (
	"context"
	"slices"
	"strings"

	"github.com/gatehouse-ai/gatehouse/internal/record"
)

// AuditWhere lists the entries that a filter lets through, the newest first,
// those older than the entry with the id after; "" begins. The order is that of
// their times, and of writing within one millisecond, so that a page costs the
// same wherever it is: each thing that is filtered by has an index in this
// order. (Of several things one index is used, and the rest is looked through.)
// A limit of 0 is 500; 10 000 is the most.
// Errors: invalid_request (there is no entry after), database_unavailable.
func (db *Database) AuditWhere(ctx context.Context, f record.AuditFilter, after string, limit int) ([]record.AuditEntry, error) {
	var list []record.AuditEntry
	err := db.view(ctx, db.config, func(t *tx) error {
		q := auditQuery{limit: pageSize(limit)}
		if after != "" {
			var at, seq int64
			found, err := t.one(`SELECT at, seq FROM audit WHERE id = ?`, []any{after}, &at, &seq)
			if err != nil {
				return err
			}
			if !found {
				return noEntry(after)
			}
			q.and(`(at, seq) < (?, ?)`, at, seq)
		}
		if err := t.narrowAudit(&q, f); err != nil {
			return err
		}
		query, args := q.build()
		return t.each(query, args, func(r row) error {
			var e record.AuditEntry
			err := scanAudit(r, &e)
			list = append(list, e)
			return err
		})
	})
	return list, err
}

func (t *tx) narrowAudit(q *auditQuery, f record.AuditFilter) (err error) {
	for _, c := range []struct{ column, value string }{{"actor", f.Actor}, {"target", f.Target}, {"outcome", f.Outcome}} {
		if c.value != "" {
			q.and(c.column+` = ?`, c.value)
		}
	}
	if !f.Since.IsZero() {
		q.and(`at >= ?`, f.Since.UnixMilli())
	}
	if !f.Until.IsZero() {
		q.and(`at < ?`, f.Until.UnixMilli())
	}
	switch prefix, some := strings.CutSuffix(f.Action, "*"); {
	case some && prefix != "":
		q.byAction = true
		q.actions, err = t.actionsOf(prefix)
	case f.Action != "" && !some:
		q.byAction, q.actions = true, []string{f.Action}
	}
	return err
}

// mostActions bounds one statement. A prefix of more actions than there are in
// the whole of Gatehouse has the first of them only; none is that long.
const mostActions = 400

// actionsOf lists the actions that begin with a prefix, from one to the next in
// the index: there are few, however many entries there are.
func (t *tx) actionsOf(prefix string) (list []string, err error) {
	query, last := `SELECT action FROM audit WHERE action >= ? ORDER BY action LIMIT 1`, prefix
	for len(list) < mostActions {
		found, err := t.one(query, []any{last}, &last)
		if err != nil || !found || !strings.HasPrefix(last, prefix) {
			return list, err
		}
		list = append(list, last)
		query = `SELECT action FROM audit WHERE action > ? ORDER BY action LIMIT 1`
	}
	return list, nil
}

// auditQuery is a page of the audit in the making.
type auditQuery struct {
	conds []string
	args  []any
	limit int
	// actions are the only ones, where byAction.
	byAction bool
	actions  []string
}

func (q *auditQuery) and(cond string, args ...any) {
	q.conds = append(q.conds, cond)
	q.args = append(q.args, args...)
}

// build takes the newest of each action by its own index, and of those the newest.
func (q *auditQuery) build() (query string, args []any) {
	const order = ` ORDER BY at DESC, seq DESC LIMIT ?`
	if !q.byAction || len(q.actions) == 0 {
		conds := q.conds
		if q.byAction {
			conds = append(conds, `1 = 0`)
		}
		where := ``
		if len(conds) > 0 {
			where = ` WHERE ` + strings.Join(conds, ` AND `)
		}
		return `SELECT ` + auditColumns + ` FROM audit` + where + order, append(q.args, q.limit)
	}
	var parts []string
	for _, action := range q.actions {
		conds := append(slices.Clone(q.conds), `action = ?`)
		parts = append(parts, `SELECT seq FROM (SELECT seq FROM audit WHERE `+strings.Join(conds, ` AND `)+order+`) AS one`)
		args = append(append(args, q.args...), action, q.limit)
	}
	return `SELECT ` + auditColumns + ` FROM audit WHERE seq IN (` + strings.Join(parts, ` UNION ALL `) + `)` + order, append(args, q.limit)
}
