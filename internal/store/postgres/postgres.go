package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/store"
)

// Options say where the database is.
type Options struct {
	// URL is postgres://USER:PASSWORD@HOST:PORT/DATABASE, with what pgx takes
	// besides: sslmode, sslrootcert, connect_timeout, several hosts.
	URL string
	// Now is the clock. Default time.Now.
	Now func() time.Time
	// Log is told of migrations, and of hearing no more from the database.
	// Default none.
	Log *slog.Logger
	// NoNotify leaves LISTEN/NOTIFY out: other replicas' changes are then found
	// by polling alone.
	NoNotify bool
	// Poll is how often the revision is looked at. Default 500ms.
	Poll time.Duration
}

// DB is the store on PostgreSQL.
type DB struct {
	*store.Database
	opt             Options
	cfg             *pgx.ConnConfig
	config, records store.Pools
	// connected says that the schema is in place: until then the pools make no
	// connection.
	connected atomic.Bool
	follower  *follower
}

const (
	// The most connections of one process, besides the one that listens.
	// Writers stand in line for each other anyway; PostgreSQL's own limit, often
	// 100, is shared by all replicas.
	writers, readers, recordWriters, recordReaders = 3, 5, 2, 2

	connectTimeout = 2 * time.Second
	// patience is how long a server may say nothing at the beginning of a
	// transaction. It itself ends a statement after statementTimeout, and one
	// that waits for a lock after lockTimeout.
	patience         = 2500 * time.Millisecond
	lockTimeout      = 5 * time.Second
	statementTimeout = 30 * time.Second
	idleInTxTimeout  = time.Minute
)

// Open connects to the database and brings its schema up to date, which one of
// several processes does while the others wait. It refuses a schema that is
// newer than this binary. No error holds the password.
func Open(ctx context.Context, o Options) (*DB, error) {
	db, err := Prepare(o)
	if err != nil {
		return nil, err
	}
	if err := db.Connect(ctx, nil); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// Prepare returns the store without asking the network for anything: until
// Connect has succeeded, every call fails with database_unavailable.
// Error: a URL that cannot be read.
func Prepare(o Options) (*DB, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Poll == 0 {
		o.Poll = 500 * time.Millisecond
	}
	cfg, err := parse(o.URL)
	if err != nil {
		return nil, err
	}
	db := &DB{opt: o, cfg: cfg}
	db.config = store.Pools{Write: db.pool(writers, "", db.gate), Read: db.pool(readers, "", db.gate)}
	db.records = store.Pools{Write: db.pool(recordWriters, "off", db.gate), Read: db.pool(recordReaders, "off", db.gate)}
	db.Database = store.New(db.dialect(), db.config, db.records, o.Now)
	return db, nil
}

// Connect brings the schema up to date and lets everybody in. check, where it is
// not nil, is asked before: what it refuses is not written to, and nobody else
// gets to see it; it must be content with the schema of the version before.
// Connect may be called again after it failed (see Away), and by one at a time.
func (db *DB) Connect(ctx context.Context, check func(context.Context, *store.Database) error) error {
	if err := db.connect(ctx, check); err != nil {
		return fmt.Errorf("open the PostgreSQL database %s on %s: %w", db.cfg.Database, db.cfg.Host, err)
	}
	return nil
}

func (db *DB) connect(ctx context.Context, check func(context.Context, *store.Database) error) error {
	if check != nil {
		if err := db.alone(func(first *store.Database) error { return check(ctx, first) }); err != nil {
			return err
		}
	}
	if err := migrate(ctx, db.cfg, db.opt.Log); err != nil {
		return err
	}
	var head identity.Head
	err := db.alone(func(first *store.Database) (err error) {
		if err = first.Start(ctx); err == nil {
			head, err = first.Head(ctx)
		}
		return err
	})
	if err != nil {
		return err
	}
	db.Wake(head) // what is there already is no news
	db.connected.Store(true)
	db.follower = follow(ctx, db.Database, db.cfg, db.opt)
	return nil
}

// alone hands out the database by a connection of its own, which no gate closes.
func (db *DB) alone(fn func(*store.Database) error) (err error) {
	own := db.pool(1, "", nil)
	defer func() { err = errors.Join(err, own.Close()) }()
	return fn(store.New(db.dialect(), store.Pools{Read: own, Write: own}, store.Pools{}, db.opt.Now))
}

// errNotConnected: Connect has not succeeded yet.
var errNotConnected = errors.New("not connected to the database yet")

func (db *DB) gate(context.Context, *pgx.ConnConfig) error {
	if !db.connected.Load() {
		return errNotConnected
	}
	return nil
}

// Migrate brings the schema up to date, as Open does, and nothing else.
func Migrate(ctx context.Context, o Options) error {
	db, err := Open(ctx, o)
	if err != nil {
		return err
	}
	return db.Close()
}

// parse never repeats the URL, nor what the parser says of it.
func parse(url string) (*pgx.ConnConfig, error) {
	if !strings.HasPrefix(url, "postgres://") && !strings.HasPrefix(url, "postgresql://") {
		return nil, errors.New("not a PostgreSQL URL; write it like postgres://user:password@host:5432/database")
	}
	cfg, err := pgx.ParseConfig(url)
	if err != nil { // The cause is withheld: it may quote the password.
		return nil, errors.New("the PostgreSQL URL cannot be read; write it like postgres://user:password@host:5432/database?sslmode=verify-full, " +
			"with special characters in the password percent-encoded and with certificate files that exist")
	}
	if !strings.Contains(url, "connect_timeout=") {
		cfg.ConnectTimeout = connectTimeout
	}
	return cfg, nil
}

func (db *DB) dialect() store.Dialect {
	d := store.Dialect{
		Name: "postgres", Rebind: store.DollarPlaceholders, Classify: classify, Stale: stale, Text: text, Unprepared: true,
		Exclusive: `SELECT pg_advisory_xact_lock(` + lockSpace + `, ?::int)`,
		Reading:   sql.LevelRepeatableRead, Writing: sql.LevelReadCommitted, Patience: patience, StatementPatience: statementTimeout + patience,
	}
	if !db.opt.NoNotify {
		d.Notify = `SELECT pg_notify('` + channel + `', ?)`
	}
	return d
}

// session returns the settings of connections: limits, unless the URL sets them.
func session(cfg *pgx.ConnConfig, more map[string]string) *pgx.ConnConfig {
	cfg = cfg.Copy()
	set := map[string]string{
		"application_name": "gatehouse", "lock_timeout": millis(lockTimeout), "statement_timeout": millis(statementTimeout),
		"idle_in_transaction_session_timeout": millis(idleInTxTimeout),
	}
	for k, v := range set {
		if _, given := cfg.RuntimeParams[k]; !given {
			cfg.RuntimeParams[k] = v
		}
	}
	for k, v := range more {
		cfg.RuntimeParams[k] = v
	}
	return cfg
}

func millis(d time.Duration) string { return fmt.Sprint(d.Milliseconds()) }

// pool makes connections as they are needed, and as gate lets it where it is not
// nil. synchronousCommit is the server's own choice where it is empty.
func (db *DB) pool(most int, synchronousCommit string, gate func(context.Context, *pgx.ConnConfig) error) *sql.DB {
	more := map[string]string{}
	if synchronousCommit != "" {
		more["synchronous_commit"] = synchronousCommit
	}
	var options []stdlib.OptionOpenDB
	if gate != nil {
		options = append(options, stdlib.OptionBeforeConnect(gate))
	}
	p := stdlib.OpenDB(*session(db.cfg, more), options...)
	p.SetMaxOpenConns(most)
	p.SetMaxIdleConns(most)
	p.SetConnMaxIdleTime(5 * time.Minute)
	p.SetConnMaxLifetime(time.Hour)
	return p
}

// text is a stranger's text without what PostgreSQL cannot keep: bytes that are
// no UTF-8, and NUL.
func text(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// Close ends all connections and the goroutines that follow the database. Calls
// that come later fail with database_unavailable.
func (db *DB) Close() error {
	db.MarkClosed()
	if db.follower != nil {
		db.follower.close()
	}
	var errs []error
	for _, p := range []*sql.DB{db.config.Read, db.records.Read, db.config.Write, db.records.Write} {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}

// Integrity reports whether the database answers and holds a configuration.
// PostgreSQL looks after its own files (data checksums, amcheck).
func (db *DB) Integrity(ctx context.Context) error {
	if _, err := db.Head(ctx); err != nil {
		return fmt.Errorf("check the configuration: %w", err)
	}
	if _, err := db.AllRequests(ctx, 1); err != nil {
		return fmt.Errorf("check the records: %w", err)
	}
	return nil
}
