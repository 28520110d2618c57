package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/ledger"
	"github.com/gatehouse-ai/gatehouse/internal/store/sqlite"
)

// acknowledged is what the API has answered for.
type acknowledged struct {
	mu              sync.Mutex
	teams           []string
	valid, revoked  []string
	answered        map[string]time.Time // request id → when the chat was answered
	started, killed time.Time
}

func (a *acknowledged) note(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
}

// load writes and chats until ctx ends; what was cut is nobody's promise.
func (a *acknowledged) load(ctx context.Context, t *testing.T, s *server, admin, token string) *sync.WaitGroup {
	var wg sync.WaitGroup
	for w := range 2 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				name := fmt.Sprintf("w%d-%d", w, i)
				res := send(t, http.MethodPost, s.url+"/api/v1/apply", admin, docs(team(name), team(name+"-b")), "Content-Type", "application/yaml")
				if res.status == 200 {
					a.note(func() { a.teams = append(a.teams, name, name+"-b") })
				}
			}
		})
		wg.Go(func() {
			for ctx.Err() == nil {
				if res := chat(t, s.url, token, "slow/small"); res.status == 200 {
					a.note(func() { a.answered[res.header.Get("X-Request-Id")] = time.Now() })
				}
			}
		})
	}
	wg.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			a.token(t, s, admin, i)
		}
	})
	return &wg
}

// token makes a token, uses it, and revokes every other one.
func (a *acknowledged) token(t *testing.T, s *server, admin string, i int) {
	res := send(t, http.MethodPost, s.url+"/api/v1/virtual-accounts/bot/tokens", admin, `{"name":"t"}`)
	var made struct{ Token, ID string }
	if res.status != http.StatusCreated || json.Unmarshal([]byte(res.body), &made) != nil {
		return
	}
	if i%2 == 0 {
		a.note(func() { a.valid = append(a.valid, made.Token) })
		return
	}
	_ = chat(t, s.url, made.Token, "slow/small")
	if res := send(t, http.MethodDelete, s.url+"/api/v1/virtual-accounts/bot/tokens/"+made.ID, admin, ""); res.status == http.StatusNoContent {
		a.note(func() { a.revoked = append(a.revoked, made.Token) })
	}
}

func TestSecurityAcknowledgedChangesSurviveKillDashNine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := serve(t, onData(dir), dir, "serve")
	admin := s.admin(t)
	applyTo(t, s.url, admin, docs(echoAccount("slow", ""), bot))
	token, _ := newToken(t, s.url, admin, "/api/v1/virtual-accounts/bot/tokens", `{"name":"load"}`)
	for round := range 2 {
		a := &acknowledged{answered: map[string]time.Time{}, started: time.Now()}
		ctx, stop := context.WithCancel(t.Context())
		wg := a.load(ctx, t, s, admin, token)
		eventually(t, 20*time.Second, "there is something to lose", func() bool {
			a.mu.Lock()
			defer a.mu.Unlock()
			return len(a.teams) >= 40 && len(a.valid) >= 10 && len(a.revoked) >= 10 && len(a.answered) >= 100 && time.Since(a.started) > 2*recordSlack
		})
		a.killed = time.Now()
		s.kill()
		stop()
		wg.Wait()
		a.records(t, dir)
		s = serve(t, onData(dir), dir, "serve")
		admin = s.admin(t) // there is still no admin: a new one-time token
		a.check(t, s, admin, token)
		t.Logf("round %d: killed after %s: %d teams, %d tokens, %d revocations, %d answers", round, a.killed.Sub(a.started).Round(time.Millisecond),
			len(a.teams), len(a.valid), len(a.revoked), len(a.answered))
	}
}

// recordSlack is how old an answer must be for its record to be there: the
// ledger's interval, and a second to write a batch on a busy machine.
const recordSlack = ledger.DefaultInterval + time.Second

// records looks into the database before a start could repair anything: it is
// whole, and only the records of the last batches are missing.
func (a *acknowledged) records(t *testing.T, dir string) {
	t.Helper()
	db, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(dir, "gatehouse.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if err := db.Integrity(t.Context()); err != nil {
		t.Errorf("integrity: %v", err)
	}
	list, err := db.AllRequests(t.Context(), 1_000_000)
	if err != nil {
		t.Fatal(err)
	}
	written := map[string]bool{}
	for i := range list {
		written[list[i].ID] = true
	}
	// The newest 10 000 are listed, which a fast machine exceeds; what is older is counted only.
	kept, err := db.CountRequests(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var since time.Time
	if kept > int64(len(list)) {
		since = list[len(list)-1].At.Add(time.Second)
	}
	lost, oldest := 0, time.Duration(0)
	for id, at := range a.answered {
		if !written[id] && at.After(since) {
			lost, oldest = lost+1, max(oldest, a.killed.Sub(at))
		}
	}
	t.Logf("records lost: %d of %d, the oldest answered %s before the end", lost, len(a.answered), oldest.Round(time.Millisecond))
	if kept < int64(len(a.answered)-lost) {
		t.Errorf("%d records are kept of %d answers, of which the last %d may be lost", kept, len(a.answered), lost)
	}
	if oldest > recordSlack {
		t.Errorf("a record is lost whose answer was %s before the end; %s is promised", oldest, ledger.DefaultInterval)
	}
}

func (a *acknowledged) check(t *testing.T, s *server, admin, token string) {
	t.Helper()
	for _, name := range a.teams {
		if res := send(t, http.MethodGet, s.url+"/api/v1/teams/"+name, admin, ""); res.status != 200 {
			t.Errorf("acknowledged team %s: %d", name, res.status)
		}
	}
	for _, tok := range append(a.valid, token) {
		if res := send(t, http.MethodGet, s.url+"/v1/models", tok, ""); res.status != 200 {
			t.Errorf("acknowledged token: %d %s", res.status, res.body)
		}
	}
	for _, tok := range a.revoked {
		if res := send(t, http.MethodGet, s.url+"/v1/models", tok, ""); res.status != 401 {
			t.Errorf("revoked token: %d %s", res.status, res.body)
		}
	}
}
