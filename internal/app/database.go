package app

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/gatehouse-ai/gatehouse/internal/app/settings"
	"github.com/gatehouse-ai/gatehouse/internal/seal"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot/disk"
	"github.com/gatehouse-ai/gatehouse/internal/store"
	"github.com/gatehouse-ai/gatehouse/internal/store/postgres"
	"github.com/gatehouse-ai/gatehouse/internal/store/sqlite"
)

// openStore opens the database that database.url names. A PostgreSQL that cannot
// be reached is no failure where a copy of the configuration can stand in for it:
// then a.away says why.
func (a *App) openStore(ctx context.Context) error {
	if url, ok := a.cfg.Database.Postgres(); ok {
		db, err := postgres.Prepare(postgres.Options{URL: url, Now: a.now, Log: a.log, NoNotify: a.opt.PollOnly})
		if err != nil {
			return fmt.Errorf("%s: %w", a.cfg.Origin("database.url"), err)
		}
		a.db, a.shared = db.Database, db
		a.onStop(func(context.Context) error { return db.Close() })
		check, dir := notEmpty, a.copyDir()
		if dir == "" || !disk.Present(dir) {
			check = nil // a new installation
		}
		if err := db.Connect(ctx, check); err != nil {
			err = fmt.Errorf("%s: %w", a.cfg.Origin("database.url"), err)
			if dir == "" || !postgres.Away(err) {
				return err
			}
			a.away = err
		}
		return nil
	}
	path, memory := a.cfg.Database.SQLite()
	if memory {
		path = sqlite.Memory
	}
	db, err := sqlite.Open(ctx, sqlite.Options{Path: path, Now: a.now, Log: a.log})
	if err != nil {
		return fmt.Errorf("%s: %w", a.cfg.Origin("database.url"), err)
	}
	a.db = db.Database
	a.onStop(func(context.Context) error { return db.Close() })
	return nil
}

// openKeys opens the master key. It makes one for a new database in a file,
// never for PostgreSQL: each replica would make its own.
func (a *App) openKeys(ctx context.Context) error {
	ref, err := a.keyReference()
	if err != nil {
		return err
	}
	create := false
	if a.shared == nil {
		check, err := a.db.CheckValue(ctx)
		if err != nil {
			return err
		}
		create = check == nil
	}
	if a.keys, err = seal.Open(ref, seal.Options{CreateFile: create}); err != nil {
		return fmt.Errorf("%s: %w", a.cfg.Origin("secrets.masterKey"), err)
	}
	if a.away != nil {
		return nil // the copy on disk opens with it or does not; the database is asked when it is back
	}
	return a.checkKey(ctx, a.db)
}

// checkKey compares the master key with the one that a database was made with,
// or makes it that.
func (a *App) checkKey(ctx context.Context, db *store.Database) error {
	check, err := db.CheckValue(ctx)
	if err != nil {
		return err
	}
	if check == nil {
		value, err := a.keys.CheckValue()
		if err != nil {
			return err
		}
		// Of several replicas that begin at once one is first; its key counts.
		if check, err = db.KeepCheckValue(ctx, []byte(value)); err != nil {
			return err
		}
	}
	return a.verifyKey(check)
}

// verifyKey compares the master key with a check value.
func (a *App) verifyKey(check []byte) error {
	if err := a.keys.Verify(string(check)); err != nil {
		return fmt.Errorf("%s: the database was made with another master key: %w", a.cfg.Origin("secrets.masterKey"), err)
	}
	return nil
}

// keyReference is the setting, or what stands for it: for a database in memory a
// key of this process's own life.
func (a *App) keyReference() (string, error) {
	ref, _ := a.cfg.MasterKeyRef()
	if ref != "" {
		return ref, nil
	}
	if _, shared := a.cfg.Database.Postgres(); shared { // settings.Load has refused it
		return "", &settings.Error{Setting: "secrets.masterKey", Message: "must be given with PostgreSQL"}
	}
	dir, err := os.MkdirTemp("", "gatehouse-key-")
	if err != nil {
		return "", err
	}
	a.onStop(func(context.Context) error { return os.RemoveAll(dir) })
	return "file:" + filepath.Join(dir, "master.key"), nil
}
