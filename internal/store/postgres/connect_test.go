package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
	"github.com/gatehouse-ai/gatehouse/internal/store"
	"github.com/gatehouse-ai/gatehouse/internal/store/postgres"
)

func prepared(t *testing.T, url string) *postgres.DB {
	t.Helper()
	db, err := postgres.Prepare(postgres.Options{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// shut reports what is wrong where a store lets anybody in.
func shut(t *testing.T, when string, db *postgres.DB) {
	t.Helper()
	_, readErr := db.Head(t.Context())
	_, writeErr := db.Commit(t.Context(), &record.Batch{PutResources: []v1.Resource{team("x")}})
	recordErr := db.AppendRequests(t.Context(), []record.Request{{ID: "1"}})
	for what, err := range map[string]error{"read": readErr, "written": writeErr, "recorded": recordErr} {
		if identity.CodeOf(err) != identity.CodeDatabaseUnavailable {
			t.Errorf("%s: it was %s: %v", when, what, err)
		}
	}
}

func TestAServerThatComesBackIsConnectedTo(t *testing.T) {
	url := database(t)
	beside := opened(t, postgres.Options{URL: url})
	db := prepared(t, url)
	shut(t, "before it was tried", db)
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	err := db.Connect(t.Context(), nil)
	if err == nil || !postgres.Away(err) {
		t.Errorf("connected to nothing, or not away: %v", err)
	}
	if err := server.Run(); err != nil {
		t.Fatal(err)
	}
	shut(t, "before it was tried again", db)
	if err := db.Connect(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	recovers(t, beside)
	head, err := db.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wake, end := db.Watch()
	defer end()
	if got := commit(t, beside, &record.Batch{PutResources: []v1.Resource{team("news")}}); got.Revision <= head.Revision {
		t.Fatalf("revision %d after %d", got.Revision, head.Revision)
	}
	<-wake // another's change is heard of
}

func TestSecurityADatabaseThatIsRefusedIsSeenByNobody(t *testing.T) {
	url := database(t)
	opened(t, postgres.Options{URL: url})
	db := prepared(t, url)
	refused := errors.New("another master key")
	asked := 0
	err := db.Connect(t.Context(), func(ctx context.Context, first *store.Database) error {
		asked++
		if _, err := first.Head(ctx); err != nil {
			t.Error(err)
		}
		return refused
	})
	if !errors.Is(err, refused) || postgres.Away(err) || asked != 1 {
		t.Errorf("asked %d times: %v", asked, err)
	}
	shut(t, "after it was refused", db)
}

// A database of the version before, or an empty one, is as it was.
func TestSecurityADatabaseThatIsRefusedIsNotWrittenTo(t *testing.T) {
	url := database(t)
	err := prepared(t, url).Connect(t.Context(), func(ctx context.Context, first *store.Database) error {
		_, err := first.CheckValue(ctx)
		return err
	})
	if err == nil || postgres.Away(err) {
		t.Errorf("an empty database was accepted, or is away: %v", err)
	}
	tables := -1
	if err := connect(t, url).QueryRow(`SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'`).Scan(&tables); err != nil || tables != 0 {
		t.Errorf("%d tables, %v", tables, err)
	}
}

// Whoever has written a wrong setting must hear of it at the start.
func TestOnlyWhatMayComeBackIsAway(t *testing.T) {
	good := database(t)
	newer := database(t)
	opened(t, postgres.Options{URL: newer})
	if _, err := connect(t, newer).Exec(`UPDATE goose_db_version SET version_id = 9000 WHERE version_id = (SELECT max(version_id) FROM goose_db_version)`); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		url  string
		away bool
	}{
		"nobody listens":     {"postgres://u@127.0.0.1:1/db?sslmode=disable", true},
		"a wrong password":   {strings.Replace(good, server.Password, "wrong", 1), false},
		"no such database":   {server.URL("nowhere"), false},
		"a schema to come":   {newer, false},
		"nobody of the name": {fmt.Sprintf("postgres://nobody:x@127.0.0.1:%d/postgres?sslmode=disable", server.Port), false},
	} {
		err := prepared(t, tc.url).Connect(t.Context(), nil)
		if err == nil || postgres.Away(err) != tc.away {
			t.Errorf("%s: away %v: %v", name, postgres.Away(err), err)
		}
	}
}
