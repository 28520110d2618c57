package e2e

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// bot is a virtual account that may use the account slow, so that the
// one-time token goes on: there is no admin.
const bot = `apiVersion: gatehouse.dev/v1
kind: VirtualAccount
metadata: {name: bot}
spec: {access: [{resource: "provider-account:slow", role: provider-account-user}]}
`

// slowServer is a server whose echo sends one word a second, and a token for it.
func slowServer(t *testing.T, more ...string) (s *server, token string) {
	t.Helper()
	dir := t.TempDir()
	s = serve(t, onData(dir, more...), dir, "serve")
	admin := s.admin(t)
	applyTo(t, s.url, admin, docs(echoAccount("slow", "  echo: {chunkDelay: 1s}\n"), bot))
	token, _ = newToken(t, s.url, admin, "/api/v1/virtual-accounts/bot/tokens", `{"name":"t"}`)
	return s, token
}

func TestAStopLetsRunningStreamsFinishAndTakesNothingNew(t *testing.T) {
	t.Parallel()
	s, token := slowServer(t, "GATEHOUSE_SERVER_DRAIN_DELAY=1s")
	st := openStream(t, s.url, token, "slow/small", "one two three")
	begin := time.Now()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, 900*time.Millisecond, "/readyz says no first", func() bool { return send(t, http.MethodGet, s.opsURL+"/readyz", "", "").status == 503 })
	if got := send(t, http.MethodGet, s.url+"/readyz", "", ""); got.status != 503 {
		t.Errorf("the main listener's /readyz: %d", got.status)
	}
	mustContain(t, "/readyz", send(t, http.MethodGet, s.opsURL+"/readyz", "", "").body, "draining")
	if res := chat(t, s.url, token, "slow/small"); res.status != 200 {
		t.Errorf("a request during drainDelay: %d %s", res.status, res.body)
	}
	if d := time.Since(begin); d > time.Second {
		t.Logf("this machine is too busy: drainDelay was over after %s", d)
	}
	eventually(t, 3*time.Second, "new requests are refused", func() bool {
		res := chat(t, s.url, token, "slow/small")
		return res.status == 0 || res.status == 503
	})
	rest := st.rest()
	mustContain(t, "the stream", rest, "three", "[DONE]")
	if code := s.wait(t, 5*time.Second); code != 0 {
		t.Errorf("exit status %d", code)
	}
}

func TestADrainTimeoutCutsWhatStillRuns(t *testing.T) {
	t.Parallel()
	s, token := slowServer(t, "GATEHOUSE_SERVER_DRAIN_TIMEOUT=1s")
	st := openStream(t, s.url, token, "slow/small", strings.Repeat("word ", 30))
	begin := time.Now()
	if code := s.terminate(t, 8*time.Second); code != 0 {
		t.Errorf("exit status %d", code)
	}
	took := time.Since(begin)
	if took < 900*time.Millisecond || took > 4*time.Second {
		t.Errorf("the stop took %s with a drainTimeout of 1s", took)
	}
	if rest := st.rest(); strings.Contains(rest, "[DONE]") {
		t.Errorf("the stream looks whole:\n%s", rest)
	}
	mustContain(t, "the log", s.log.String(), "drainTimeout")
}

func TestAStartThatCannotWorkEndsAtOnceAndNamesTheSetting(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	port := taken.Addr().String()
	for _, c := range []struct {
		name    string
		args    []string
		environ []string
		file    string // gatehouse.yaml
		want    int    // 0: anything but 0
		message []string
	}{
		{name: "the port is in use, by flag", args: []string{"serve", "--server-address", port}, message: []string{"--server-address", "in use"}},
		{name: "the port is in use, by variable", args: []string{"serve"}, environ: []string{"GATEHOUSE_SERVER_ADDRESS=" + port}, message: []string{"GATEHOUSE_SERVER_ADDRESS", "in use"}},
		{name: "the operator's port is in use", args: []string{"serve"}, environ: []string{"GATEHOUSE_OPS_ADDRESS=" + port}, message: []string{"GATEHOUSE_OPS_ADDRESS", "in use"}},
		{name: "an unknown variable of ours", args: []string{"serve"}, environ: []string{"GATEHOUSE_SERVER_ADRESS=127.0.0.1:1"}, want: 2, message: []string{"GATEHOUSE_SERVER_ADRESS", "GATEHOUSE_SERVER_ADDRESS"}},
		{name: "an empty variable of ours", args: []string{"serve"}, environ: []string{"GATEHOUSE_MANIFESTS_DIR="}, want: 2, message: []string{"GATEHOUSE_MANIFESTS_DIR"}},
		{name: "an unknown AUTH variable", args: []string{"serve"}, environ: []string{"AUTH_ENABLD=false"}, want: 2, message: []string{"AUTH_ENABLD", "AUTH_ENABLE"}},
		{name: "an agent kit's AUTH variable", args: []string{"serve"}, environ: []string{"AUTH_ISSUER_URL=https://idp.example"}, want: 2, message: []string{"AUTH_ISSUER_URL", "AUTH_OIDC_ISSUER"}},
		{name: "two switches that disagree", args: []string{"serve"}, environ: []string{"AUTH_ENABLE=false", "AUTH_ENABLED=true"}, want: 2, message: []string{"AUTH_ENABLE", "AUTH_ENABLED"}},
		{name: "no authentication on every interface", args: []string{"serve"}, environ: []string{"AUTH_ENABLE=false", "GATEHOUSE_SERVER_ADDRESS=0.0.0.0:0"}, want: 2, message: []string{"AUTH_ENABLE=false", "loopback"}},
		{name: "an unknown key in the file", args: []string{"serve", "--config", "gatehouse.yaml"}, file: "server:\n  adress: 127.0.0.1:1\n", want: 2, message: []string{"server.adress", "gatehouse.yaml"}},
		{name: "an unknown key under dev", args: []string{"dev", "--config", "gatehouse.yaml"}, file: "servr:\n  address: 127.0.0.1:1\n", want: 2, message: []string{"servr"}},
		{name: "an unknown flag", args: []string{"serve", "--server-adress", "127.0.0.1:1"}, want: 2, message: []string{"--server-adress"}},
		{name: "dev on every interface", args: []string{"dev", "--server-address", "0.0.0.0:0"}, want: 2, message: []string{"--server-address", "loopback"}},
		{name: "dev without a host", args: []string{"dev", "--server-address", ":0"}, want: 2, message: []string{"--server-address", "loopback"}},
		{name: "dev's identity provider on every interface", args: []string{"dev"}, environ: []string{"GATEHOUSE_DEV_ADDRESS=0.0.0.0:0"}, want: 2, message: []string{"GATEHOUSE_DEV_ADDRESS", "loopback"}},
		{name: "PostgreSQL", args: []string{"serve"}, environ: []string{"GATEHOUSE_DATABASE_URL=postgres://u:secret@db/x"}, want: 2, message: []string{"GATEHOUSE_DATABASE_URL"}},
		{name: "a literal master key", args: []string{"serve"}, environ: []string{"GATEHOUSE_SECRETS_MASTER_KEY=c2VjcmV0c2VjcmV0"}, want: 2, message: []string{"GATEHOUSE_SECRETS_MASTER_KEY"}},
		{name: "a master key that is not there", args: []string{"serve"}, environ: []string{"GATEHOUSE_SECRETS_MASTER_KEY=env:NOWHERE"}, message: []string{"GATEHOUSE_SECRETS_MASTER_KEY", "NOWHERE"}},
		{name: "no such folder of manifests", args: []string{"serve"}, environ: []string{"GATEHOUSE_MANIFESTS_DIR=/nowhere"}, want: 2, message: []string{"GATEHOUSE_MANIFESTS_DIR"}},
		{name: "a database that cannot be made", args: []string{"serve"}, environ: []string{"GATEHOUSE_DATABASE_URL=sqlite:///dev/null/x.db"}, message: []string{"GATEHOUSE_DATABASE_URL"}},
		{name: "a file of providers without any", args: []string{"serve"}, environ: []string{"OIDC_CONFIG_FILE_PATH=gatehouse.yaml"}, file: `{"configs": []}`, want: 2, message: []string{"OIDC_CONFIG_FILE_PATH"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if c.file != "" {
				write(t, filepath.Join(dir, "gatehouse.yaml"), c.file)
			}
			begin := time.Now()
			code, out, errs := cli(t, onData(dir, c.environ...), dir, "", c.args...)
			if code == 0 || c.want != 0 && code != c.want {
				t.Errorf("exit status %d, want %d", code, c.want)
			}
			mustContain(t, "the message", errs, c.message...)
			if strings.Contains(errs+out, "secret@") || strings.Contains(errs, "c2VjcmV0") {
				t.Errorf("the message repeats a secret: %s", errs)
			}
			if d := time.Since(begin); d > 5*time.Second {
				t.Errorf("it took %s", d)
			}
		})
	}
}

func TestTheWrongMasterKeyIsNoticed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := serve(t, onData(dir), dir, "serve")
	s.terminate(t, 5*time.Second)
	key := filepath.Join(dir, "master.key")
	if st, err := os.Stat(key); err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("the master key's file: %v %v", st, err)
	}
	other := t.TempDir()
	serve(t, onData(other), other, "serve").terminate(t, 5*time.Second)

	b, err := os.ReadFile(filepath.Join(other, "master.key"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "other.key"), string(b))
	code, _, errs := cli(t, onData(dir, "GATEHOUSE_SECRETS_MASTER_KEY=file:"+filepath.Join(dir, "other.key")), dir, "", "serve")
	if code == 0 || strings.Contains(errs, strings.TrimSpace(string(b))) {
		t.Errorf("exit status %d, %s", code, errs)
	}
	mustContain(t, "the message", errs, "GATEHOUSE_SECRETS_MASTER_KEY", "another master key")

	// A key that is gone is not made anew over data that it sealed.
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	code, _, errs = cli(t, onData(dir), dir, "", "serve")
	if code == 0 {
		t.Error("a start without the key works")
	}
	mustContain(t, "the message", errs, "master", "secrets.masterKey")
	if _, err := os.Stat(key); err == nil {
		t.Error("a new key was made")
	}
}
