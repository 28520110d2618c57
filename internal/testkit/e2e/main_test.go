package e2e

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/devidp"
	"github.com/gatehouse-ai/gatehouse/internal/testkit"
	"github.com/gatehouse-ai/gatehouse/internal/testkit/testlog"
)

// built is the binary of this run: GATEHOUSE_TEST_BINARY, or one that the
// first test which needs it builds. TestMain removes it.
var built = sync.OnceValues(func() (string, error) {
	if b := os.Getenv("GATEHOUSE_TEST_BINARY"); b != "" {
		return b, nil
	}
	dir, err := os.MkdirTemp("", "gatehouse-e2e-")
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "gatehouse")
	build := exec.Command("go", "build", "-trimpath", "-o", file, "./cmd/gatehouse")
	build.Dir = root
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // as make build has it, whose cache is used
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return file, nil
})

// root is the top of the repository, seen from here.
const root = "../../.."

func TestMain(m *testing.M) {
	code := m.Run()
	if os.Getenv("GATEHOUSE_TEST_BINARY") == "" && asked.Load() {
		if b, err := built(); err == nil {
			_ = os.RemoveAll(filepath.Dir(b)) // it lies among the temporary files
		}
	}
	os.Exit(code)
}

// asked says that a test has wanted the binary, so that there is one to remove.
var asked atomic.Bool

func binary(t testing.TB) string {
	t.Helper()
	asked.Store(true)
	b, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// quietEnv is an environment without anything of Gatehouse's or a provider's.
func quietEnv(home string, more ...string) []string {
	return append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + os.TempDir(), "LANG=C"}, more...)
}

// onData are the variables of a server on a data directory and free ports.
func onData(dir string, more ...string) []string {
	return quietEnv(dir, append([]string{
		"GATEHOUSE_SERVER_ADDRESS=127.0.0.1:0", "GATEHOUSE_OPS_ADDRESS=127.0.0.1:0", "GATEHOUSE_LOG_FORMAT=text",
		"GATEHOUSE_DATABASE_URL=sqlite://" + filepath.Join(dir, "gatehouse.db"),
	}, more...)...)
}

// cli runs a command to its end.
func cli(t testing.TB, environ []string, dir, stdin string, args ...string) (code int, out, errs string) {
	t.Helper()
	program := binary(t) // building it has its own time
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, program, args...)
	var o, e bytes.Buffer
	c.Dir, c.Env, c.Stdin, c.Stdout, c.Stderr = dir, environ, strings.NewReader(stdin), &o, &e
	err := c.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && ctx.Err() == nil {
		return exit.ExitCode(), o.String(), e.String()
	}
	if err != nil {
		t.Fatalf("gatehouse %s: %v\n%s%s", strings.Join(args, " "), err, o.String(), e.String())
	}
	return 0, o.String(), e.String()
}

// server is a Gatehouse in a process of its own.
type server struct {
	cmd          *exec.Cmd
	url, opsURL  string
	bootstrap    string // the file of the one-time token
	welcome, log *testlog.Buffer
	exited       chan struct{}
	code         int
}

var (
	announcedURL   = regexp.MustCompile(`gateway, control API, console:?\s+(http\S+)`)
	announcedOps   = regexp.MustCompile(`metrics, readiness:?\s+(http\S+)`)
	announcedToken = regexp.MustCompile(`one-time admin token[^:]*: (\S+)`)
)

// serve starts a server and returns when it answers. It is killed when the
// test ends.
func serve(t testing.TB, environ []string, dir string, args ...string) *server {
	t.Helper()
	s := &server{cmd: exec.Command(binary(t), args...), welcome: &testlog.Buffer{}, log: &testlog.Buffer{}, exited: make(chan struct{})}
	s.cmd.Dir, s.cmd.Env, s.cmd.Stdout, s.cmd.Stderr = dir, environ, s.welcome, s.log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.exited)
		_ = s.cmd.Wait()
		s.code = s.cmd.ProcessState.ExitCode()
	}()
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			t.Logf("%s\n%s", s.welcome, s.log)
		}
	})
	eventually(t, 20*time.Second, "the server answers", func() bool {
		select {
		case <-s.exited:
			t.Fatalf("gatehouse %s ended with %d:\n%s%s", strings.Join(args, " "), s.code, s.welcome, s.log)
		default:
		}
		return s.announce() && send(t, http.MethodGet, s.url+"/readyz", "", "").status == http.StatusOK
	})
	return s
}

// announce reads where the server says that it is.
func (s *server) announce() bool {
	text := s.welcome.String()
	u, o := announcedURL.FindStringSubmatch(text), announcedOps.FindStringSubmatch(text)
	if u == nil || o == nil {
		return false
	}
	s.url, s.opsURL = u[1], o[1]
	if tok := announcedToken.FindStringSubmatch(text); tok != nil {
		s.bootstrap = tok[1]
	}
	return true
}

// admin returns the one-time token.
func (s *server) admin(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile(s.bootstrap)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// kill ends the process the hard way.
func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	<-s.exited
}

// terminate asks the process to stop and returns its exit status.
func (s *server) terminate(t testing.TB, limit time.Duration) int {
	t.Helper()
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	return s.wait(t, limit)
}

func (s *server) wait(t testing.TB, limit time.Duration) int {
	t.Helper()
	select {
	case <-s.exited:
		return s.code
	case <-time.After(limit):
		t.Fatalf("the server has not ended after %s\n%s", limit, s.log)
		return -1
	}
}

// eventually asks until it is so, and returns how long that took; what it waits
// for happens elsewhere, so that only asking tells. It asks every 10 ms, and
// more seldom what takes long: by a tenth of it, and not beyond 200 ms.
func eventually(t testing.TB, limit time.Duration, what string, so func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !so() {
		waited := time.Since(began)
		if waited > limit {
			t.Fatalf("not within %s: %s", limit, what)
		}
		<-time.After(min(max(waited/10, 10*time.Millisecond), 200*time.Millisecond))
	}
	return time.Since(began)
}

// reply is a whole answer.
type reply struct {
	status int
	header http.Header
	body   string
}

// send does one request; a connection that fails is status 0.
func send(t testing.TB, method, url, token, body string, header ...string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	if err != nil {
		return reply{body: err.Error()}
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return reply{body: err.Error()}
	}
	return reply{res.StatusCode, res.Header, string(b)}
}

// ops is a page of the operator's listener.
func ops(t *testing.T, g *testkit.Gatehouse, path string) string {
	t.Helper()
	return send(t, http.MethodGet, g.OpsURL()+path, "", "").body
}

// applyTo applies manifests over HTTP and fails where they are refused.
func applyTo(t testing.TB, url, token, yaml string, query ...string) reply {
	t.Helper()
	r := send(t, http.MethodPost, url+"/api/v1/apply?"+strings.Join(query, "&"), token, yaml, "Content-Type", "application/yaml")
	if r.status != http.StatusOK {
		t.Fatalf("apply: %d %s", r.status, r.body)
	}
	return r
}

func chatBody(model, text string) string {
	return fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":%q}]}`, model, text)
}

func chat(t testing.TB, url, token, model string) reply {
	t.Helper()
	return send(t, http.MethodPost, url+"/v1/chat/completions", token, chatBody(model, "Who is asking?"))
}

// stream is an answer that is still coming.
type stream struct {
	res   *http.Response
	lines *bufio.Scanner
}

// openStream asks for a stream and returns after its first event.
func openStream(t testing.TB, url, token, model, text string) *stream {
	t.Helper()
	body := strings.Replace(chatBody(model, text), "{", `{"stream":true,`, 1)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(res.Body)
		t.Fatalf("stream: %d %s", res.StatusCode, b)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	s := &stream{res, bufio.NewScanner(res.Body)}
	for s.lines.Scan() {
		if strings.HasPrefix(s.lines.Text(), "data:") {
			return s
		}
	}
	t.Fatal("the stream ended before its first event")
	return nil
}

// rest reads to the end, however the stream ends.
func (s *stream) rest() string {
	var b strings.Builder
	for s.lines.Scan() {
		b.WriteString(s.lines.Text() + "\n")
	}
	return b.String()
}

// company is somebody's identity provider on loopback.
type company struct {
	*devidp.Provider
	t testing.TB
}

func newCompany(t testing.TB, emails ...string) *company {
	t.Helper()
	srv := httptest.NewUnstartedServer(nil)
	users := make([]devidp.User, 0, len(emails))
	for _, e := range emails {
		users = append(users, devidp.User{Email: e, Name: e, Password: "x"})
	}
	p, err := devidp.New(devidp.Options{Issuer: "http://" + srv.Listener.Addr().String(), Users: users})
	if err != nil {
		t.Fatal(err)
	}
	srv.Config.Handler = p.Handler()
	srv.Start()
	t.Cleanup(srv.Close)
	return &company{p, t}
}

func (c *company) token(email string, o devidp.MintOptions) string {
	c.t.Helper()
	tok, err := c.Mint(email, o)
	if err != nil {
		c.t.Fatal(err)
	}
	return tok
}

// manifest is the company as an IdentityProvider that creates its people.
func (c *company) manifest(name string) string {
	return `apiVersion: gatehouse.dev/v1
kind: IdentityProvider
metadata: {name: ` + name + `}
spec:
  issuer: ` + c.Issuer() + `
  audiences: [gatehouse]
  linkBy: email
  emailDomains: ["*"]
  resolve: {users: create}
`
}

// adminBinding makes somebody a tenant admin.
func adminBinding(email string) string {
	return `apiVersion: gatehouse.dev/v1
kind: RoleBinding
metadata: {name: admins}
spec: {subjects: ["user:` + email + `"], role: tenant-admin, resources: [tenant]}
`
}

func team(name string, members ...string) string {
	return "apiVersion: gatehouse.dev/v1\nkind: Team\nmetadata: {name: " + name + "}\nspec: {members: [" + strings.Join(members, ", ") + "]}\n"
}

// echoAccount is an account of the echo provider for everybody; spec is more of it.
func echoAccount(name, spec string) string {
	return `apiVersion: gatehouse.dev/v1
kind: ProviderAccount
metadata: {name: ` + name + `}
spec:
  provider: echo
  models: [{name: small}]
  collaborators: [{subject: "team:everyone", role: provider-account-user}]
` + spec
}

func docs(parts ...string) string { return strings.Join(parts, "---\n") }

// write replaces a file in one step.
func write(t testing.TB, file, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	tmp := filepath.Join(filepath.Dir(file), ".new-"+filepath.Base(file))
	if err := os.WriteFile(tmp, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tmp, file); err != nil {
		t.Fatal(err)
	}
}

func mustContain(t testing.TB, what, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%s lacks %q:\n%s", what, p, text)
		}
	}
}
