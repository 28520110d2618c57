package postgres

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

//go:embed migrations/*.sql
var migrations embed.FS

// lockSpace is the first number of Gatehouse's advisory locks, so that they are
// no others' of the same database. The second number says what is locked: what
// internal/store writes alone, or the schema.
const (
	lockSpace  = "1197756744"
	schemaLock = 100
)

// migrate brings the schema up to date. Of several processes that begin at once
// one does, and the others wait for it.
func migrate(ctx context.Context, cfg *pgx.ConnConfig, log *slog.Logger) (err error) {
	// Without the limits of ordinary work: waiting for the other process and
	// changing a large table may take long. The lock's connection and goose's.
	db := stdlib.OpenDB(*session(cfg, map[string]string{"lock_timeout": "0", "statement_timeout": "0", "idle_in_transaction_session_timeout": "0"}))
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(2)
	lock, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	if _, err := lock.ExecContext(ctx, `SELECT pg_advisory_lock(`+lockSpace+`, $1)`, schemaLock); err != nil {
		return fmt.Errorf("wait for the schema: %w", err)
	}
	// Closing the pool would do it too, but not before the connection is closed.
	defer func() {
		_, _ = lock.ExecContext(context.WithoutCancel(ctx), `SELECT pg_advisory_unlock(`+lockSpace+`, $1)`, schemaLock)
	}()
	return migrateLocked(ctx, db, log)
}

func migrateLocked(ctx context.Context, db *sql.DB, log *slog.Logger) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return fmt.Errorf("find the migrations: %w", err)
	}
	p, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return fmt.Errorf("read the migrations: %w", err)
	}
	current, target, err := p.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("read the version of the schema: %w", err)
	}
	if current > target {
		return fmt.Errorf("the schema has version %d and this gatehouse knows versions up to %d: use the newer gatehouse that wrote it, or restore a backup",
			current, target)
	}
	results, err := p.Up(ctx)
	if err != nil {
		return fmt.Errorf("bring the schema from version %d to %d: %w", current, target, err)
	}
	if len(results) > 0 {
		log.Info("database schema is up to date", "from", current, "to", target)
	}
	return nil
}
