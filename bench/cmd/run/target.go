package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"bench/internal/chat"
)

// target is one gateway. ${NAME} in its strings is replaced by -set values,
// environment variables, BIN, WORK, MOCK, ISSUER, PPROF and the RS256, ES256
// and EDDSA tokens.
type target struct {
	Name    string
	Cmd     []string
	Dir     string
	Env     map[string]string
	URL     string
	Model   string
	Headers map[string]string
	Key     string // Authorization that the upstream must see; empty: not checked
	Only    []string
	Warm    float64 // more seconds of warm-up, for runtimes with a JIT
	Ops     string  // where Go's profiles are served with -profile
	Ours    bool    // a Gatehouse: the promises are about it
}

// started is a target that runs, and how to call it.
type started struct {
	*target
	addr, path string
	headers    map[string]string
	pid        int
	p          *process
	ctx        context.Context // done when the process ends by itself
	cancel     context.CancelCauseFunc
}

// begin starts a target; end must be called.
func begin(t *target, vars map[string]string, logs string) (*started, error) {
	expand := func(s string) string { return os.Expand(s, lookup(vars)) }
	u, err := url.Parse(expand(t.URL))
	if err != nil {
		return nil, err
	}
	s := &started{target: t, addr: u.Host, path: u.RequestURI()}
	s.headers = map[string]string{"Content-Type": "application/json", "User-Agent": "bench", "Accept": "*/*"}
	for k, v := range t.Headers {
		s.headers[k] = expand(v)
	}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	if len(t.Cmd) == 0 {
		return s, nil
	}
	if s.p, err = start(*t, vars, logs); err != nil {
		return nil, err
	}
	s.pid = s.p.pid
	go func() {
		<-s.p.done
		s.cancel(fmt.Errorf("%s ended early", t.Name))
	}()
	return s, nil
}

func (s *started) end() {
	if s.p != nil {
		s.p.stop()
	}
	s.cancel(nil)
}

// request is the bytes of one request.
func (s *started) request(stream bool, size int) []byte {
	return s.requestAs(s.headers["Authorization"], s.Model, stream, size)
}

func (s *started) requestAs(authorization, model string, stream bool, size int) []byte {
	body := chat.Request(model, stream, size)
	var b bytes.Buffer
	fmt.Fprintf(&b, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n", s.path, s.addr, len(body))
	for _, k := range slices.Sorted(maps.Keys(s.headers)) {
		if k != "Authorization" {
			fmt.Fprintf(&b, "%s: %s\r\n", k, s.headers[k])
		}
	}
	if authorization != "" {
		fmt.Fprintf(&b, "Authorization: %s\r\n", authorization)
	}
	b.WriteString("\r\n")
	b.Write(body)
	return b.Bytes()
}

// post sends one request in the usual way.
func (s *started) post(model string, stream bool) (string, error) {
	ctx, cancel := context.WithTimeout(s.ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "POST", "http://"+s.addr+s.path, bytes.NewReader(chat.Request(model, stream, 1<<10)))
	if err != nil {
		return "", err
	}
	for k, v := range s.headers {
		req.Header.Set(k, v)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != 200 {
		err = fmt.Errorf("%s: %.300s", resp.Status, b)
	}
	return string(b), err
}

// verify waits for the target to answer, then checks one plain and one
// streaming completion and which key the upstream was shown.
func (s *started) verify(vars map[string]string, mockURL string) error {
	get(mockURL + "/_ctl?delay=0s&gap=0s&chunks=50")
	var body string
	var err error
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		if body, err = s.post(s.Model, false); err == nil || s.ctx.Err() != nil {
			break
		}
	}
	if s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	if err != nil {
		return err
	}
	if !strings.Contains(body, "A gateway sits between") || !strings.Contains(body, `"total_tokens"`) {
		return fmt.Errorf("unexpected completion: %.300s", body)
	}
	if body, err = s.post(s.Model, true); err != nil {
		return err
	}
	if err := wholeStream([]byte(body), 50); err != nil {
		return err
	}
	key := os.Expand(s.Key, lookup(vars))
	if key == "" {
		return nil
	}
	var stats struct{ Authorization string }
	if err := json.Unmarshal(get(mockURL+"/_stats"), &stats); err != nil {
		return err
	}
	if stats.Authorization != key {
		return fmt.Errorf("upstream saw Authorization %.40q", stats.Authorization)
	}
	return nil
}

// wholeStream checks that a stream of n chunks has come in whole.
func wholeStream(body []byte, n int) error {
	if got := bytes.Count(body, []byte("data:")); got != n+1 || !bytes.HasSuffix(body, []byte("data: [DONE]\n\n")) {
		return fmt.Errorf("stream of %d events for %d, ends %.80q", got, n+1, body[max(0, len(body)-80):])
	}
	return nil
}

func lookup(vars map[string]string) func(string) string {
	return func(k string) string {
		if v, ok := vars[k]; ok {
			return v
		}
		return os.Getenv(k)
	}
}

// process is one that start began.
type process struct {
	pid  int
	cmd  *exec.Cmd
	done chan struct{}
}

func start(t target, vars map[string]string, logs string) (*process, error) {
	var args []string
	for _, a := range t.Cmd {
		args = append(args, os.Expand(a, lookup(vars)))
	}
	c := exec.Command(args[0], args[1:]...)
	c.Dir = os.Expand(t.Dir, lookup(vars))
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.TempDir()}
	for k, v := range t.Env {
		c.Env = append(c.Env, k+"="+os.Expand(v, lookup(vars)))
	}
	f, err := os.Create(filepath.Join(logs, "bench-"+t.Name+".log"))
	check(err)
	c.Stdout, c.Stderr = f, f
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := c.Start(); err != nil {
		return nil, err
	}
	f.Close()
	p := &process{c.Process.Pid, c, make(chan struct{})}
	go func() { c.Wait(); close(p.done) }()
	return p, nil
}

func (p *process) stop() {
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
		p.cmd.Process.Kill()
		<-p.done
	}
}
