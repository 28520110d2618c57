package postgres_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/store/postgres"
	"github.com/gatehouse-ai/gatehouse/internal/store/storetest/pgserver"
)

// The server lets nothing in but TLS, so that every connection of ours has to
// speak it: the migration's, the pools' and the one that listens.
func TestSecurityTheDatabaseIsReachedByTLSAndKnownByItsCertificate(t *testing.T) {
	s, err := pgserver.Start()
	if err != nil {
		t.Skipf("SKIP PostgreSQL cannot be had: %v", err)
	}
	t.Cleanup(func() { _ = s.Close() })
	other, err := pgserver.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Close() })
	dir := t.TempDir()
	ca := map[*pgserver.Server]string{s: filepath.Join(dir, "ca.pem"), other: filepath.Join(dir, "other.pem")}
	for server, file := range ca {
		text, err := server.SetTLS()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	at := func(host, query string) string {
		return fmt.Sprintf("postgres://%s:%s@%s:%d/postgres?%s", pgserver.Superuser, s.Password, host, s.Port, query)
	}
	var db *postgres.DB
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) { // the server reads its settings anew in its own time
		if db, err = postgres.Open(t.Context(), postgres.Options{URL: at("127.0.0.1", "sslmode=verify-full&sslrootcert="+ca[s])}); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%v\n%s", err, s.Log())
		}
	}
	if _, err := db.Head(t.Context()); err != nil {
		t.Error(err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	for name, url := range map[string]string{
		"another's CA":     at("127.0.0.1", "sslmode=verify-full&sslrootcert="+ca[other]),
		"another's name":   at("localhost", "sslmode=verify-full&sslrootcert="+ca[s]),
		"in the clear":     at("127.0.0.1", "sslmode=disable"),
		"the system's CAs": at("127.0.0.1", "sslmode=verify-full"),
	} {
		db, err := postgres.Open(t.Context(), postgres.Options{URL: url})
		if err == nil {
			t.Errorf("%s: it was let in", name)
			_ = db.Close()
			continue
		}
		if strings.Contains(err.Error(), s.Password) {
			t.Errorf("%s: the error holds the password: %v", name, err)
		}
		t.Logf("%s: %v", name, err)
	}
}
