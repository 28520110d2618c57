package app_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gatehouse-ai/gatehouse/internal/app"
	"github.com/gatehouse-ai/gatehouse/internal/app/settings"
	"github.com/gatehouse-ai/gatehouse/internal/testkit/testcert"
)

// config is a server on free ports and a data directory.
func config(t *testing.T, dev bool, dir string, environ ...string) (settings.Settings, []string) {
	t.Helper()
	environ = append([]string{
		"GATEHOUSE_SERVER_ADDRESS=127.0.0.1:0", "GATEHOUSE_OPS_ADDRESS=127.0.0.1:0", "GATEHOUSE_DEV_ADDRESS=127.0.0.1:0",
		"GATEHOUSE_DATABASE_URL=sqlite://" + filepath.Join(dir, "gatehouse.db"),
	}, environ...)
	load := settings.Load
	if dev {
		load = settings.LoadDev
	}
	cfg, _, err := load(nil, environ, "")
	if err != nil {
		t.Fatal(err)
	}
	return cfg, environ
}

func stop(t *testing.T, a *app.App) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := a.Stop(ctx); err != nil {
		t.Error(err)
	}
}

func TestNothingIsLeftAfterAStop(t *testing.T) {
	before := goleak.IgnoreCurrent()
	manifests := t.TempDir()
	for name, c := range map[string]struct {
		dev     bool
		environ []string
	}{
		"serve":                      {},
		"dev":                        {dev: true},
		"a folder and no database":   {environ: []string{"GATEHOUSE_DATABASE_URL=sqlite::memory:", "GATEHOUSE_MANIFESTS_DIR=" + manifests}},
		"no authentication, no CORS": {environ: []string{"AUTH_ENABLE=false"}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, environ := config(t, c.dev, t.TempDir(), c.environ...)
			a, err := app.Start(t.Context(), cfg, app.Options{Dev: c.dev, Environ: environ})
			if err != nil {
				t.Fatal(err)
			}
			client := &http.Client{Transport: &http.Transport{}}
			for _, path := range []string{a.URL() + "/readyz", a.URL() + "/v1/models", a.URL() + "/api/v1/me", a.OpsURL() + "/metrics", a.OpsURL() + "/readyz"} {
				res, err := client.Get(path)
				if err != nil {
					t.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
			}
			client.CloseIdleConnections()
			stop(t, a)
			goleak.VerifyNone(t, before)
		})
	}
	leftovers, err := filepath.Glob(filepath.Join(os.TempDir(), "gatehouse-key-*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range leftovers {
		if st, err := os.Stat(dir); err == nil && time.Since(st.ModTime()) < time.Minute {
			t.Logf("%s may be another process's", dir)
		}
	}
}

func TestNothingIsLeftAfterAStartThatFails(t *testing.T) {
	before := goleak.IgnoreCurrent()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	for _, name := range []string{"GATEHOUSE_SERVER_ADDRESS", "GATEHOUSE_OPS_ADDRESS", "GATEHOUSE_DEV_ADDRESS"} {
		dir := t.TempDir()
		cfg, environ := config(t, true, dir, name+"="+taken.Addr().String())
		if _, err := app.Start(t.Context(), cfg, app.Options{Dev: true, Environ: environ}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
		goleak.VerifyNone(t, before)
	}
}

func TestRunEndsWithItsContextAndWithAListenerThatFails(t *testing.T) {
	cfg, environ := config(t, false, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	out := newLines()
	go func() { done <- app.Run(ctx, cfg, app.Options{Environ: environ, Out: out}) }()
	select {
	case <-out.first: // it is announced, so it serves
	case err := <-done:
		t.Fatalf("ended before it began: %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("the end was asked for, and yet: %v", err)
	}
}

// lines tells when something was written.
type lines struct{ first chan struct{} }

func newLines() *lines { return &lines{make(chan struct{}, 1)} }

func (l *lines) Write(p []byte) (int, error) {
	select {
	case l.first <- struct{}{}:
	default:
	}
	return len(p), nil
}

func TestSecurityDevIsRefusedOffLoopbackWhoeverAsks(t *testing.T) {
	cfg, environ := config(t, false, t.TempDir(), "GATEHOUSE_SERVER_ADDRESS=0.0.0.0:0") // serve's rules let it through
	a, err := app.Start(t.Context(), cfg, app.Options{Dev: true, Environ: environ})
	if err == nil {
		stop(t, a)
		t.Fatal("gatehouse dev listens on every interface")
	}
	if !strings.Contains(err.Error(), "loopback") {
		t.Error(err)
	}
}

// keyPair writes a certificate for 127.0.0.1 and its key.
func keyPair(t *testing.T, dir string, serial int64) {
	t.Helper()
	if err := testcert.NewCA("app").Server(serial, "127.0.0.1").Write(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")); err != nil {
		t.Fatal(err)
	}
}

// serialOf returns the serial number of the certificate that is served.
func serialOf(t *testing.T, address string) int64 {
	t.Helper()
	c, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // only the serial number is looked at
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

func TestACertificateIsReloadedAndABadPairKeepsTheLast(t *testing.T) {
	dir := t.TempDir()
	keyPair(t, dir, 1)
	cfg, environ := config(t, false, t.TempDir(), "GATEHOUSE_SERVER_TLS_CERT="+filepath.Join(dir, "cert.pem"), "GATEHOUSE_SERVER_TLS_KEY="+filepath.Join(dir, "key.pem"))
	a, err := app.Start(t.Context(), cfg, app.Options{Environ: environ})
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, a)
	if !strings.HasPrefix(a.URL(), "https://") {
		t.Errorf("the URL is %s", a.URL())
	}
	if got := serialOf(t, a.Address()); got != 1 {
		t.Fatalf("certificate %d", got)
	}
	keyPair(t, dir, 2)
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for serialOf(t, a.Address()) != 2 {
		select {
		case <-deadline:
			t.Fatal("the new certificate is not served")
		case <-tick.C:
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "key.pem"), []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 30 { // past the moment at which the files are looked at again
		<-tick.C
		if got := serialOf(t, a.Address()); got != 2 {
			t.Fatalf("certificate %d", got)
		}
	}
	if c, err := tls.Dial("tcp", a.Address(), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11}); err == nil { //nolint:gosec // asks for what must be refused
		_ = c.Close()
		t.Error("TLS 1.1 is spoken")
	}
}

func TestThePublicProbesSayNothingOfTheInside(t *testing.T) {
	cfg, environ := config(t, false, t.TempDir())
	a, err := app.Start(t.Context(), cfg, app.Options{Environ: environ})
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, a)
	for _, path := range []string{"/health", "/livez", "/readyz"} {
		res, err := http.Get(a.URL() + path)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if res.StatusCode != 200 || string(b) != "ok\n" {
			t.Errorf("%s: %d %q", path, res.StatusCode, b)
		}
	}
	for path, want := range map[string]string{"/readyz": `"revision"`, "/metrics": "gatehouse_snapshot_present 1"} {
		res, err := http.Get(a.OpsURL() + path)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if !strings.Contains(string(b), want) {
			t.Errorf("%s lacks %s:\n%s", path, want, b)
		}
		if res, err := http.Get(a.URL() + "/debug/pprof/"); err != nil || res.StatusCode == 200 {
			t.Errorf("pprof on the main listener: %v %v", res, err)
		}
	}
	if res, err := http.Get(a.OpsURL() + "/debug/pprof/"); err != nil || res.StatusCode != 404 {
		t.Errorf("pprof without ops.pprof: %v %v", res, err)
	}
}

// A caller that never finishes its header does not hold a connection for ever.
// Whoever is refused before their body is read holds no connection with it.
func TestSecurityTheRestOfABodyThatNobodyReadsIsNotWaitedFor(t *testing.T) {
	cfg, environ := config(t, false, t.TempDir(), "GATEHOUSE_SERVER_HEADER_TIMEOUT=1s")
	a, err := app.Start(t.Context(), cfg, app.Options{Environ: environ})
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, a)
	for _, path := range []string{"/v1/chat/completions", "/api/v1/apply", "/scim/v2/Users", "/nowhere"} {
		c, err := net.Dial("tcp", a.Address())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000\r\n\r\nx", path)
		_ = c.SetReadDeadline(time.Now().Add(15 * time.Second))
		if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: the connection is held", path)
		}
		_ = c.Close()
	}
}

func TestSecurityASlowHeaderIsCut(t *testing.T) {
	cfg, environ := config(t, false, t.TempDir(), "GATEHOUSE_SERVER_HEADER_TIMEOUT=1s")
	a, err := app.Start(t.Context(), cfg, app.Options{Environ: environ})
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, a)
	c, err := net.Dial("tcp", a.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_, _ = io.WriteString(c, "GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	b, err := io.ReadAll(c)
	if err != nil && !bytes.HasPrefix(b, []byte("HTTP/1.1 408")) {
		t.Errorf("after the limit: %q %v", b, err)
	}
	// And one that is too large is refused.
	big, err := net.Dial("tcp", a.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = big.Close() }()
	go func() {
		_, _ = io.WriteString(big, "GET /health HTTP/1.1\r\nHost: localhost\r\nX-Big: "+strings.Repeat("a", 128<<10)+"\r\n\r\n")
	}()
	_ = big.SetReadDeadline(time.Now().Add(10 * time.Second))
	res, err := http.ReadResponse(bufio.NewReader(big), nil)
	if err != nil || res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a header of 128 KiB: %v %v", res, err)
	}
}
