package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/gatehouse-ai/gatehouse/internal/app/settings"
	"github.com/gatehouse-ai/gatehouse/internal/store/postgres"
	"github.com/gatehouse-ai/gatehouse/internal/store/sqlite"
)

func newMigrate(p process) *cobra.Command {
	c := &cobra.Command{
		Use:   "migrate",
		Short: "Bring the database's schema up to date",
		Long:  "Bring the database's schema up to date. serve does so as well; this is for doing it before.",
		Args:  cobra.NoArgs,
	}
	conf := addSettings(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		cfg, log, err := conf.load(p, false)
		if err != nil {
			return err
		}
		if url, ok := cfg.Database.Postgres(); ok {
			if err := postgres.Migrate(c.Context(), postgres.Options{URL: url, Log: log}); err != nil {
				return fmt.Errorf("%s: %w", cfg.Origin("database.url"), err)
			}
			_, err = fmt.Fprintln(p.out, "the PostgreSQL database is up to date")
			return err
		}
		path, memory := cfg.Database.SQLite()
		if memory {
			return &settings.Error{Setting: cfg.Origin("database.url"), Message: "is a database in memory; there is nothing to migrate"}
		}
		db, err := sqlite.Open(c.Context(), sqlite.Options{Path: path, Log: log})
		if err != nil {
			return fmt.Errorf("%s: %w", cfg.Origin("database.url"), err)
		}
		if err := db.Close(); err != nil {
			return err
		}
		_, err = fmt.Fprintln(p.out, path+" is up to date")
		return err
	}
	return c
}
