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

// Start writes the epoch and the id of the audit's chain into an empty database.
func (db *Database) Start(ctx context.Context) error {
	return db.change(ctx, func(t *tx) error {
		_, err := t.exec(`INSERT INTO meta (id, epoch, revision, pruned_through) VALUES (1, ?, 0, 0) ON CONFLICT (id) DO NOTHING`, uuid.NewString())
		if err != nil {
			return err
		}
		return t.startChain()
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
	guard *guard
}

// The numbers of what Dialect.Exclusive keeps other writers from.
const (
	notExclusive = iota
	exclusiveConfig
	exclusiveRecords
)

// job is how a transaction is run.
type job struct {
	pool      *sql.DB
	readOnly  bool
	exclusive int
	// parsed are statements that need not be parsed again.
	parsed map[string]*sql.Stmt
}

// change runs fn in the only transaction that writes the configuration: what it
// has read stays true until it commits. What fn returns aborts it. fn may be
// called again where the transaction lost against another.
func (db *Database) change(ctx context.Context, fn func(*tx) error) error {
	return db.run(ctx, job{pool: db.config.Write, exclusive: exclusiveConfig}, fn)
}

// update runs fn in a transaction beside which there may be others.
func (db *Database) update(ctx context.Context, p Pools, fn func(*tx) error) error {
	return db.run(ctx, job{pool: p.Write}, fn)
}

// view runs fn in a read-only transaction that sees one state of the database.
func (db *Database) view(ctx context.Context, p Pools, fn func(*tx) error) error {
	return db.run(ctx, job{pool: p.Read, readOnly: true}, fn)
}

// attempts is how often a transaction is begun that loses against others.
const attempts = 5

func (db *Database) run(ctx context.Context, j job, fn func(*tx) error) error {
	for n := 1; ; n++ {
		err := db.once(ctx, j, fn)
		if err == nil {
			return nil
		}
		if n == attempts || j.readOnly || ctx.Err() != nil || db.dialect.Classify(err) != FaultRetry {
			return db.coded(ctx, err)
		}
	}
}

func (db *Database) once(ctx context.Context, j job, fn func(*tx) error) error {
	ctx, g := newGuard(ctx, &db.dialect)
	defer g.end()
	opts := &sql.TxOptions{ReadOnly: j.readOnly, Isolation: db.dialect.Writing}
	if j.readOnly {
		opts.Isolation = db.dialect.Reading
	}
	stx, err := db.begin(ctx, j.pool, opts, g)
	if err != nil {
		return g.explain(fmt.Errorf("begin: %w", err))
	}
	defer func() { _ = stx.Rollback() }()
	t := &tx{ctx: ctx, sql: stx, dialect: &db.dialect, now: stamp(db.now()), stmts: map[string]*sql.Stmt{}, guard: g}
	for query, s := range j.parsed {
		t.stmts[query] = stx.StmtContext(ctx, s)
	}
	if j.exclusive != notExclusive && db.dialect.Exclusive != "" {
		if _, err := t.exec(db.dialect.Exclusive, int64(j.exclusive)); err != nil {
			return g.explain(err)
		}
	}
	if err := fn(t); err != nil {
		return g.explain(err)
	}
	g.wait(db.dialect.StatementPatience)
	err = stx.Commit()
	g.rest()
	if err != nil {
		return g.explain(fmt.Errorf("commit: %w", err))
	}
	return nil
}

// begin leaves out connections that were kept and have died meanwhile: after a
// restart of the server they would fail one call each.
func (db *Database) begin(ctx context.Context, pool *sql.DB, opts *sql.TxOptions, g *guard) (*sql.Tx, error) {
	g.wait(db.dialect.Patience)
	defer g.rest()
	for n := 0; ; n++ {
		stx, err := pool.BeginTx(ctx, opts)
		if err == nil || db.dialect.Stale == nil || !db.dialect.Stale(err) || ctx.Err() != nil || n > pool.Stats().MaxOpenConnections {
			return stx, err
		}
	}
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
	case errors.Is(err, errStalled):
		return away(err)
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("store: %w", err)
	case fault == FaultUnavailable, fault == FaultRetry, db.closed.Load(), errors.Is(err, context.DeadlineExceeded), errors.Is(err, sql.ErrConnDone):
		return away(err)
	case fault == FaultUnique:
		return identity.Wrap(identity.CodeConflict, err, "something with the same identifier exists already")
	case fault == FaultText:
		return identity.Wrap(identity.CodeInvalidRequest, err, "a text holds characters that cannot be stored")
	default:
		return fmt.Errorf("store: %w", err)
	}
}

func away(err error) error {
	return identity.Wrap(identity.CodeDatabaseUnavailable, err, "the database cannot be used at the moment; try again")
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
	if s.all != nil || d.Unprepared {
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
	t.guard.wait(t.dialect.StatementPatience)
	defer t.guard.rest()
	res, err := t.execute(query, args)
	if err != nil {
		return 0, fmt.Errorf("execute: %w", err)
	}
	return res.RowsAffected()
}

func (t *tx) execute(query string, args []any) (sql.Result, error) {
	if t.dialect.Unprepared {
		return t.sql.ExecContext(t.ctx, t.dialect.rebind(query), args...)
	}
	s, err := t.prepare(query)
	if err != nil {
		return nil, err
	}
	return s.ExecContext(t.ctx, args...)
}

func (t *tx) query(query string, args []any) (*sql.Rows, error) {
	if t.dialect.Unprepared {
		return t.sql.QueryContext(t.ctx, t.dialect.rebind(query), args...)
	}
	s, err := t.prepare(query)
	if err != nil {
		return nil, err
	}
	return s.QueryContext(t.ctx, args...)
}

// row is what Scan needs.
type row interface {
	Scan(dest ...any) error
}

// each calls scan for every row. scan must not use the transaction.
func (t *tx) each(query string, args []any, scan func(row) error) error {
	t.guard.wait(t.dialect.StatementPatience)
	defer t.guard.rest()
	rows, err := t.query(query, args)
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
