package app

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/secret/stored"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot/disk"
	"github.com/gatehouse-ai/gatehouse/internal/store"
	"github.com/gatehouse-ai/gatehouse/internal/store/postgres"
)

// own sees to it that no other process uses the directory of copies: two would
// write what neither has published.
func (a *App) own(dir string) error {
	release, err := lockDir(dir)
	if err != nil {
		setting := "snapshot.dir"
		if a.cfg.Snapshot.Dir == "" {
			setting = "database.url"
		}
		return fmt.Errorf("%s: the directory %s cannot be this process's own: %w", a.cfg.Origin(setting), dir, err)
	}
	a.onStop(func(context.Context) error { return release() })
	return nil
}

// copyDir is where the last good snapshot is kept; empty for nowhere. One of a
// database in memory would be of nobody's.
func (a *App) copyDir() string {
	dir := a.cfg.CopyDir()
	if _, shared := a.cfg.Database.Postgres(); dir == "" || !shared && a.cfg.DataDir() == "" {
		return ""
	}
	return filepath.Join(dir, "snapshot")
}

// keepCopy keeps the last good snapshot on disk, where there is a disk.
func (a *App) keepCopy(publish *snapshot.Options) error {
	dir := a.copyDir()
	if dir == "" {
		return nil
	}
	kept, err := disk.New(disk.Options{Dir: dir, Keys: a.keys, Source: a.db, Now: a.now, Log: a.log})
	if err != nil {
		return fmt.Errorf("the copy of the configuration on disk: %w", err)
	}
	kept.ConfirmedBy(func() time.Time { return a.publisher.Health().Confirmed })
	publish.Journal = kept
	a.onStop(func(context.Context) error { return kept.Close() })
	return nil
}

// storedValues is who hands out stored secrets: the database, and beside one
// that may be away what was kept of it.
func (a *App) storedValues() (stored.SealedReader, error) {
	dir := a.cfg.CopyDir()
	if a.shared == nil || dir == "" {
		return a.db, nil
	}
	var err error
	a.kept, err = stored.NewKept(stored.KeptOptions{Dir: filepath.Join(dir, "secrets"), Keys: a.keys, Reader: a.db, Log: a.log})
	return a.kept, err
}

// follow reads the store and follows it. Where that cannot be read, the copy on
// disk stands in for it, if it is good.
func (a *App) follow(ctx context.Context) error {
	if err := a.startPublisher(ctx); err != nil {
		return err
	}
	a.onStop(func(context.Context) error { a.publisher.Close(); return nil })
	a.maintain(ctx)
	return nil
}

func (a *App) startPublisher(ctx context.Context) error {
	cause := a.away
	if cause == nil {
		err := a.publisher.Start(ctx)
		if err == nil {
			return nil
		}
		cause = fmt.Errorf("%s: %w", a.cfg.Origin("database.url"), err)
	}
	dir := a.copyDir()
	if dir == "" {
		return cause
	}
	seed, since, err := disk.Read(dir, a.keys, a.now(), a.cfg.Snapshot.MaxStaleness)
	if err != nil {
		return fmt.Errorf("%w; nor can the copy of the configuration in %s stand in for it: %w", cause, dir, err)
	}
	a.publisher.Seed(seed, since)
	return a.publisher.Start(ctx)
}

const (
	firstReturn   = 250 * time.Millisecond // between two attempts at a database that was away at the start
	longestReturn = 5 * time.Second
)

// awaitDatabase connects to a database that was away at the start, and then does
// what the start has left out. A database that may not be used (an empty one,
// another master key, a newer schema) stays away: what was served goes on, until
// it is too old.
func (a *App) awaitDatabase(ctx context.Context) {
	a.log.Warn("the database is away; serving the copy of the configuration on disk", "error", a.away, "revision", a.publisher.Health().Head.Revision)
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	a.onStop(func(context.Context) error { stop(); <-done; return nil })
	go func() {
		defer close(done)
		if !a.connectLater(run) {
			return
		}
		a.log.Info("the database is there")
		a.writeLater(run)
	}()
}

// retry calls try until it is done, or ctx is. It reports which.
func retry(ctx context.Context, try func() (done bool)) bool {
	for wait := firstReturn; !try(); wait = min(2*wait, longestReturn) {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(wait):
		}
	}
	return true
}

func (a *App) connectLater(ctx context.Context) bool {
	said := a.away.Error()
	return retry(ctx, func() bool {
		err := a.shared.Connect(ctx, a.isOurs)
		if err == nil {
			return true
		}
		err = fmt.Errorf("%s: %w", a.cfg.Origin("database.url"), err)
		if text := err.Error(); text != said && ctx.Err() == nil {
			a.log.Error("the database cannot be used; serving the last configuration", "error", err)
			said = text
		}
		return false
	})
}

// isOurs refuses a database that is not the one that the copy is of.
func (a *App) isOurs(ctx context.Context, db *store.Database) error {
	check, err := existing(ctx, db)
	if err != nil {
		return err
	}
	return a.verifyKey(check)
}

// notEmpty is isOurs before the key is opened.
func notEmpty(ctx context.Context, db *store.Database) error {
	_, err := existing(ctx, db)
	return err
}

// existing reads the check value of a database, and refuses one without a
// Gatehouse where there was one: it is about to be restored into, or it is
// another's. To begin anew there would answer everybody with 401.
func existing(ctx context.Context, db *store.Database) ([]byte, error) {
	check, err := db.CheckValue(ctx)
	switch {
	case err != nil && postgres.Away(err):
		return nil, err
	case err != nil || check == nil:
		return nil, errors.Join(errors.New("there is no Gatehouse in it, and there was, by the copy in snapshot.dir: restore it, or empty that directory to begin anew"), err)
	}
	return check, nil
}

// writeLater is write, once what is published is the database's.
func (a *App) writeLater(ctx context.Context) {
	said := ""
	retry(ctx, func() bool {
		head, err := a.db.Head(ctx)
		if err == nil {
			err = a.publisher.WaitFor(ctx, head)
		}
		var ways waysIn
		if err == nil {
			ways, err = a.write(ctx)
		}
		switch {
		case err == nil:
			a.tell(ways.text())
			return true
		case err.Error() != said && ctx.Err() == nil:
			a.log.Error("what the settings say could not be written to the database; trying again", "error", err)
			said = err.Error()
		}
		return false
	})
}
