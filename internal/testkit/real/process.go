package real

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// process is one component's process group.
type process struct {
	name    string
	cmd     *exec.Cmd
	guard   *exec.Cmd // ends the group if this test binary dies first
	release io.Closer
	logPath string
	done    chan struct{} // closed once the process has been waited for
}

// spec says how to start a process.
type spec struct {
	name string
	dir  string // working directory; also where its log goes
	env  []string
	argv []string
}

// start runs a process in a group of its own and registers its end.
func start(t testing.TB, s spec) *process {
	t.Helper()
	p := &process{name: s.name, logPath: filepath.Join(s.dir, s.name+".log"), done: make(chan struct{})}
	log, err := os.OpenFile(p.logPath, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	p.cmd = exec.Command(s.argv[0], s.argv[1:]...)
	p.cmd.Dir = s.dir
	p.cmd.Env = append(cleanEnv(), s.env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", s.name, err)
	}
	// The guard's standard input closes when this test binary ends, however it ends.
	p.guard = exec.Command("/bin/sh", "-c", `read -r _; kill -s KILL -- "-$1"`, "guard", strconv.Itoa(p.cmd.Process.Pid))
	p.guard.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if p.release, err = p.guard.StdinPipe(); err == nil {
		err = p.guard.Start()
	}
	if err != nil {
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		t.Fatalf("guard of %s: %v", s.name, err)
	}
	go func() {
		_ = p.cmd.Wait() // how it ended is in its log
		close(p.done)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("end of the log of %s:\n%s", p.name, p.logTail(4000))
		}
	})
	return p
}

// cleanEnv is the environment without what would send a component elsewhere.
func cleanEnv() []string {
	var env []string
	for _, kv := range os.Environ() {
		key, _, _ := strings.Cut(kv, "=")
		switch lower := strings.ToLower(key); {
		case strings.HasSuffix(lower, "_proxy"), strings.HasPrefix(lower, "openai_"), strings.HasPrefix(lower, "anthropic_"):
		default:
			env = append(env, kv)
		}
	}
	return env
}

// stop asks the group to end, and kills it after ten seconds.
func (p *process) stop() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGTERM)
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	select {
	case <-p.done:
	case <-deadline.C:
	}
	p.kill()
}

// kill ends the group at once and waits for it. It may be called twice.
func (p *process) kill() {
	if p.guard == nil {
		return
	}
	_ = p.guard.Process.Kill()
	_ = p.guard.Wait()
	_ = p.release.Close()
	p.guard = nil
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.done
}

func (p *process) logTail(n int) []byte {
	b, err := os.ReadFile(p.logPath)
	if err != nil {
		return []byte(err.Error())
	}
	return bytes.TrimSpace(b[max(0, len(b)-n):])
}

// waitHTTP waits until GET url answers below 400, or fails the test when the
// process ends first or the limit passes.
func (p *process) waitHTTP(t testing.TB, client *http.Client, url string, limit time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		last := probe(ctx, client, url)
		if last == nil {
			return
		}
		select {
		case <-p.done:
			t.Fatalf("%s ended before it answered (last: %v)", p.name, last)
		case <-ctx.Done():
			t.Fatalf("%s did not answer within %v: %v", p.name, limit, last)
		case <-tick.C:
		}
	}
}

func probe(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	// A 404 is not ready either: a realm is not there until it has been imported.
	if res.StatusCode >= 400 {
		return fmt.Errorf("%s", res.Status)
	}
	return nil
}

// newClient is an HTTP client that never uses a proxy nor follows redirects.
func newClient(t testing.TB, transport *http.Transport) *http.Client {
	if transport == nil {
		transport = &http.Transport{}
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Timeout:       30 * time.Second,
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// freePort is a port of 127.0.0.1 that nothing listened on a moment ago.
func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// waitListening waits until something accepts connections on the port. It
// sends no request, so that a proxy's upstream sees none.
func (p *process) waitListening(t testing.TB, port int, limit time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := net.DialTimeout("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), time.Second)
		if err == nil {
			_ = conn.Close()
			return
		}
		select {
		case <-p.done:
			t.Fatalf("%s ended before it listened", p.name)
		case <-ctx.Done():
			t.Fatalf("%s did not listen within %v: %v", p.name, limit, err)
		case <-tick.C:
		}
	}
}
