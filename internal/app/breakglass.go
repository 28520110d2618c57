package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/app/settings"
	"github.com/gatehouse-ai/gatehouse/internal/control/sso"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

// ResetBreakGlass takes the local administrator's password away and returns a
// new one-time link. It works on the database and the master key of the
// settings, beside a server that runs on them or without one.
func ResetBreakGlass(ctx context.Context, cfg settings.Settings, log *slog.Logger) (link string, err error) {
	a := &App{cfg: cfg, log: log, now: time.Now}
	defer func() {
		stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		err = errors.Join(err, a.Stop(stopCtx))
	}()
	if err := a.existingStore(ctx); err != nil {
		return "", err
	}
	a.publisher = snapshot.NewPublisher(snapshot.Options{Loader: a.db, Now: a.now, Log: log})
	a.onStop(func(context.Context) error { a.publisher.Close(); return nil })
	if err := a.publisher.Start(ctx); err != nil {
		return "", err
	}
	h, err := sso.New(sso.Options{
		Snapshots: a.publisher, Store: a.db, Sessions: a.db, Sealer: a.keys, BreakGlass: a.db, BreakGlassOff: a.breakGlassOff,
		Secret: func(*v1.SsoConnection) (string, error) {
			return "", identity.Errorf(identity.CodeSecretUnavailable, "nobody signs in here")
		},
		ExternalURL: cfg.Server.URL(cfg.Server.Address), Now: a.now, Log: log,
	})
	if err != nil {
		return "", err
	}
	defer h.Close()
	return h.BreakGlassReset(ctx)
}

// existingStore opens a database that a server has been using, and its key. It
// makes neither.
func (a *App) existingStore(ctx context.Context) error {
	nothing := &settings.Error{Setting: a.cfg.Origin("database.url"), Message: "there is no Gatehouse in this database"}
	if _, shared := a.cfg.Database.Postgres(); !shared {
		path, memory := a.cfg.Database.SQLite()
		if memory {
			return nothing
		}
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("%s: %w", a.cfg.Origin("database.url"), err)
		}
	}
	if err := a.openStore(ctx); err != nil {
		return err
	}
	if a.away != nil {
		return a.away
	}
	check, err := a.db.CheckValue(ctx)
	if err != nil {
		return err
	}
	if check == nil {
		return nothing
	}
	return a.openKeys(ctx)
}
