package testkit

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/app"
	"github.com/gatehouse-ai/gatehouse/internal/app/settings"
	"github.com/gatehouse-ai/gatehouse/internal/testkit/testlog"
)

// Options say what to start.
type Options struct {
	// Dev starts `gatehouse dev` and not `gatehouse serve`.
	Dev bool
	// Dir is the data directory. Default: a new one.
	Dir string
	// Environ are environment variables besides addresses and the database.
	Environ []string
	// PollOnly is app.Options'.
	PollOnly bool
	// Manifests are applied with the bootstrap token as soon as it runs.
	Manifests string
}

// Gatehouse is a running App and its data directory.
type Gatehouse struct {
	*app.App
	// Dir is the data directory.
	Dir string
	// Admin is the bootstrap token; empty under dev or with an admin present.
	Admin string

	opt Options
	log *testlog.Buffer
	out *testlog.Buffer
}

// Start brings up Gatehouse and takes it down when the test ends. Its log is
// shown where the test fails.
func Start(t testing.TB, opt Options) *Gatehouse {
	t.Helper()
	if opt.Dir == "" {
		opt.Dir = t.TempDir()
	}
	g := &Gatehouse{Dir: opt.Dir, opt: opt, log: &testlog.Buffer{}, out: &testlog.Buffer{}}
	g.start(t)
	t.Cleanup(func() {
		g.Stop(t)
		if t.Failed() {
			t.Log(g.log.String())
		}
	})
	if opt.Manifests != "" {
		g.Apply(t, opt.Manifests)
	}
	return g
}

func (g *Gatehouse) start(t testing.TB) {
	t.Helper()
	environ := append([]string{
		"GATEHOUSE_SERVER_ADDRESS=127.0.0.1:0", "GATEHOUSE_OPS_ADDRESS=127.0.0.1:0", "GATEHOUSE_DEV_ADDRESS=127.0.0.1:0",
		"GATEHOUSE_DATABASE_URL=sqlite://" + filepath.Join(g.Dir, "gatehouse.db"),
	}, g.opt.Environ...)
	load := settings.Load
	if g.opt.Dev {
		load = settings.LoadDev
	}
	cfg, _, err := load(nil, environ, "")
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(g.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	g.App, err = app.Start(context.WithoutCancel(t.Context()), cfg, app.Options{Dev: g.opt.Dev, Environ: environ, Log: log, Out: g.out, PollOnly: g.opt.PollOnly})
	if err != nil {
		t.Fatal(err)
	}
	if file := g.BootstrapFile(); file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		g.Admin = strings.TrimSpace(string(b))
	}
}

// Stop takes it down in an orderly way; it may be called more than once.
func (g *Gatehouse) Stop(t testing.TB) {
	t.Helper()
	if g.App == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := g.App.Stop(ctx); err != nil {
		t.Error(err)
	}
	g.App = nil
}

// Restart stops it and starts it again on the same data, on other ports.
func (g *Gatehouse) Restart(t testing.TB) {
	t.Helper()
	g.Stop(t)
	g.start(t)
}

// Log returns what the process has logged so far.
func (g *Gatehouse) Log() string { return g.log.String() }

// Out returns what the process has told whoever started it.
func (g *Gatehouse) Out() string { return g.out.String() }

// Apply applies manifests with the admin's token and fails the test where they
// are refused.
func (g *Gatehouse) Apply(t testing.TB, yaml string) {
	t.Helper()
	res := g.Do(t, Request{Method: http.MethodPost, Path: "/api/v1/apply", Token: g.Admin, Body: yaml, Header: http.Header{"Content-Type": {"application/yaml"}}})
	if res.Status != http.StatusOK {
		t.Fatalf("apply: %d %s", res.Status, res.Body)
	}
}

// Request is one request to Gatehouse.
type Request struct {
	Method string // default GET, or POST with a body
	Path   string
	Token  string
	Body   string
	Header http.Header // besides Authorization and Content-Type: application/json
}

// Response is the whole answer.
type Response struct {
	Status int
	Header http.Header
	Body   string
}

// JSON decodes the body.
func (r Response) JSON(t testing.TB, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.Body), into); err != nil {
		t.Fatalf("%v: %s", err, r.Body)
	}
}

// Do sends a request and reads the answer.
func (g *Gatehouse) Do(t testing.TB, q Request) Response {
	t.Helper()
	if q.Method == "" {
		q.Method = http.MethodGet
		if q.Body != "" {
			q.Method = http.MethodPost
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), q.Method, g.URL()+q.Path, strings.NewReader(q.Body))
	if err != nil {
		t.Fatal(err)
	}
	if q.Body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for k, v := range q.Header {
		req.Header[k] = v
	}
	if q.Token != "" {
		req.Header.Set("Authorization", "Bearer "+q.Token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return Response{Status: res.StatusCode, Header: res.Header, Body: string(body)}
}

// Chat asks a model one question.
func (g *Gatehouse) Chat(t testing.TB, token, model string) Response {
	t.Helper()
	return g.Do(t, Request{Path: "/v1/chat/completions", Token: token, Body: `{"model":"` + model + `","messages":[{"role":"user","content":"Who is asking?"}]}`})
}

// Models lists the models that a token may use, with spaces between.
func (g *Gatehouse) Models(t testing.TB, token string) string {
	t.Helper()
	res := g.Do(t, Request{Path: "/v1/models", Token: token})
	var list struct {
		Data []struct {
			ID string `json:"id"`
		} `json:"data"`
	}
	res.JSON(t, &list)
	ids := make([]string, 0, len(list.Data))
	for _, m := range list.Data {
		ids = append(ids, m.ID)
	}
	return strings.Join(ids, " ")
}

// DevToken gets a token of one of the two users of gatehouse dev.
func (g *Gatehouse) DevToken(t testing.TB, user string) string {
	t.Helper()
	res, err := http.Get(g.IDPURL() + "/dev/token?user=" + user)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("token of %s: %d %s %v", user, res.StatusCode, b, err)
	}
	return strings.TrimSpace(string(b))
}
