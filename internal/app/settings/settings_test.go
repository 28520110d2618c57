package settings_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-ai/gatehouse/internal/app/settings"
)

// file writes a settings file and returns its name.
func file(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "gatehouse.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func load(t *testing.T, args settings.Flags, environ []string, text string) (settings.Settings, []settings.Notice, error) {
	t.Helper()
	name := ""
	if text != "" {
		name = file(t, text)
	}
	return settings.Load(args, environ, name)
}

func TestDefaultsAreThePromisedOnes(t *testing.T) {
	s, notices, err := load(t, nil, nil, "")
	if err != nil || len(notices) != 0 {
		t.Fatal(err, notices)
	}
	want := settings.Settings{
		Server: settings.Server{
			Address: "127.0.0.1:8080", MaxBody: 25 << 20, HeaderTimeout: 10 * time.Second,
			IdleTimeout: 2 * time.Minute, DrainTimeout: 30 * time.Second,
		},
		Upstream: settings.Upstream{FirstByteTimeout: 10 * time.Minute, StreamIdleTimeout: 2 * time.Minute},
		Ops:      settings.Ops{Address: "127.0.0.1:9090"},
		Database: settings.Database{URL: "sqlite:///var/lib/gatehouse/gatehouse.db"},
		Snapshot: settings.Snapshot{MaxStaleness: 24 * time.Hour},
		Log:      settings.Log{Level: "info", Format: "json"},
		Dev:      settings.Dev{Address: "127.0.0.1:8081"},
		Compat:   settings.Compat{AuthEnabled: true},
	}
	if d := cmp.Diff(want, s, cmp.FilterPath(func(p cmp.Path) bool { return p.String() == "origins" }, cmp.Ignore())); d != "" {
		t.Error(d)
	}
}

func TestEverySettingHasThreeNamesThatFollowFromOne(t *testing.T) {
	names := map[string]settings.Field{}
	for _, f := range settings.Fields() {
		names[f.Name] = f
		if f.Doc == "" || !strings.HasSuffix(f.Doc, ".") {
			t.Errorf("%s has no sentence that says what it is for", f.Name)
		}
	}
	for name, want := range map[string][2]string{
		"server.address":             {"GATEHOUSE_SERVER_ADDRESS", "server-address"},
		"server.externalURL":         {"GATEHOUSE_SERVER_EXTERNAL_URL", "server-external-url"},
		"server.tls.cert":            {"GATEHOUSE_SERVER_TLS_CERT", "server-tls-cert"},
		"server.cors.origins":        {"GATEHOUSE_SERVER_CORS_ORIGINS", "server-cors-origins"},
		"upstream.streamIdleTimeout": {"GATEHOUSE_UPSTREAM_STREAM_IDLE_TIMEOUT", "upstream-stream-idle-timeout"},
		"secrets.allowEnv":           {"GATEHOUSE_SECRETS_ALLOW_ENV", "secrets-allow-env"},
		"bootstrap.tokenFile":        {"GATEHOUSE_BOOTSTRAP_TOKEN_FILE", "bootstrap-token-file"},
	} {
		if got := [2]string{names[name].Env, names[name].Flag}; got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

func TestFlagWinsOverEnvironmentOverFileOverDefault(t *testing.T) {
	text := "server:\n  address: 127.0.0.1:1\n"
	env := []string{"GATEHOUSE_SERVER_ADDRESS=127.0.0.1:2"}
	flag := settings.Flags{"server-address": "127.0.0.1:3"}
	for _, c := range []struct {
		name         string
		args         settings.Flags
		environ      []string
		text         string
		want, origin string
	}{
		{"default", nil, nil, "", "127.0.0.1:8080", "server.address"},
		{"file", nil, nil, text, "127.0.0.1:1", "gatehouse.yaml:2:3: server.address"},
		{"environment", nil, env, text, "127.0.0.1:2", "GATEHOUSE_SERVER_ADDRESS"},
		{"flag", flag, env, text, "127.0.0.1:3", "--server-address"},
	} {
		s, _, err := load(t, c.args, c.environ, c.text)
		if err != nil || s.Server.Address != c.want || !strings.HasSuffix(s.Origin("server.address"), c.origin) {
			t.Errorf("%s: %q from %q (%v)", c.name, s.Server.Address, s.Origin("server.address"), err)
		}
	}
}

func TestEveryTypeIsReadFromEveryForm(t *testing.T) {
	text := `
server:
  maxBody: 1048576
  trustedProxies: [10.0.0.0/8, 192.0.2.1]
  allowedHosts: gatehouse.example.com
  drainDelay: 1m30s
ops: {pprof: true}
`
	environ := []string{
		"GATEHOUSE_SERVER_MAX_BODY=1MiB", "GATEHOUSE_SERVER_TRUSTED_PROXIES=10.0.0.0/8, 192.0.2.1",
		"GATEHOUSE_SERVER_ALLOWED_HOSTS=gatehouse.example.com", "GATEHOUSE_SERVER_DRAIN_DELAY=1m30s", "GATEHOUSE_OPS_PPROF=true",
	}
	args := settings.Flags{
		"server-max-body": "1024KiB", "server-trusted-proxies": "10.0.0.0/8,192.0.2.1",
		"server-allowed-hosts": "gatehouse.example.com", "server-drain-delay": "90s", "ops-pprof": "true",
	}
	for i, load := range []func() (settings.Settings, []settings.Notice, error){
		func() (settings.Settings, []settings.Notice, error) { return load(t, nil, nil, text) },
		func() (settings.Settings, []settings.Notice, error) { return load(t, nil, environ, "") },
		func() (settings.Settings, []settings.Notice, error) { return load(t, args, nil, "") },
	} {
		s, _, err := load()
		if err != nil {
			t.Errorf("form %d: %v", i, err)
			continue
		}
		want := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.1/32")}
		if s.Server.MaxBody != 1<<20 || !s.Ops.Pprof || s.Server.DrainDelay != 90*time.Second ||
			fmt.Sprint(s.Server.TrustedProxies) != fmt.Sprint(want) || fmt.Sprint(s.Server.AllowedHosts) != "[gatehouse.example.com]" {
			t.Errorf("form %d: %+v %+v", i, s.Server, s.Ops)
		}
	}
}

// refusal is a start that must not happen, and its one line.
type refusal struct {
	name    string
	args    settings.Flags
	environ []string
	text    string
	want    string // a regular expression for the whole of the error
}

func checkRefusals(t *testing.T, cases []refusal) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := load(t, c.args, c.environ, c.text)
			if err == nil {
				t.Fatal("was accepted")
			}
			if !regexp.MustCompile(`^(\S*/)?` + c.want + `$`).MatchString(err.Error()) {
				t.Errorf("got  %s\nwant %s", err, c.want)
			}
			if _, ok := errors.AsType[*settings.Error](err); !ok {
				t.Errorf("%T is not a *settings.Error", err)
			}
		})
	}
}

func TestRefusalsNameTheSettingInTheFormGiven(t *testing.T) {
	tooMany := "must be between 1KiB and 1GiB"
	checkRefusals(t, []refusal{
		{"unknown section", nil, nil, "sever:\n  address: x\n", `gatehouse.yaml:1:1: sever: is not a setting; did you mean server\?`},
		{"unknown key", nil, nil, "server:\n  adress: x\n", `gatehouse.yaml:2:3: server.adress: is not a setting; did you mean server.address\?`},
		{"dotted key", nil, nil, "server.address: 127.0.0.1:1\n", `gatehouse.yaml:1:1: server.address: sections are nested: write server: \{address: …\}`},
		{"key twice", nil, nil, "server: {address: '127.0.0.1:1'}\nserver: {}\n", `gatehouse.yaml.*(twice|already|duplicate).*`},
		{"no value", nil, nil, "server:\n  address:\n", `gatehouse.yaml:2:3: server.address: has no value; .*`},
		{"section as value", nil, nil, "server: 1\n", `gatehouse.yaml:1:1: server: is a section; .*`},
		{"value as section", nil, nil, "server:\n  address: {a: b}\n", `gatehouse.yaml:2:3: server.address: expected a value, found a .*`},
		{"anchor", nil, nil, "server:\n  address: &a 127.0.0.1:1\n", `gatehouse.yaml:2:3: server.address: anchors, .*`},
		{"list for one", nil, nil, "server:\n  address: [a]\n", `gatehouse.yaml:2:3: server.address: takes one value, not a list`},
		{"broken YAML", nil, nil, "server: [\n", `gatehouse.yaml: is not YAML: .*`},
		{"a list as file", nil, nil, "- a\n", `gatehouse.yaml: expected sections .*`},
		{"two documents", nil, nil, "server: {}\n---\nops: {}\n", `gatehouse.yaml: holds several documents; settings are one`},
		{"unknown variable", nil, []string{"GATEHOUSE_SERVER_ADRESS=x"}, "", `GATEHOUSE_SERVER_ADRESS: is not a setting; did you mean GATEHOUSE_SERVER_ADDRESS\?`},
		{"empty variable", nil, []string{"GATEHOUSE_OPS_ADDRESS= "}, "", `GATEHOUSE_OPS_ADDRESS: is empty; .*`},
		{"unknown flag", settings.Flags{"server-adress": "x"}, nil, "", `--server-adress: is not a setting; did you mean --server-address\?`},
		{"size", nil, []string{"GATEHOUSE_SERVER_MAX_BODY=25 miles"}, "", `GATEHOUSE_SERVER_MAX_BODY: "25 miles" is not a size; write it like 25MiB`},
		{"too small", settings.Flags{"server-max-body": "10"}, nil, "", `--server-max-body: ` + tooMany},
		{"size that overflows", settings.Flags{"server-max-body": "9223372036854775807GiB"}, nil, "", `--server-max-body: .* is not a size; .*`},
		{"duration", nil, nil, "server:\n  idleTimeout: 2 min\n", `gatehouse.yaml:2:3: server.idleTimeout: "2 min" is not a duration; .*`},
		{"duration outside", settings.Flags{"snapshot-max-staleness": "31d"}, nil, "", `--snapshot-max-staleness: must be between 1m and 30d`},
		{"word", nil, []string{"GATEHOUSE_LOG_LEVEL=INFO"}, "", `GATEHOUSE_LOG_LEVEL: "INFO" is not known; use debug or info or warn or error`},
		{"switch", nil, []string{"GATEHOUSE_OPS_PPROF=yes"}, "", `GATEHOUSE_OPS_PPROF: "yes" is not known; use true or false`},
		{"address", settings.Flags{"server-address": "8080"}, nil, "", `--server-address: "8080" is not an address; .*`},
		{"empty address", settings.Flags{"server-address": ""}, nil, "", `--server-address: "" is not an address; .*`},
		{"port", settings.Flags{"ops-address": "127.0.0.1:99999"}, nil, "", `--ops-address: .* is not an address; .*`},
		{"same address twice", settings.Flags{"ops-address": "127.0.0.1:8080"}, nil, "", `--ops-address: is the same as server.address`},
		{"external URL with path", settings.Flags{"server-external-url": "https://a.example/b"}, nil, "", `--server-external-url: must not have a path: .*`},
		{"external URL with query", settings.Flags{"server-external-url": "https://a.example?b"}, nil, "", `--server-external-url: must not have a query .*`},
		{"range", settings.Flags{"server-trusted-proxies": "10.0.0.1/8"}, nil, "", `--server-trusted-proxies: .*did you mean 10.0.0.0/8\?`},
		{"no range", settings.Flags{"server-trusted-proxies": "proxy"}, nil, "", `--server-trusted-proxies: "proxy" is neither .*`},
		{"empty entry", settings.Flags{"server-allowed-hosts": "a,,b"}, nil, "", `--server-allowed-hosts: has an empty entry`},
		{"host with port", settings.Flags{"server-allowed-hosts": "a.example:80"}, nil, "", `--server-allowed-hosts: "a.example:80" is not a host; .*`},
		{"any host", settings.Flags{"server-allowed-hosts": "*"}, nil, "", `--server-allowed-hosts: "\*" is not a host; .*`},
		{"any origin", settings.Flags{"server-cors-origins": "*"}, nil, "", `--server-cors-origins: "\*" is not an origin; .*`},
		{"origin with path", settings.Flags{"server-cors-origins": "https://a.example/"}, nil, "", `--server-cors-origins: .* is not an origin; .*`},
		{"postgres without a key", nil, []string{"GATEHOUSE_DATABASE_URL=postgres://u:hunter2@db/g"}, "", `secrets.masterKey: must be given with PostgreSQL \(GATEHOUSE_DATABASE_URL\), as file:PATH or env:NAME .*`},
		{"postgres without a host", settings.Flags{"database-url": "postgres:///g", "secrets-master-key": "env:K"}, nil, "", `--database-url: names no host; .*`},
		{"postgres without a database", settings.Flags{"database-url": "postgresql://h/", "secrets-master-key": "env:K"}, nil, "", `--database-url: names no database; .*`},
		{"postgres with a bad port", settings.Flags{"database-url": "postgres://u:hunter2@h:port/g", "secrets-master-key": "env:K"}, nil, "", `--database-url: is not a PostgreSQL URL; .*`},
		{"database scheme", settings.Flags{"database-url": "mysql://db"}, nil, "", `--database-url: the scheme "mysql" is not known; .*`},
		{"two slashes", settings.Flags{"database-url": "sqlite://var/g.db"}, nil, "", `--database-url: an absolute path has three slashes: .*`},
		{"no database file", settings.Flags{"database-url": "sqlite:///var/lib/"}, nil, "", `--database-url: does not name a file; .*`},
		{"redis", nil, nil, "redis: {url: 'redis://r'}\n", `gatehouse.yaml:1:9: redis.url: is not in this version: .*`},
		{"clickhouse", nil, []string{"GATEHOUSE_LOGS_URL=clickhouse://c"}, "", `GATEHOUSE_LOGS_URL: is not in this version: .*`},
		{"no such directory", settings.Flags{"manifests-dir": "/nowhere/at/all"}, nil, "", `--manifests-dir: stat /nowhere/at/all: no such file or directory`},
		{
			"cert without a file",
			settings.Flags{"server-tls-cert": "/nowhere/c.pem", "server-tls-key": "/dev/null"},
			nil, "",
			`--server-tls-cert: stat /nowhere/c.pem: .*\n--server-tls-key: /dev/null is not a file`,
		},
		{"allowed file", settings.Flags{"secrets-allow-files": "etc"}, nil, "", `--secrets-allow-files: "etc" is not an absolute path .*`},
		{"allowed variable", nil, nil, "secrets:\n  allowEnv: ['*']\n", `gatehouse.yaml:2:3: secrets.allowEnv: "\*" is not a name.*`},
	})
}

func TestAMissingSettingsFileNamesWhereItWasAskedFor(t *testing.T) {
	_, _, err := settings.Load(nil, nil, "/nowhere/g.yaml")
	if err == nil || !strings.HasPrefix(err.Error(), "--config: stat /nowhere/g.yaml") {
		t.Error(err)
	}
	_, _, err = settings.Load(nil, []string{"GATEHOUSE_CONFIG=/nowhere/g.yaml"}, "")
	if err == nil || !strings.HasPrefix(err.Error(), "GATEHOUSE_CONFIG: stat /nowhere/g.yaml") {
		t.Error(err)
	}
}

func TestTLSNeedsBothFiles(t *testing.T) {
	pem := file(t, "x")
	for _, c := range [][3]string{{"server-tls-cert", "server.tls.key"}, {"server-tls-key", "server.tls.cert"}} {
		_, _, err := load(t, settings.Flags{c[0]: pem}, nil, "")
		if err == nil || err.Error() != "--"+c[0]+": needs "+c[1]+" as well" {
			t.Error(err)
		}
	}
	if _, _, err := load(t, settings.Flags{"server-tls-cert": pem, "server-tls-key": pem}, nil, ""); err != nil {
		t.Error(err)
	}
}

func TestVariablesThatAreNotSettingsAreLeftAlone(t *testing.T) {
	_, _, err := load(t, nil, []string{
		"GATEHOUSE_SERVICE_HOST=10.0.0.1", "GATEHOUSE_SERVICE_PORT_HTTP=80", "GATEHOUSE_PORT=tcp://10.0.0.1:80", "GATEHOUSE_PORT_80_TCP=x",
		"GATEHOUSE_TEST_ANYTHING=1", "GATEHOUSE_URL=http://127.0.0.1:8080", "GATEHOUSE_TOKEN=gtp_x", "GATEHOUSES=1", "PATH=/bin", "AUTHOR=me",
	}, "")
	if err != nil {
		t.Error(err)
	}
}

func TestEverythingWrongIsSaidAtOnce(t *testing.T) {
	_, _, err := load(t, settings.Flags{"ops-address": "x"}, []string{"GATEHOUSE_NONSENSE_THING=1", "AUTH_NONSENSE=1"}, "a: 1\n")
	if got := strings.Count(fmt.Sprint(err), "\n") + 1; got != 4 {
		t.Errorf("%d lines, want 4:\n%v", got, err)
	}
}

func TestSecurityMasterKeyLiteralsAreRefusedAndNotRepeated(t *testing.T) {
	for _, literal := range []string{"c2VjcmV0LXZhbHVlLXRoYXQtaXMtYS1rZXkhISEhISE=", "hunter2:hunter2", "awskms://arn:hunter2"} {
		_, _, err := load(t, nil, []string{"GATEHOUSE_SECRETS_MASTER_KEY=" + literal}, "")
		if err == nil || !strings.HasPrefix(err.Error(), "GATEHOUSE_SECRETS_MASTER_KEY: ") || strings.Contains(err.Error(), literal) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", literal, err)
		}
	}
	for _, ref := range []string{"env:KEY", "file:/etc/key"} {
		if s, _, err := load(t, settings.Flags{"secrets-master-key": ref}, nil, ""); err != nil || s.Secrets.MasterKey != ref {
			t.Errorf("%q: %v", ref, err)
		}
	}
}

func TestSecurityURLsWithPasswordsAreNotRepeated(t *testing.T) {
	for _, name := range []string{"DATABASE", "REDIS", "LOGS"} {
		for _, url := range []string{"postgres://u:hunter2@h/d", "sqlite://u:hunter2@h/d", "hunter2", "hunter2://x"} {
			_, _, err := load(t, nil, []string{"GATEHOUSE_" + name + "_URL=" + url}, "")
			if err == nil || strings.Contains(err.Error(), "u:hunter2") {
				t.Errorf("%s %s: %v", name, url, err)
			}
		}
	}
}

func TestPostgresIsTakenAsItsDriverTakesIt(t *testing.T) {
	for url, notices := range map[string][]string{
		"postgres://u:hunter2@127.0.0.1:5432/g":                              {"bootstrap.tokenFile"},
		"PostgreSQL://u:p%40ss@localhost/g?sslmode=disable":                  {"bootstrap.tokenFile"},
		"postgres://u:hunter2@db.example/g":                                  {"--database-url", "bootstrap.tokenFile"},
		"postgres://u:hunter2@db.example/g?sslmode=require":                  {"--database-url", "bootstrap.tokenFile"},
		"postgres://u:hunter2@db.example/g?sslmode=verify-full&sslrootcert=": {"bootstrap.tokenFile"},
		"postgres:///g?host=/run/postgresql":                                 {"bootstrap.tokenFile"},
	} {
		s, got, err := load(t, settings.Flags{"database-url": url, "secrets-master-key": "env:K"}, nil, "")
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		_, rest, _ := strings.Cut(url, ":")
		if u, ok := s.Database.Postgres(); !ok || !strings.HasPrefix(u, "postgres") || !strings.HasSuffix(u, rest) {
			t.Errorf("%s became %s, %v", url, u, ok)
		}
		var settings []string
		for _, n := range got {
			settings = append(settings, n.Setting)
			if strings.Contains(n.String(), "hunter2") {
				t.Errorf("%s: %s", url, n)
			}
		}
		if d := cmp.Diff(notices, settings); d != "" {
			t.Errorf("%s: %s", url, d)
		}
	}
	if _, ok := (settings.Database{URL: "sqlite:postgres:"}).Postgres(); ok {
		t.Error("a file is no server")
	}
}

func TestDevHasItsOwnDefaultsAndRefusesOtherMachines(t *testing.T) {
	s, _, err := settings.LoadDev(nil, nil, "")
	if err != nil || s.Database.URL != "sqlite:.gatehouse/gatehouse.db" || s.Log.Format != "text" {
		t.Fatal(s.Database, s.Log, err)
	}
	for _, flag := range []string{"server-address", "ops-address", "dev-address"} {
		for _, address := range []string{":7000", "0.0.0.0:7000", "192.0.2.1:7000", "[::]:7000", "example.com:7000"} {
			_, _, err := settings.LoadDev(settings.Flags{flag: address}, nil, "")
			if err == nil || !strings.HasPrefix(err.Error(), "--"+flag+": "+address+" is not a loopback address") {
				t.Errorf("%s %s: %v", flag, address, err)
			}
		}
		if _, _, err := settings.LoadDev(settings.Flags{flag: "[::1]:7000"}, nil, ""); err != nil {
			t.Error(err)
		}
	}
}

func TestPlacesFollowTheDatabase(t *testing.T) {
	type places struct {
		Path, Key, Token string
		Memory, Create   bool
	}
	for url, want := range map[string]places{
		"sqlite:///var/lib/g/g.db": {Path: "/var/lib/g/g.db", Key: "file:/var/lib/g/master.key", Token: "/var/lib/g/bootstrap.token", Create: true},
		"sqlite:./g.db":            {Path: "g.db", Key: "file:master.key", Token: "bootstrap.token", Create: true},
		"sqlite::memory:":          {Memory: true},
		"postgres://h/g":           {Memory: true, Key: "env:K"},
	} {
		flags := settings.Flags{"database-url": url}
		if strings.HasPrefix(url, "postgres") {
			flags["secrets-master-key"] = "env:K"
		}
		s, _, err := load(t, flags, nil, "")
		if err != nil {
			t.Error(err)
			continue
		}
		var got places
		got.Path, got.Memory = s.Database.SQLite()
		got.Key, got.Create = s.MasterKeyRef()
		got.Token = s.BootstrapTokenFile()
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", url, d)
		}
	}
	s, _, _ := load(t, settings.Flags{"secrets-master-key": "env:K", "bootstrap-token-file": "/t"}, nil, "")
	if ref, create := s.MasterKeyRef(); ref != "env:K" || create || s.BootstrapTokenFile() != "/t" {
		t.Error(ref, create, s.BootstrapTokenFile())
	}
}

func TestExternalURLAndHostsFollowTheListener(t *testing.T) {
	for _, c := range []struct {
		server    settings.Server
		listening string
		url       string
		hosts     string
	}{
		{settings.Server{}, "127.0.0.1:8080", "http://127.0.0.1:8080", "[localhost 127.0.0.1 ::1]"},
		{settings.Server{}, "[::]:8080", "http://127.0.0.1:8080", "[localhost 127.0.0.1 ::1]"},
		{settings.Server{TLS: settings.TLS{Cert: "c"}}, "192.0.2.1:443", "https://192.0.2.1:443", "[localhost 127.0.0.1 ::1 192.0.2.1]"},
		{settings.Server{ExternalURL: "https://G.example"}, "127.0.0.1:1", "https://G.example", "[localhost 127.0.0.1 ::1 g.example]"},
		{settings.Server{AllowedHosts: []string{"a.example"}}, "127.0.0.1:1", "http://127.0.0.1:1", "[a.example]"},
		{settings.Server{AllowedHosts: []string{}}, "127.0.0.1:1", "http://127.0.0.1:1", "[]"},
	} {
		if got := c.server.URL(c.listening); got != c.url {
			t.Errorf("%s: %s, want %s", c.listening, got, c.url)
		}
		if got := fmt.Sprint(c.server.Hosts(c.listening)); got != c.hosts {
			t.Errorf("%s: %s, want %s", c.listening, got, c.hosts)
		}
	}
}

func TestNoticesForWhatIsRiskyButAllowed(t *testing.T) {
	_, notices, err := load(t, settings.Flags{"server-trusted-proxies": "0.0.0.0/0", "server-external-url": "http://g.example/"},
		[]string{"SSL_CERT_FILE=/nowhere.pem"}, "")
	if err != nil || len(notices) != 3 {
		t.Error(notices, err)
	}
}

func TestSettingsReferenceIsUpToDate(t *testing.T) {
	committed, err := os.ReadFile("../../../docs/settings.md")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(settings.Reference()), string(committed)); d != "" {
		t.Errorf("docs/settings.md is out of date; run go run ./internal/app/settings/refgen\n%s", d)
	}
}

func TestSizesPrintAsTheyAreWritten(t *testing.T) {
	for text, want := range map[string]settings.Size{"25MiB": 25 << 20, "10MB": 10e6, "0": 0, "7": 7, "1 GiB": 1 << 30} {
		got, err := settings.ParseSize(text)
		if err != nil || got != want {
			t.Errorf("%s: %d, %v", text, got, err)
		}
		if again, err := settings.ParseSize(got.String()); err != nil || again != got {
			t.Errorf("%s prints as %s", text, got)
		}
	}
}
