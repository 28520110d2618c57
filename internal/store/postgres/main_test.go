package postgres_test

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gatehouse-ai/gatehouse/internal/store/postgres"
	"github.com/gatehouse-ai/gatehouse/internal/store/storetest"
	"github.com/gatehouse-ai/gatehouse/internal/store/storetest/pgserver"
)

// The one server of this test binary, or why there is none.
var (
	server    *pgserver.Server
	errServer = errors.New("not started")
	databases atomic.Int64
)

func TestMain(m *testing.M) {
	server, errServer = pgserver.Start()
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if server != nil {
			if err := server.Close(); err != nil {
				fmt.Println("end the server:", err)
				code = 1
			}
		}
		os.Exit(code)
	}))
}

// database makes an empty database for one test and returns its URL.
func database(t testing.TB) (url string) {
	t.Helper()
	if errServer != nil {
		t.Skipf("SKIP PostgreSQL cannot be had: %v", errServer)
	}
	url, drop, err := server.CreateDatabase(fmt.Sprintf("t_%d", databases.Add(1)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := drop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(server.Log())
		}
	})
	return url
}

func open(t testing.TB, o postgres.Options) *postgres.DB {
	t.Helper()
	o.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	db, err := postgres.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// opened is a store that ends with the test.
func opened(t testing.TB, o postgres.Options) *postgres.DB {
	t.Helper()
	db := open(t, o)
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func TestConformance(t *testing.T) {
	urls := map[string]string{} // by directory
	storetest.Run(t, storetest.Backend{Open: func(t *testing.T, dir string, now func() time.Time) storetest.Store {
		if urls[dir] == "" {
			urls[dir] = database(t)
		}
		return open(t, postgres.Options{URL: urls[dir], Now: now})
	}})
}
