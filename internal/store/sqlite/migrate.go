package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/pressly/goose/v3"
)

//go:embed migrations
var migrations embed.FS

// migrate brings one file's schema up to date.
func migrate(ctx context.Context, db *sql.DB, name string, log *slog.Logger) error {
	files, err := fs.Sub(migrations, "migrations/"+name)
	if err != nil {
		return fmt.Errorf("find the migrations: %w", err)
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, files, goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return fmt.Errorf("read the migrations: %w", err)
	}
	current, target, err := p.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("read the version of the schema (%s): %w", name, err)
	}
	if current > target {
		return fmt.Errorf("the schema (%s) has version %d and this gatehouse knows versions up to %d: use the newer gatehouse that wrote it, or restore a backup",
			name, current, target)
	}
	results, err := p.Up(ctx)
	if err != nil {
		return fmt.Errorf("bring the schema (%s) from version %d to %d: %w", name, current, target, err)
	}
	if len(results) > 0 {
		log.Info("database schema is up to date", "schema", name, "from", current, "to", target)
	}
	return nil
}
