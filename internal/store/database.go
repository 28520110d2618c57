package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// Pools are the connections to one database. Write may be a single
// connection; Read may be the same pool.
type Pools struct {
	Read  *sql.DB
	Write *sql.DB
}

// Database is the store on any SQL database whose schema is in place.
// Its methods may be called by several goroutines at once.
type Database struct {
	dialect Dialect
	config  Pools
	records Pools
	now     func() time.Time
	watch   watchers
	closed  atomic.Bool
	// appending are the statements of AppendRequests, parsed once.
	appending statements
	// lines are the principals that AppendRequests has a line for.
	lines principalLines
}

// New returns the store on two databases: the configuration, where an
// acknowledged write survives a power cut, and the records. now is the clock;
// times are kept to the millisecond, in UTC. Call Start before anything else.
func New(d Dialect, config, records Pools, now func() time.Time) *Database {
	return &Database{dialect: d, config: config, records: records, now: now}
}

// Start writes the epoch into an empty database.
func (db *Database) Start(ctx context.Context) error {
	return db.update(ctx, db.config, func(t *tx) error {
		_, err := t.exec(`INSERT INTO meta (id, epoch, revision, pruned_through) VALUES (1, ?, 0, 0) ON CONFLICT (id) DO NOTHING`, uuid.NewString())
		return err
	})
}

// MarkClosed makes everything that fails from now on say that the database is
// away. It does not close the pools; whoever opened them does.
func (db *Database) MarkClosed() { db.closed.Store(true) }

// tx is one transaction. It lives as long as the function it is given to.
type tx struct {
	ctx     context.Context
	sql     *sql.Tx
	dialect *Dialect
	// now is the one time of everything this transaction writes.
	now   time.Time
	stmts map[string]*sql.Stmt
}

// update runs fn in a transaction of the writer. What fn returns aborts it.
func (db *Database) update(ctx context.Context, p Pools, fn func(*tx) error) error {
	return db.run(ctx, p.Write, nil, fn)
}

// view runs fn in a read-only transaction that sees one state of the database.
func (db *Database) view(ctx context.Context, p Pools, fn func(*tx) error) error {
	return db.run(ctx, p.Read, &sql.TxOptions{ReadOnly: true}, fn)
}

func (db *Database) run(ctx context.Context, pool *sql.DB, opts *sql.TxOptions, fn func(*tx) error) error {
	return db.runParsed(ctx, pool, opts, nil, fn)
}

// runParsed is run with statements that need not be parsed again.
func (db *Database) runParsed(ctx context.Context, pool *sql.DB, opts *sql.TxOptions, parsed map[string]*sql.Stmt, fn func(*tx) error) error {
	stx, err := pool.BeginTx(ctx, opts)
	if err != nil {
		return db.coded(ctx, fmt.Errorf("begin: %w", err))
	}
	defer func() { _ = stx.Rollback() }()
	t := &tx{ctx: ctx, sql: stx, dialect: &db.dialect, now: stamp(db.now()), stmts: map[string]*sql.Stmt{}}
	for query, s := range parsed {
		t.stmts[query] = stx.StmtContext(ctx, s)
	}
	if err := fn(t); err != nil {
		return db.coded(ctx, err)
	}
	if err := stx.Commit(); err != nil {
		return db.coded(ctx, fmt.Errorf("commit: %w", err))
	}
	return nil
}

// coded gives an error of the database its code. Coded errors stay as they are.
func (db *Database) coded(ctx context.Context, err error) error {
	if _, ok := errors.AsType[*identity.Error](err); ok {
		return err
	}
	// A cancelled context shows as all kinds of errors of the driver.
	if cause := ctx.Err(); cause != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	fault := db.dialect.Classify(err)
	switch {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("store: %w", err)
	case fault == FaultUnavailable, db.closed.Load(), errors.Is(err, context.DeadlineExceeded), errors.Is(err, sql.ErrConnDone):
		return identity.Wrap(identity.CodeDatabaseUnavailable, err, "the database cannot be used at the moment; try again")
	case fault == FaultUnique:
		return identity.Wrap(identity.CodeConflict, err, "something with the same identifier exists already")
	default:
		return fmt.Errorf("store: %w", err)
	}
}

// statements are parsed once for all transactions of a pool. They end with the pool.
type statements struct {
	mu  sync.Mutex
	all map[string]*sql.Stmt
}

// parse must be called outside a transaction: the writer has one connection.
func (s *statements) parse(ctx context.Context, d *Dialect, pool *sql.DB, queries []string) (map[string]*sql.Stmt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all != nil {
		return s.all, nil
	}
	all := make(map[string]*sql.Stmt, len(queries))
	for _, q := range queries {
		stmt, err := pool.PrepareContext(ctx, d.rebind(q))
		if err != nil {
			for _, done := range all {
				_ = done.Close()
			}
			return nil, fmt.Errorf("prepare: %w", err)
		}
		all[q] = stmt
	}
	s.all = all
	return all, nil
}

// prepare parses a statement once a transaction. Its rows must be closed
// before it is used again.
func (t *tx) prepare(query string) (*sql.Stmt, error) {
	if s, ok := t.stmts[query]; ok {
		return s, nil
	}
	s, err := t.sql.PrepareContext(t.ctx, t.dialect.rebind(query))
	if err != nil {
		return nil, fmt.Errorf("prepare: %w", err)
	}
	t.stmts[query] = s
	return s, nil
}

// exec returns how many rows were affected.
func (t *tx) exec(query string, args ...any) (int64, error) {
	s, err := t.prepare(query)
	if err != nil {
		return 0, err
	}
	res, err := s.ExecContext(t.ctx, args...)
	if err != nil {
		return 0, fmt.Errorf("execute: %w", err)
	}
	return res.RowsAffected()
}

// row is what Scan needs.
type row interface {
	Scan(dest ...any) error
}

// each calls scan for every row. scan must not use the transaction.
func (t *tx) each(query string, args []any, scan func(row) error) error {
	s, err := t.prepare(query)
	if err != nil {
		return err
	}
	rows, err := s.QueryContext(t.ctx, args...)
	if err != nil {
		return fmt.Errorf("query: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read rows: %w", err)
	}
	return nil
}

// one reads the first row and reports whether there was one.
func (t *tx) one(query string, args []any, dest ...any) (bool, error) {
	found := false
	err := t.each(query, args, func(r row) error {
		if found {
			return nil
		}
		found = true
		return r.Scan(dest...)
	})
	return found && err == nil, err
}

// stamp is a time as the store keeps it: milliseconds, UTC.
func stamp(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

func fromMillis(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

func nullMillis(t *time.Time) sql.NullInt64 {
	if t == nil {
		return sql.NullInt64{}
	}
	return sql.NullInt64{Int64: t.UnixMilli(), Valid: true}
}

func fromNullMillis(n sql.NullInt64) *time.Time {
	if !n.Valid {
		return nil
	}
	t := fromMillis(n.Int64)
	return &t
}

// The largest answer of a list, and the answer without a limit.
const (
	maxPage     = 10_000
	defaultPage = 500
)

func pageSize(limit int) int {
	if limit <= 0 {
		return defaultPage
	}
	return min(limit, maxPage)
}

func newID() (string, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return "", fmt.Errorf("make an id: %w", err)
	}
	return id.String(), nil
}
