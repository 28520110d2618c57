package real

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Server is a running HTTP server of another's making.
type Server struct {
	URL string // scheme and address, without a slash at the end

	proc *process
}

// Log is what the server has written so far.
func (s *Server) Log() string { return string(s.proc.logTail(1 << 20)) }

// Nginx starts nginx with conf as the content of its http block. $LISTEN in
// conf stands for the address to listen on, 127.0.0.1:PORT.
func Nginx(t testing.TB, conf string) *Server {
	t.Helper()
	c := need(t, "nginx")
	dir, port := t.TempDir(), freePort(t)
	var b strings.Builder
	if os.Geteuid() == 0 {
		b.WriteString("user root;\n") // the test's folder is the test's own
	}
	fmt.Fprintf(&b, "daemon off;\nworker_processes 1;\npid %[1]s/pid;\nerror_log stderr info;\nevents {}\nhttp {\naccess_log off;\n", dir)
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&b, "%s_temp_path %s/%s;\n", kind, dir, kind)
	}
	b.WriteString(strings.ReplaceAll(conf, "$LISTEN", "127.0.0.1:"+strconv.Itoa(port)) + "\n}\n")
	path := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &Server{URL: fmt.Sprintf("http://127.0.0.1:%d", port)}
	s.proc = start(t, spec{name: "nginx", dir: dir, argv: []string{c.values["bin"], "-e", "stderr", "-p", dir, "-c", path}})
	s.proc.waitListening(t, port, 20*time.Second)
	return s
}

// Caddy starts Caddy with conf as its Caddyfile after a global block that turns
// off the admin API and automatic HTTPS. $PORT in conf stands for the port of
// 127.0.0.1 to serve, so a site is `:$PORT { ... }`.
func Caddy(t testing.TB, conf string) *Server {
	t.Helper()
	c := need(t, "caddy")
	dir, port := t.TempDir(), freePort(t)
	text := "{\n\tadmin off\n\tauto_https off\n\tdefault_bind 127.0.0.1\n}\n" +
		strings.ReplaceAll(conf, "$PORT", strconv.Itoa(port)) + "\n"
	path := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &Server{URL: fmt.Sprintf("http://127.0.0.1:%d", port)}
	s.proc = start(t, spec{
		name: "caddy", dir: dir, argv: []string{c.values["bin"], "run", "--adapter", "caddyfile", "--config", path},
		env: []string{"XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir, "HOME=" + dir},
	})
	s.proc.waitListening(t, port, 20*time.Second)
	return s
}

// Validator starts @stdy/cli with OpenAI's own OpenAPI description: an upstream
// that answers each good request with an example and each bad one with 400, a
// body {"error": "Validation failed", "steady": {...}}, and the header
// x-steady-request-valid: false. Its paths have no /v1: URL is the base URL for
// a client or a provider account. One request may say X-Steady-Stream-Count and
// X-Steady-Stream-Interval-Ms for streams, X-Steady-Seed for another example.
func Validator(t testing.TB) *Server {
	t.Helper()
	document := filepath.Join(RepoRoot(t), "..", "shared", "data", "openai", "openapi.json")
	if _, err := os.Stat(document); err != nil {
		absent(t, "stdy", "no ../shared/data/openai/openapi.json beside the project")
	}
	c := need(t, "stdy")
	port := freePort(t)
	s := &Server{URL: fmt.Sprintf("http://127.0.0.1:%d", port)}
	argv := []string{c.values["file"], "--port", strconv.Itoa(port), "--host", "127.0.0.1", "--no-color", "--log-format", "json", "--reject-on-sdk-error=true"}
	for _, where := range []string{"query-array", "query-object", "form-array", "form-object"} {
		argv = append(argv, "--validator-"+where+"-format=brackets") // as the official SDKs write them
	}
	s.proc = start(t, spec{name: "stdy", dir: t.TempDir(), argv: append(argv, document)})
	s.proc.waitHTTP(t, newClient(t, nil), s.URL+"/models", 30*time.Second)
	return s
}
