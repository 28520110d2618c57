package app_test

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/app"
	"github.com/gatehouse-ai/gatehouse/internal/app/settings"
	"github.com/gatehouse-ai/gatehouse/internal/store/storetest/pgserver"
)

func postgresServer(t *testing.T) *pgserver.Server {
	t.Helper()
	s, err := pgserver.Start()
	if err != nil {
		t.Skipf("SKIP PostgreSQL cannot be had: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

const (
	aKey       = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
	anotherKey = "1f1e1d1c1b1a191817161514131211100f0e0d0c0b0a09080706050403020100"
)

// revision is what a replica serves, by the operator's listener.
func revision(t *testing.T, a *app.App) (n uint64) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get(a.OpsURL() + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var body struct {
		Revision uint64 `json:"revision"`
	}
	if err := json.NewDecoder(res.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	return body.Revision
}

func TestReplicasOnPostgresServeOneConfiguration(t *testing.T) {
	url, _, err := postgresServer(t).CreateDatabase("gatehouse_app")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GATEHOUSE_TEST_KEY", aKey)
	t.Setenv("GATEHOUSE_TEST_OTHER_KEY", anotherKey)
	manifests := t.TempDir()
	start := func(environ ...string) (*app.App, error) {
		cfg, environ := config(t, false, t.TempDir(), append([]string{"GATEHOUSE_DATABASE_URL=" + url}, environ...)...)
		return app.Start(t.Context(), cfg, app.Options{Environ: environ})
	}
	// With an empty database above all: each would make a key of its own.
	missing := filepath.Join(t.TempDir(), "master.key")
	if none, err := start("GATEHOUSE_SECRETS_MASTER_KEY=file:" + missing); err == nil {
		stop(t, none)
		t.Fatal("a replica without its key file was started")
	}
	if _, err := os.Stat(missing); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("a replica made a key of its own: %v", err)
	}
	first, err := start("GATEHOUSE_SECRETS_MASTER_KEY=env:GATEHOUSE_TEST_KEY", "GATEHOUSE_MANIFESTS_DIR="+manifests)
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, first)
	second, err := start("GATEHOUSE_SECRETS_MASTER_KEY=env:GATEHOUSE_TEST_KEY")
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, second)

	wrong, err := start("GATEHOUSE_SECRETS_MASTER_KEY=env:GATEHOUSE_TEST_OTHER_KEY")
	if err == nil {
		stop(t, wrong)
		t.Fatal("a replica with another master key was started")
	}
	if !strings.Contains(err.Error(), "GATEHOUSE_SECRETS_MASTER_KEY") || !strings.Contains(err.Error(), "another master key") {
		t.Errorf("error %q does not say which setting is wrong", err)
	}
	before := revision(t, second)
	const team = "apiVersion: gatehouse.dev/v1\nkind: Team\nmetadata: {name: research}\nspec: {}\n"
	if err := os.WriteFile(filepath.Join(manifests, "team.yaml"), []byte(team), 0o600); err != nil {
		t.Fatal(err)
	}
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for revision(t, second) == before {
		select {
		case <-deadline.C:
			t.Fatalf("the other replica stays at revision %d; the first has %d", before, revision(t, first))
		case <-tick.C:
		}
	}
}

func TestSecurityPostgresWithoutAMasterKeyDoesNotStart(t *testing.T) {
	_, _, err := settings.Load(nil, []string{"GATEHOUSE_DATABASE_URL=postgres://u:hunter2@127.0.0.1/g"}, "")
	if err == nil || !strings.Contains(err.Error(), "secrets.masterKey") || strings.Contains(err.Error(), "hunter2") {
		t.Fatalf("error %v, want one that names the setting and not the password", err)
	}
	// Nor where the settings did not come through Load.
	url, _, err := postgresServer(t).CreateDatabase("gatehouse_keyless")
	if err != nil {
		t.Fatal(err)
	}
	cfg, _ := config(t, false, t.TempDir())
	cfg.Database.URL, cfg.Secrets.MasterKey = url, ""
	a, err := app.Start(t.Context(), cfg, app.Options{})
	if err == nil {
		stop(t, a)
		t.Fatal("started")
	}
	if !strings.Contains(err.Error(), "secrets.masterKey") {
		t.Fatal(err)
	}
}

func TestTheLocalAdministratorIsResetOnPostgresToo(t *testing.T) {
	t.Setenv("GATEHOUSE_TEST_KEY", aKey)
	server := postgresServer(t)
	url, _, err := server.CreateDatabase("gatehouse_reset")
	if err != nil {
		t.Fatal(err)
	}
	cfg, environ := config(t, false, t.TempDir(), "GATEHOUSE_DATABASE_URL="+url, "GATEHOUSE_SECRETS_MASTER_KEY=env:GATEHOUSE_TEST_KEY", "GATEHOUSE_SNAPSHOT_DIR="+t.TempDir())
	reset := func() (string, error) { return app.ResetBreakGlass(t.Context(), cfg, slog.New(slog.DiscardHandler)) }
	if _, err := reset(); err == nil || !strings.Contains(err.Error(), "no Gatehouse") {
		t.Errorf("an empty database: %v", err)
	}
	a, err := app.Start(t.Context(), cfg, app.Options{Environ: environ})
	if err != nil {
		t.Fatal(err)
	}
	if link, err := reset(); err != nil || !strings.Contains(link, "/sso/break-glass/setup?token=") {
		t.Errorf("beside the server: %q, %v", link, err)
	}
	stop(t, a)
	if link, err := reset(); err != nil || link == "" {
		t.Errorf("without the server: %q, %v", link, err)
	}
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	if link, err := reset(); err == nil || !strings.Contains(err.Error(), "GATEHOUSE_DATABASE_URL") {
		t.Errorf("without the database: %q, %v", link, err)
	}
}
