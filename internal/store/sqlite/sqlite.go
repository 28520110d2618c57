package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"
	sqlite "modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"github.com/gatehouse-ai/gatehouse/internal/store"
)

// Memory is the path of a database that is gone when it is closed.
const Memory = ":memory:"

// RecordsFile is the name of the second file, beside the first.
const RecordsFile = "records.db"

// Options say where the database is.
type Options struct {
	// Path is the configuration's file, or Memory. Its directory is made with
	// mode 0700 and new files with 0600.
	Path string
	// Now is the clock. Default time.Now.
	Now func() time.Time
	// Log is told of migrations. Default none.
	Log *slog.Logger
}

// DB is the store on SQLite.
type DB struct {
	*store.Database
	config, records store.Pools
	// keep holds memory databases: they live as long as a connection does.
	keep []*sql.DB
}

// Open opens or makes the database and brings its schema up to date. It
// refuses a schema that is newer than this binary.
func Open(ctx context.Context, o Options) (*DB, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Path == "" {
		return nil, errors.New("sqlite: the path of the database is empty")
	}
	db := &DB{}
	if err := db.open(ctx, o); err != nil {
		return nil, errors.Join(fmt.Errorf("open the database %s: %w", o.Path, err), db.closePools())
	}
	return db, nil
}

func (db *DB) open(ctx context.Context, o Options) (err error) {
	if o.Path == Memory {
		err = db.openMemory()
	} else {
		err = db.openFiles(o.Path)
	}
	if err != nil {
		return err
	}
	if err := migrate(ctx, db.config.Write, "config", o.Log); err != nil {
		return err
	}
	if err := migrate(ctx, db.records.Write, "records", o.Log); err != nil {
		return err
	}
	db.Database = store.New(store.Dialect{Name: "sqlite", Classify: classify}, db.config, db.records, o.Now)
	return db.Start(ctx)
}

func (db *DB) openFiles(path string) (err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	records := filepath.Join(dir, RecordsFile)
	if records == path {
		return fmt.Errorf("%s is the name of the records' file; choose another", RecordsFile)
	}
	for _, p := range []string{path, records} {
		if err := makeFile(p); err != nil {
			return err
		}
	}
	// SQLite gives its -wal and -shm files the mode of the database.
	if db.config, err = filePools(path, "FULL"); err != nil {
		return err
	}
	db.records, err = filePools(records, "NORMAL")
	return err
}

// makeFile makes an empty file that nobody else may read. An existing one
// keeps the mode that its owner gave it.
func makeFile(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.Close()
}

const (
	// readers is how many statements read at once.
	readers = 4
	// checkpointPages is how long a WAL grows before it is copied into its
	// file, in pages of 4 KiB.
	checkpointPages = 4000
)

func filePools(path, synchronous string) (p store.Pools, err error) {
	dsn := func(more ...string) string {
		q := url.Values{}
		for _, pragma := range append([]string{
			"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(" + synchronous + ")", "foreign_keys(1)",
			// Fewer, longer checkpoints: a page that is written often is
			// copied into the file less often.
			fmt.Sprintf("wal_autocheckpoint(%d)", checkpointPages), "trusted_schema(0)", "cell_size_check(1)",
		}, more...) {
			q.Add("_pragma", pragma)
		}
		q.Set("_dqs", "0")
		q.Set("_txlock", "immediate")
		return (&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String()
	}
	if p.Write, err = sql.Open("sqlite", dsn()); err != nil {
		return p, err
	}
	p.Write.SetMaxOpenConns(1)
	if p.Read, err = sql.Open("sqlite", dsn("query_only(1)")); err != nil {
		return p, err
	}
	p.Read.SetMaxOpenConns(readers)
	p.Read.SetMaxIdleConns(readers)
	p.Read.SetConnMaxIdleTime(5 * time.Minute)
	return p, nil
}

func (db *DB) openMemory() (err error) {
	if db.config, err = db.memoryPools(); err != nil {
		return err
	}
	db.records, err = db.memoryPools()
	return err
}

// memoryPools has one connection for reading and writing, because SQLite in
// memory has no WAL: a reader and a writer would stand in each other's way.
// A second connection, never used, keeps the data if database/sql drops the first.
func (db *DB) memoryPools() (p store.Pools, err error) {
	name := "file:/" + uuid.NewString() + "?vfs=memdb&_dqs=0&_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=foreign_keys(1)&_pragma=trusted_schema(0)"
	keep, err := sql.Open("sqlite", name)
	if err != nil {
		return p, err
	}
	db.keep = append(db.keep, keep)
	keep.SetMaxOpenConns(1)
	if err := keep.Ping(); err != nil {
		return p, err
	}
	if p.Write, err = sql.Open("sqlite", name); err != nil {
		return p, err
	}
	p.Write.SetMaxOpenConns(1)
	p.Read = p.Write
	return p, nil
}

// Close ends all connections. Calls that come later fail with
// database_unavailable.
func (db *DB) Close() error {
	db.MarkClosed()
	return db.closePools()
}

func (db *DB) closePools() error {
	var errs []error
	// The writer last: the last connection empties the WAL into the file.
	for _, p := range append([]*sql.DB{db.config.Read, db.records.Read, db.config.Write, db.records.Write}, db.keep...) {
		if p != nil {
			errs = append(errs, p.Close())
		}
	}
	return errors.Join(errs...)
}

// Integrity checks both files from end to end, which takes time in proportion
// to their size.
func (db *DB) Integrity(ctx context.Context) error {
	for _, p := range []struct {
		name string
		pool *sql.DB
	}{{"configuration", db.config.Read}, {"records", db.records.Read}} {
		if err := integrity(ctx, p.pool); err != nil {
			return fmt.Errorf("check the %s: %w", p.name, err)
		}
	}
	return nil
}

func integrity(ctx context.Context, pool *sql.DB) error {
	rows, err := pool.QueryContext(ctx, `PRAGMA integrity_check(10)`)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	var errs []error
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			return err
		}
		if line != "ok" {
			errs = append(errs, errors.New(line))
		}
	}
	return errors.Join(append(errs, rows.Err())...)
}

// classify reads SQLite's primary and extended result codes
// (https://www.sqlite.org/rescode.html).
func classify(err error) store.Fault {
	e, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return store.FaultOther
	}
	switch e.Code() {
	case lib.SQLITE_CONSTRAINT_UNIQUE, lib.SQLITE_CONSTRAINT_PRIMARYKEY:
		return store.FaultUnique
	}
	switch e.Code() & 0xff {
	case lib.SQLITE_BUSY, lib.SQLITE_LOCKED, lib.SQLITE_IOERR, lib.SQLITE_FULL, lib.SQLITE_CANTOPEN, lib.SQLITE_READONLY,
		lib.SQLITE_NOMEM, lib.SQLITE_CORRUPT, lib.SQLITE_NOTADB, lib.SQLITE_PROTOCOL, lib.SQLITE_PERM:
		return store.FaultUnavailable
	default:
		return store.FaultOther
	}
}
