package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/app/settings"
	"github.com/gatehouse-ai/gatehouse/internal/manifest"
)

// seen is a request as the server saw it.
type seen struct {
	method, uri, auth, media, body string
}

// world is a server that answers what the test says, and a command line.
type world struct {
	*httptest.Server
	requests []seen
	stdin    string
	environ  []string
}

func newWorld(t *testing.T, answer func(w http.ResponseWriter, r *http.Request)) *world {
	t.Helper()
	s := &world{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		s.requests = append(s.requests, seen{r.Method, r.URL.RequestURI(), r.Header.Get("Authorization"), r.Header.Get("Content-Type"), string(b)})
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	s.environ = []string{"GATEHOUSE_URL=" + s.URL, "GATEHOUSE_TOKEN=gtp_mine"}
	return s
}

func (s *world) run(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	status = run(t.Context(), args, process{in: strings.NewReader(s.stdin), out: &out, err: &errs, environ: s.environ})
	return status, out.String(), errs.String()
}

func says(status int, body string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const account = `apiVersion: gatehouse.dev/v1
kind: ProviderAccount
metadata: {name: openai-main}
spec:
  provider: openai
  credentials: {apiKey: {value: sk-hunter2}}  # a comment
`

func TestApplySendsEverythingInOneCallWithSecretsInClear(t *testing.T) {
	s := newWorld(t, says(200, `{"results": [{"kind": "Team", "name": "research", "action": "created", "diff": "+x\n"}], "warnings": ["mind this"]}`))
	dir := write(t, map[string]string{
		"a.yaml":      account + "---\napiVersion: gatehouse.dev/v1\nkind: Team\nmetadata: {name: research}\nspec: {members: [lead@example.com]}\n",
		"b/rules.yml": "authz_rules:\n- models: [openai-main/gpt-4o]\n  users: [lead@example.com]\n",
		"c.json":      "{\n\t\"apiVersion\": \"gatehouse.dev/v1\",\n\t\"kind\": \"ProviderAccount\",\n\t\"metadata\": {\"name\": \"second\"},\n\t\"spec\": {\"provider\": \"openai\", \"credentials\": {\"apiKey\": {\"value\": \"sk-two\"}}}\n}\n",
		"README.md":   "not a manifest",
	})
	status, out, errs := s.run(t, "apply", "-f", dir, "--dry-run", "--prune", "--take-over", "--manager", "ci")
	if status != 0 || len(s.requests) != 1 {
		t.Fatal(status, errs, s.requests)
	}
	r := s.requests[0]
	if want := "/api/v1/apply?dryRun=true&manager=ci&prune=true&takeOver=true"; r.uri != want || r.method != "POST" || r.media != "application/yaml" || r.auth != "Bearer gtp_mine" {
		t.Errorf("%+v", r)
	}
	docs, err := manifest.Parse("", []byte(r.body))
	if err != nil {
		t.Fatalf("%v\n%s", err, r.body)
	}
	var got []string
	for _, d := range docs {
		m := d.Resource.Meta().Name
		if a, ok := d.Resource.(*v1.ProviderAccount); ok {
			m += "=" + a.Spec.Credentials.APIKey.Value.Reveal()
		}
		got = append(got, m)
	}
	if d := cmp.Diff([]string{"openai-main=sk-hunter2", "research", "rules", "second=sk-two"}, got); d != "" {
		t.Errorf("%s\n%s", d, r.body)
	}
	if out != "team/research created (dry run)\n+x\n" || errs != "gatehouse: warning: mind this\n" {
		t.Errorf("%q %q", out, errs)
	}
}

func TestApplyReadsStandardInput(t *testing.T) {
	s := newWorld(t, says(200, `{"results": []}`))
	s.stdin = account
	if status, _, errs := s.run(t, "apply", "-f", "-"); status != 0 || !strings.Contains(s.requests[0].body, "value: sk-hunter2") || !strings.Contains(s.requests[0].uri, "manager=default") {
		t.Error(status, errs, s.requests)
	}
}

func TestApplySendsNothingWhereOneManifestIsWrong(t *testing.T) {
	s := newWorld(t, says(200, `{}`))
	dir := write(t, map[string]string{"good.yaml": account, "wrong.yaml": strings.Replace(account, "provider: openai\n", "provider: opnai\n", 1), "twice.yaml": account})
	status, _, errs := s.run(t, "apply", "-f", dir)
	if status != 2 || len(s.requests) != 0 || !strings.Contains(errs, "wrong.yaml:5:13: spec.provider: ") || strings.Contains(errs, "hunter2") {
		t.Error(status, errs, s.requests)
	}
	status, _, errs = s.run(t, "apply", "-f", filepath.Join(dir, "good.yaml"), "-f", filepath.Join(dir, "twice.yaml"))
	if status != 2 || len(s.requests) != 0 || !strings.Contains(errs, "already") {
		t.Error(status, errs, s.requests)
	}
}

func TestRefusalsOfTheServerAreFailuresOfOneLineEach(t *testing.T) {
	for _, c := range []struct {
		status int
		body   string
		want   string
	}{
		{403, `{"code": "permission_denied", "detail": "you may not", "permission": "team:update"}`, "gatehouse: you may not (403 permission_denied, needs team:update)\n"},
		{409, `{"code": "managed_by", "detail": "dir writes it"}`, "gatehouse: dir writes it (409 managed_by)\n"},
		{400, `{"code": "invalid_manifest", "detail": "the manifest is not right", "errors": [{"path": "spec.a", "message": "is wrong"}, {"message": "so is this"}]}`, "gatehouse: spec.a: is wrong\ngatehouse: so is this\n"},
		{500, `{"code": "internal_error", "detail": "internal error", "requestId": "abc"}`, "gatehouse: internal error (500 internal_error, request abc)\n"},
		{502, `<html>`, "gatehouse: the server answered 502 Bad Gateway, which is not an answer of Gatehouse's control API (502 unexpected_answer)\n"},
	} {
		s := newWorld(t, says(c.status, c.body))
		status, out, errs := s.run(t, "get", "teams")
		if status != 1 || out != "" || errs != c.want {
			t.Errorf("%d: %d %q %q", c.status, status, out, errs)
		}
	}
}

func TestSecurityRedirectsAreNotFollowed(t *testing.T) {
	other := newWorld(t, says(200, `{}`))
	s := newWorld(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
	})
	s.stdin = account
	if status, _, errs := s.run(t, "apply", "-f", "-"); status != 1 || len(other.requests) != 0 || !strings.Contains(errs, "307") {
		t.Error(status, errs, other.requests)
	}
}

const team = `{"apiVersion": "gatehouse.dev/v1", "kind": "Team", "metadata": {"name": "%s", "uid": "u", "resourceVersion": "7", "generation": 2, "creationTimestamp": "2026-01-02T03:04:05Z", "manager": "api"}, "spec": {"members": ["a@example.com"]}}`

func TestGetShowsEveryPageInEveryForm(t *testing.T) {
	answer := func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/api/v1/teams/one":
			_, _ = fmt.Fprintf(w, team, "one")
		case r.URL.Query().Get("cursor") == "":
			_, _ = fmt.Fprintf(w, `{"items": [`+team+`], "total": 2, "nextCursor": "more"}`, "one")
		default:
			_, _ = fmt.Fprintf(w, `{"items": [`+team+`], "total": 2}`, "two")
		}
	}
	s := newWorld(t, answer)
	status, out, errs := s.run(t, "get", "Team")
	want := "NAME   MANAGER   GENERATION   CREATED\none    api       2            2026-01-02T03:04:05Z\ntwo    api       2            2026-01-02T03:04:05Z\n"
	if status != 0 || out != want {
		t.Errorf("%d %s\n%s", status, errs, out)
	}
	_, out, _ = s.run(t, "get", "teams", "-o", "yaml")
	if docs := strings.Split(out, "---\n"); len(docs) != 2 || !strings.HasPrefix(docs[0], "apiVersion: gatehouse.dev/v1\nkind: Team\nmetadata:\n  name: one\n") {
		t.Error(out)
	}
	_, out, _ = s.run(t, "get", "team", "-o", "json")
	var list struct{ Items []v1.Team }
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list.Items) != 2 {
		t.Error(err, out)
	}
	_, out, _ = s.run(t, "get", "team", "one", "-o", "json")
	var one v1.Team
	if err := json.Unmarshal([]byte(out), &one); err != nil || one.Name != "one" || one.UID != "u" {
		t.Error(err, out)
	}
}

func TestDeleteNamesTheResource(t *testing.T) {
	s := newWorld(t, says(204, ""))
	status, out, _ := s.run(t, "delete", "team", "one", "--take-over")
	if r := s.requests[0]; status != 0 || out != "team/one deleted\n" || r.method != "DELETE" || r.uri != "/api/v1/teams/one?takeOver=true" {
		t.Error(status, out, r)
	}
}

const connection = `{"apiVersion": "gatehouse.dev/v1", "kind": "SsoConnection", "metadata": {"name": "okta", "uid": "u"}, "spec": {}, "status": {"redirectURI": "https://g.example/sso/okta/callback"}}`

func TestGetShowsWhatTheProviderMustBeTold(t *testing.T) {
	s := newWorld(t, says(200, connection))
	_, out, errs := s.run(t, "get", "sso-connections", "okta", "-o", "yaml")
	if !strings.HasSuffix(out, "status:\n  redirectURI: https://g.example/sso/okta/callback\n") {
		t.Error(out, errs)
	}
	if _, out, _ = s.run(t, "get", "sso-connections", "okta", "-o", "json"); !strings.Contains(out, `"redirectURI": "https://g.example/sso/okta/callback"`) {
		t.Error(out)
	}
}

func TestExportCanBeAppliedElsewhere(t *testing.T) {
	s := newWorld(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/v1/teams" {
			_, _ = fmt.Fprintf(w, `{"items": [`+team+`]}`, "one")
			return
		}
		if r.URL.Path == "/api/v1/sso-connections" {
			_, _ = io.WriteString(w, `{"items": [`+connection+`]}`)
			return
		}
		_, _ = io.WriteString(w, `{"items": []}`)
	})
	status, out, errs := s.run(t, "export")
	if status != 0 {
		t.Fatal(errs)
	}
	docs, err := manifest.Parse("", []byte(out))
	if err != nil || len(docs) != 2 {
		t.Fatal(err, out)
	}
	for _, word := range []string{"uid", "resourceVersion", "generation", "creationTimestamp", "manager", "status"} {
		if strings.Contains(out, word+":") {
			t.Errorf("%s is exported:\n%s", word, out)
		}
	}
}

const explanation = `{"allowed": false, "reason": "no_grant", "steps": [{"stage": "credential", "ok": true, "message": "a JWT"}, {"stage": "resource", "ok": false, "message": "nothing gives it"}]}`

func TestExplainPrintsEachStepAndTheAnswer(t *testing.T) {
	s := newWorld(t, says(200, explanation))
	s.stdin = "eyJ.theirs.x\n"
	status, out, _ := s.run(t, "explain", "--token-file", "-", "--model", "openai/gpt-4o")
	want := "ok  credential         a JWT\nno  resource           nothing gives it\ndenied: no_grant\n"
	if status != 0 || out != want {
		t.Errorf("%d\n%s", status, out)
	}
	r := s.requests[0]
	var q map[string]string
	if err := json.Unmarshal([]byte(r.body), &q); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]string{"token": "eyJ.theirs.x", "model": "openai/gpt-4o"}, q); d != "" || r.auth != "Bearer gtp_mine" || r.uri != "/api/v1/access:explain" {
		t.Error(d, r)
	}
	s.environ = s.environ[:1] // without a token of our own, the explained one asks for itself
	if s.run(t, "explain", "--token-file", "-", "--model", "openai/gpt-4o"); s.requests[1].auth != "Bearer eyJ.theirs.x" {
		t.Error(s.requests[1])
	}
	s.environ = append(s.environ, "GATEHOUSE_TOKEN=gtp_mine")
	if s.run(t, "explain", "--as", "user:a@example.com", "--model", "openai/gpt-4o"); s.requests[2].body != `{"as":"user:a@example.com","model":"openai/gpt-4o"}` {
		t.Error(s.requests[2])
	}
}

func TestTokenCreatePrintsTheTokenAlone(t *testing.T) {
	s := newWorld(t, says(201, `{"id": "t1", "expiresAt": "2026-06-01T00:00:00Z", "token": "gtp_new"}`))
	status, out, errs := s.run(t, "token", "create", "--name", "laptop", "--expires-in", "30d", "--model", "openai/*", "--cidr", "10.0.0.0/8")
	if status != 0 || out != "gtp_new\n" || !strings.Contains(errs, "t1") {
		t.Error(status, out, errs)
	}
	want := `{"name":"laptop","expiresIn":"30d","narrowing":{"models":["openai/*"],"cidr":["10.0.0.0/8"]}}`
	if r := s.requests[0]; r.uri != "/api/v1/me/tokens" || r.body != want {
		t.Error(r)
	}
	if s.run(t, "token", "create", "--name", "bot", "--virtual-account", "booking-bot"); s.requests[1].uri != "/api/v1/virtual-accounts/booking-bot/tokens" || s.requests[1].body != `{"name":"bot"}` {
		t.Error(s.requests[1])
	}
}

func TestTestSignInPrintsTheLinkAlone(t *testing.T) {
	s := newWorld(t, says(201, `{"url": "https://gatehouse.example.com/sso/corp/login?test=x", "expiresAt": "2026-06-01T00:00:00Z"}`))
	status, out, errs := s.run(t, "test-sign-in", "corp")
	if status != 0 || out != "https://gatehouse.example.com/sso/corp/login?test=x\n" || !strings.Contains(errs, "before 2026-06-01") {
		t.Error(status, out, errs)
	}
	if r := s.requests[0]; r.uri != "/api/v1/sso-connections/corp/test-sign-ins" || r.body != "" {
		t.Error(r)
	}
	if status, _, errs := s.run(t, "test-sign-in", "Not/A/Name"); status != 2 || !strings.Contains(errs, "not the name of a resource") || len(s.requests) != 1 {
		t.Error(status, errs)
	}
}

func TestWhoamiSaysWhoAndHow(t *testing.T) {
	s := newWorld(t, says(200, `{"kind": "user", "name": "a@example.com", "via": "jwt", "identityProvider": "dev", "admin": true, "subjects": ["user:a@example.com", "team:everyone"], "teams": [{"name": "everyone"}]}`))
	_, out, _ := s.run(t, "whoami")
	if want := "user:a@example.com\nvia       jwt of dev\nsubjects  user:a@example.com, team:everyone\nteams     everyone\nadmin     yes\n"; out != want {
		t.Error(out)
	}
}

func TestTheTokenFileWinsOverTheEnvironment(t *testing.T) {
	s := newWorld(t, says(200, `{"items": []}`))
	file := filepath.Join(write(t, map[string]string{"token": " gtp_file\n"}), "token")
	if s.run(t, "get", "teams", "--token-file", file); s.requests[0].auth != "Bearer gtp_file" {
		t.Error(s.requests[0])
	}
}

func TestServeRunsTheServerWithItsSettings(t *testing.T) {
	for _, c := range []struct {
		args   []string
		dev    bool
		err    error
		status int
		want   string
	}{
		{[]string{"serve", "--server-address", "127.0.0.1:1", "--ops-pprof", "--secrets-allow-env", "A", "--secrets-allow-env", "B,C"}, false, nil, 0, ""},
		{[]string{"dev"}, true, nil, 0, ""},
		{[]string{"serve"}, false, errors.New("port in use"), 1, "gatehouse: port in use\n"},
		{[]string{"serve"}, false, fmt.Errorf("start: %w", &settings.Error{Setting: "X", Message: "is wrong"}), 2, "gatehouse: start: X: is wrong\n"},
	} {
		var cfg settings.Settings
		var o serveOptions
		var errs bytes.Buffer
		p := process{out: io.Discard, err: &errs, environ: []string{"OPENAI_API_KEY=k"}, serve: func(ctx context.Context, s settings.Settings, opt serveOptions) error {
			cfg, o = s, opt
			return c.err
		}}
		status := run(t.Context(), c.args, p)
		if status != c.status || o.dev != c.dev || errs.String() != c.want || o.log == nil || len(o.environ) != 1 {
			t.Errorf("%v: %d %q %+v", c.args, status, errs.String(), o)
		}
		if len(c.args) > 1 && (cfg.Server.Address != "127.0.0.1:1" || !cfg.Ops.Pprof || fmt.Sprint(cfg.Secrets.AllowEnv) != "[A B C]") {
			t.Errorf("%+v", cfg)
		}
	}
}
