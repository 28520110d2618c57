package app_test

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/app"
	"github.com/gatehouse-ai/gatehouse/internal/store/storetest/pgserver"
	"github.com/gatehouse-ai/gatehouse/internal/testkit/testlog"
)

// awayWorld is one replica, again and again, on a PostgreSQL that comes and goes.
type awayWorld struct {
	t      *testing.T
	server *pgserver.Server
	url    string
	dir    string // snapshot.dir; empty for none
	key    string // the variable of the master key
	now    func() time.Time
	admin  string
	log    *testlog.Buffer // of the last start
}

func newAwayWorld(t *testing.T) *awayWorld {
	t.Helper()
	t.Setenv("GATEHOUSE_TEST_KEY", aKey)
	t.Setenv("GATEHOUSE_TEST_OTHER_KEY", anotherKey)
	server := postgresServer(t)
	url, _, err := server.CreateDatabase("gatehouse_away")
	if err != nil {
		t.Fatal(err)
	}
	return &awayWorld{t: t, server: server, url: url, dir: filepath.Join(t.TempDir(), "copies"), key: "GATEHOUSE_TEST_KEY", now: time.Now}
}

func (w *awayWorld) try(environ ...string) (*app.App, error) {
	w.t.Helper()
	environ = append([]string{"GATEHOUSE_DATABASE_URL=" + w.url, "GATEHOUSE_SECRETS_MASTER_KEY=env:" + w.key}, environ...)
	if w.dir != "" {
		environ = append(environ, "GATEHOUSE_SNAPSHOT_DIR="+w.dir)
	}
	cfg, environ := config(w.t, false, w.t.TempDir(), environ...)
	w.log = &testlog.Buffer{}
	return app.Start(w.t.Context(), cfg, app.Options{Environ: environ, Now: w.now, Log: w.log.Log(slog.LevelInfo)})
}

func (w *awayWorld) start(environ ...string) *app.App {
	w.t.Helper()
	a, err := w.try(environ...)
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

func (w *awayWorld) call(a *app.App, method, path, token, body string) (status int, answer string) {
	w.t.Helper()
	req, err := http.NewRequest(method, a.URL()+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
	res, err := client.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

func (w *awayWorld) want(a *app.App, status int, method, path, token, body string) string {
	w.t.Helper()
	got, answer := w.call(a, method, path, token, body)
	if got != status {
		w.t.Fatalf("%s %s: %d %s, want %d", method, path, got, answer, status)
	}
	return answer
}

// eventually calls once every so often until it answers true.
func (w *awayWorld) eventually(what string, once func() bool) {
	w.t.Helper()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !once() {
		select {
		case <-deadline.C:
			w.t.Fatalf("it never came that %s", what)
		case <-tick.C:
		}
	}
}

// copied waits until the copy on disk holds what a replica serves.
func (w *awayWorld) copied() {
	w.t.Helper()
	w.eventually("the copy is written", func() bool {
		_, err := os.Stat(filepath.Join(w.dir, "snapshot", "snapshot.sealed"))
		return err == nil
	})
}

const chat = `{"model":"main/m","messages":[{"role":"user","content":"hello"}]}`

// settle makes an installation: an administrator, a provider account whose key
// is stored, and two tokens for it, of which the second is revoked again.
func (w *awayWorld) settle() (good, revoked string) {
	w.t.Helper()
	provider := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer sk-stored" {
			rw.WriteHeader(http.StatusUnauthorized)
			return
		}
		rw.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(rw, `{"id":"1","object":"chat.completion","choices":[],"model":"m"}`)
	}))
	w.t.Cleanup(provider.Close)
	file := filepath.Join(w.t.TempDir(), "bootstrap.token")
	a := w.start("GATEHOUSE_BOOTSTRAP_TOKEN_FILE=" + file)
	defer stop(w.t, a)
	text, err := os.ReadFile(a.BootstrapFile())
	if err != nil {
		w.t.Fatal(err)
	}
	boot := strings.TrimSpace(string(text))
	put := func(token, kind, name, body string) {
		w.t.Helper()
		w.want(a, http.StatusCreated, http.MethodPut, "/api/v1/"+kind+"/"+name, token, body)
	}
	put(boot, "virtual-accounts", "ops", `{"apiVersion":"gatehouse.dev/v1","kind":"VirtualAccount","metadata":{"name":"ops"},"spec":{}}`)
	token := func(with, account string) (secret, id string) {
		w.t.Helper()
		var made struct{ ID, Token string }
		answer := w.want(a, http.StatusCreated, http.MethodPost, "/api/v1/virtual-accounts/"+account+"/tokens", with, `{"name":"t","expiresIn":"1d"}`)
		if err := json.Unmarshal([]byte(answer), &made); err != nil || made.Token == "" {
			w.t.Fatalf("%s, %v", answer, err)
		}
		return made.Token, made.ID
	}
	w.admin, _ = token(boot, "ops")
	put(boot, "role-bindings", "ops", `{"apiVersion":"gatehouse.dev/v1","kind":"RoleBinding","metadata":{"name":"ops"},"spec":{"subjects":["virtual-account:ops"],"role":"tenant-admin","resources":["tenant"]}}`)
	put(w.admin, "provider-accounts", "main", `{"apiVersion":"gatehouse.dev/v1","kind":"ProviderAccount","metadata":{"name":"main"},"spec":{"provider":"openai-compatible","baseURL":"`+
		provider.URL+`","credentials":{"apiKey":{"value":"sk-stored"}},"models":[{"name":"m"}]}}`)
	put(w.admin, "virtual-accounts", "bot", `{"apiVersion":"gatehouse.dev/v1","kind":"VirtualAccount","metadata":{"name":"bot"},"spec":{"access":[{"resource":"model:main/m","role":"model-user"}]}}`)
	good, _ = token(w.admin, "bot")
	revoked, id := token(w.admin, "bot")
	for _, t := range []string{good, revoked} {
		w.want(a, http.StatusOK, http.MethodPost, "/v1/chat/completions", t, chat)
	}
	if w.dir != "" {
		w.copied()
	}
	w.want(a, http.StatusNoContent, http.MethodDelete, "/api/v1/virtual-accounts/bot/tokens/"+id, w.admin, "")
	return good, revoked
}

func (w *awayWorld) end(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

const anotherTeam = `{"apiVersion":"gatehouse.dev/v1","kind":"Team","metadata":{"name":"late"},"spec":{}}`

func TestAReplicaStartsWhilePostgreSQLIsAway(t *testing.T) {
	w := newAwayWorld(t)
	good, revoked := w.settle()
	w.end(w.server.Stop())
	a := w.start()
	defer stop(t, a)
	// It serves, with the stored key of the provider, whom it served before.
	w.eventually("the stored key is there", func() bool {
		status, answer := w.call(a, http.MethodPost, "/v1/chat/completions", good, chat)
		if status != http.StatusOK && status != http.StatusServiceUnavailable {
			t.Fatalf("%d %s", status, answer)
		}
		return status == http.StatusOK
	})
	w.want(a, http.StatusUnauthorized, http.MethodPost, "/v1/chat/completions", revoked, chat)
	w.want(a, http.StatusServiceUnavailable, http.MethodPut, "/api/v1/teams/late", w.admin, anotherTeam)
	res, err := http.Get(a.OpsURL() + "/readyz")
	w.end(err)
	text, err := io.ReadAll(res.Body)
	w.end(err)
	w.end(res.Body.Close())
	if res.StatusCode != http.StatusOK || !strings.Contains(string(text), `"database"`) {
		t.Errorf("/readyz: %d %s", res.StatusCode, text)
	}

	w.end(w.server.Run())
	w.eventually("changes are taken again", func() bool {
		status, _ := w.call(a, http.MethodPut, "/api/v1/teams/late", w.admin, anotherTeam)
		return status == http.StatusCreated
	})
	w.want(a, http.StatusOK, http.MethodPost, "/v1/chat/completions", good, chat)
}

// What the settings say is written when the database is back.
func TestManifestsThatWereChangedMeanwhileAreAppliedWhenTheDatabaseIsBack(t *testing.T) {
	w := newAwayWorld(t)
	w.settle()
	w.end(w.server.Stop())
	manifests := t.TempDir()
	const team = "apiVersion: gatehouse.dev/v1\nkind: Team\nmetadata: {name: meanwhile}\nspec: {}\n"
	w.end(os.WriteFile(filepath.Join(manifests, "team.yaml"), []byte(team), 0o600))
	a := w.start("GATEHOUSE_MANIFESTS_DIR=" + manifests)
	defer stop(t, a)
	w.want(a, http.StatusForbidden, http.MethodPost, "/v1/chat/completions", w.admin, `{"model":"main/none","messages":[]}`)
	w.end(w.server.Run())
	w.eventually("the team is there", func() bool {
		status, _ := w.call(a, http.MethodGet, "/api/v1/teams/meanwhile", w.admin, "")
		return status == http.StatusOK
	})
}

func TestSecurityNothingStandsInForADatabaseButAGoodCopy(t *testing.T) {
	w := newAwayWorld(t)
	w.settle()
	w.end(w.server.Stop())
	kept := w.dir
	for _, tc := range []struct {
		name, dir, key, text string
		now                  func() time.Time
	}{
		{name: "no directory", key: "GATEHOUSE_TEST_KEY", text: "GATEHOUSE_DATABASE_URL"},
		{name: "an empty directory", dir: t.TempDir(), key: "GATEHOUSE_TEST_KEY", text: "nor can the copy"},
		{name: "another master key", dir: kept, key: "GATEHOUSE_TEST_OTHER_KEY", text: "nor can the copy"},
		{name: "a day later", dir: kept, key: "GATEHOUSE_TEST_KEY", text: "nor can the copy", now: func() time.Time { return time.Now().Add(25 * time.Hour) }},
	} {
		w.dir, w.key, w.now = tc.dir, tc.key, tc.now
		a, err := w.try()
		if err == nil {
			stop(t, a)
			t.Errorf("%s: started", tc.name)
			continue
		}
		if !strings.Contains(err.Error(), tc.text) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

// A database with another key is not ours, however late it is there: nothing is
// read from it, and nothing written.
func TestSecurityADatabaseOfAnotherKeyIsNotUsedWhenItIsBack(t *testing.T) {
	w := newAwayWorld(t)
	good, _ := w.settle()
	const change = `UPDATE meta SET check_value = 'another'`
	w.end(w.server.Exec("gatehouse_away", `CREATE TABLE kept AS SELECT check_value FROM meta; `+change))
	w.end(w.server.Stop())
	a := w.start()
	defer stop(t, a)
	w.end(w.server.Run())
	w.eventually("the log says why", func() bool { return strings.Contains(w.log.String(), "another master key") })
	w.want(a, http.StatusServiceUnavailable, http.MethodPut, "/api/v1/teams/late", w.admin, anotherTeam)
	w.want(a, http.StatusOK, http.MethodPost, "/v1/chat/completions", good, chat)
	w.end(w.server.Exec("gatehouse_away", `UPDATE meta SET check_value = (SELECT check_value FROM kept)`))
	w.eventually("the right key is taken", func() bool {
		status, _ := w.call(a, http.MethodPut, "/api/v1/teams/late", w.admin, anotherTeam)
		return status == http.StatusCreated
	})
}

// An empty database, as between its making and a restore, is no new installation:
// neither for a replica that starts, nor for one that waits.
func TestSecurityAnEmptyDatabaseIsNotTakenForOurs(t *testing.T) {
	w := newAwayWorld(t)
	good, _ := w.settle()
	w.end(w.server.Exec("postgres", `ALTER DATABASE gatehouse_away RENAME TO kept`))
	w.end(w.server.Exec("postgres", `CREATE DATABASE gatehouse_away`))
	w.end(w.server.Stop())
	a := w.start()
	defer stop(t, a)
	w.end(w.server.Run())
	w.eventually("the log says why", func() bool { return strings.Contains(w.log.String(), "no Gatehouse in it") })
	w.want(a, http.StatusOK, http.MethodPost, "/v1/chat/completions", good, chat)
	other := *w
	other.dir = filepath.Join(t.TempDir(), "copies")
	w.end(os.CopyFS(other.dir, os.DirFS(w.dir)))
	if b, err := other.try(); err == nil {
		stop(t, b)
		t.Error("a replica with a copy began anew")
	} else if !strings.Contains(err.Error(), "GATEHOUSE_DATABASE_URL") || !strings.Contains(err.Error(), "begin anew") {
		t.Error(err)
	}
	w.end(w.server.Exec("postgres", `DROP DATABASE gatehouse_away WITH (FORCE)`))
	w.end(w.server.Exec("postgres", `ALTER DATABASE kept RENAME TO gatehouse_away`))
	w.eventually("the restored one is taken", func() bool {
		status, _ := w.call(a, http.MethodPut, "/api/v1/teams/late", w.admin, anotherTeam)
		return status == http.StatusCreated
	})
}

// A copy is of one history of the database. After a restore there is another,
// whose revisions have the same numbers.
func TestSecurityACopyDoesNotOutliveARestoredDatabase(t *testing.T) {
	for _, away := range []bool{false, true} {
		w := newAwayWorld(t)
		good, _ := w.settle()
		team := func(a *app.App, name string) {
			w.want(a, http.StatusCreated, http.MethodPut, "/api/v1/teams/"+name, w.admin, `{"apiVersion":"gatehouse.dev/v1","kind":"Team","metadata":{"name":"`+name+`"},"spec":{}}`)
		}
		w.end(w.server.Exec("postgres", `CREATE DATABASE backup TEMPLATE gatehouse_away`))
		a := w.start()
		for _, name := range []string{"old-1", "old-2", "old-3"} {
			team(a, name)
		}
		stop(t, a)
		old := w.dir
		w.end(w.server.Exec("postgres", `DROP DATABASE gatehouse_away`))
		w.end(w.server.Exec("postgres", `CREATE DATABASE gatehouse_away TEMPLATE backup`))
		// Another replica starts first. There the token is revoked, and more is written.
		w.dir = filepath.Join(t.TempDir(), "other")
		b := w.start()
		var list struct {
			Items []struct {
				ID        string
				RevokedAt *string
			}
		}
		w.end(json.Unmarshal([]byte(w.want(b, http.StatusOK, http.MethodGet, "/api/v1/virtual-accounts/bot/tokens", w.admin, "")), &list))
		for _, tok := range list.Items {
			if tok.RevokedAt == nil {
				w.want(b, http.StatusNoContent, http.MethodDelete, "/api/v1/virtual-accounts/bot/tokens/"+tok.ID, w.admin, "")
			}
		}
		for _, name := range []string{"new-1", "new-2", "new-3", "new-4", "new-5"} {
			team(b, name)
		}
		w.dir = old
		if !away {
			a = w.start()
		} else {
			w.end(w.server.Stop())
			a = w.start()
			w.want(a, http.StatusOK, http.MethodPost, "/v1/chat/completions", good, chat) // as of its own history
			w.end(w.server.Run())
			w.eventually("the database's history counts", func() bool {
				status, _ := w.call(a, http.MethodPost, "/v1/chat/completions", good, chat)
				return status == http.StatusUnauthorized
			})
		}
		w.want(a, http.StatusUnauthorized, http.MethodPost, "/v1/chat/completions", good, chat)
		stop(t, a)
		stop(t, b)
	}
}

func TestSecurityTwoProcessesDoNotShareADirectoryOfCopies(t *testing.T) {
	w := newAwayWorld(t)
	first := w.start()
	second, err := w.try()
	if err == nil {
		stop(t, second)
		t.Fatal("two replicas write one copy")
	}
	if !strings.Contains(err.Error(), "GATEHOUSE_SNAPSHOT_DIR") || !strings.Contains(err.Error(), "another Gatehouse") {
		t.Error(err)
	}
	stop(t, first)
	stop(t, w.start())
}

func TestTwoProcessesDoNotShareADatabaseInAFile(t *testing.T) {
	dir := t.TempDir()
	start := func() (*app.App, error) {
		cfg, environ := config(t, false, dir)
		return app.Start(t.Context(), cfg, app.Options{Environ: environ})
	}
	first, err := start()
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, first)
	second, err := start()
	if err == nil {
		stop(t, second)
		t.Fatal("two processes write one database")
	}
	if !strings.Contains(err.Error(), "GATEHOUSE_DATABASE_URL") || !strings.Contains(err.Error(), "another Gatehouse") {
		t.Error(err)
	}
}
