package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/devidp"
	"github.com/gatehouse-ai/gatehouse/internal/gateway/llm"
	"github.com/gatehouse-ai/gatehouse/internal/testkit"
)

// publicRoutes are those that identity.md lists and this version has.
var publicRoutes = []string{"/", "/console/", "/console/some/page", "/health", "/livez", "/readyz", "/sso/login", "/sso/logout", "/sso/signed-out", "/sso/break-glass"}

// closedRoutes are all others: the gateway's, every path of the control API's
// own description, and names that nobody has registered.
func closedRoutes(t *testing.T, g *testkit.Gatehouse) []string {
	t.Helper()
	list := []string{
		"/v1/", "/v1/models", "/v1/models/echo/small", "/v1/models/echo%2Fsmall", "/v1/unknown", "/v1/files", "/v1/responses/resp_1",
		"/api/v1/", "/api/v1", "/api/v1/unknown", "/api/v2/", "/api/", "/metrics", "/debug/pprof/", "/scim/v2", "/scim/v2/Users", "/scim/v2/Groups/x", "/scim/v2/Me", "/scim/v2/Bulk", "/scim/v2/ServiceProviderConfig", "/scim/v2/Schemas", "/mcp/x", "/a2a/x", "/admin", "/.env",
	}
	for _, e := range llm.Calls() {
		list = append(list, "/v1"+e.Path())
	}
	var description struct {
		Paths map[string]map[string]any `json:"paths"`
	}
	g.Do(t, testkit.Request{Path: "/api/v1/openapi.json", Token: g.Admin}).JSON(t, &description)
	if len(description.Paths) < 20 {
		t.Fatalf("the description has %d paths", len(description.Paths))
	}
	for path := range description.Paths {
		list = append(list, regexp.MustCompile(`\{[a-z]+\}`).ReplaceAllString(path, "x"))
	}
	slices.Sort(list)
	return list
}

func TestSecurityAnonymousReachesOnlyThePublicRoutes(t *testing.T) {
	g := testkit.Start(t, testkit.Options{Manifests: echoAccount("echo", "")})
	methods := []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY"}
	credentials := map[string]string{"nobody": "", "a made-up token": "gtp_" + strings.Repeat("0", 49), "a made-up JWT": "e30.e30.e30"}
	count := 0
	for _, path := range closedRoutes(t, g) {
		for _, method := range methods {
			for who, token := range credentials {
				res := send(t, method, g.URL()+path, token, "")
				count++
				switch res.status {
				case http.StatusUnauthorized:
					if !strings.HasPrefix(res.header.Get("WWW-Authenticate"), "Bearer") {
						t.Errorf("%s %s by %s: 401 without a challenge", method, path, who)
					}
					if strings.Contains(res.header.Get("WWW-Authenticate"), "error=") != (token != "") {
						t.Errorf("%s %s by %s: %q", method, path, who, res.header.Get("WWW-Authenticate"))
					}
				case http.StatusNotFound:
				case http.StatusMethodNotAllowed: // known before anybody is asked for; the body says no more
					if strings.Contains(res.body, "small") {
						t.Errorf("%s %s by %s: %s", method, path, who, res.body)
					}
				default:
					t.Errorf("%s %s by %s: %d %s", method, path, who, res.status, res.body)
				}
			}
		}
	}
	for _, path := range publicRoutes {
		if res := send(t, http.MethodGet, g.URL()+path, "", ""); res.status != http.StatusOK && res.status != http.StatusFound {
			t.Errorf("%s is public: %d", path, res.status)
		}
	}
	// A cookie is nobody, everywhere.
	for _, path := range []string{"/v1/models", "/api/v1/me"} {
		if res := send(t, http.MethodGet, g.URL()+path, "", "", "Cookie", "session="+g.Admin, "X-Forwarded-User", "admin", "X-Forwarded-Email", "admin@example.com"); res.status != 401 {
			t.Errorf("%s with a cookie and forwarded names: %d", path, res.status)
		}
	}
	t.Logf("%d requests", count)
}

// Whoever adds a handler to the main listener must add it to the walk above.
func TestEveryHandlerOfTheMainListenerIsWalked(t *testing.T) {
	known := []string{"/v1/", "/api/v1/", "/api/v1", "GET /health", "GET /livez", "GET /readyz", "GET /{$}", "GET /console/", "/sso/", "/scim/v2", "/scim/v2/"}
	register := regexp.MustCompile(`\bmux\.Handle(?:Func)?\("([^"]+)"`)
	found := 0
	for _, file := range []string{"internal/app/serve.go", "internal/app/health.go", "internal/app/wire.go", "internal/app/app.go", "internal/app/dev.go", "internal/console/console.go"} {
		b, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range register.FindAllStringSubmatch(string(b), -1) {
			found++
			if !slices.Contains(known, m[1]) {
				t.Errorf("%s registers %q, which the walk of public routes does not know", file, m[1])
			}
		}
	}
	if found < len(known) {
		t.Errorf("only %d handlers were found: the walk looks in the wrong place", found)
	}
}

func TestAPreflightNeedsNoTokenAndOpensOnlyListedOrigins(t *testing.T) {
	g := testkit.Start(t, testkit.Options{Environ: []string{"GATEHOUSE_SERVER_CORS_ORIGINS=https://app.example.com"}})
	for origin, want := range map[string]string{"https://app.example.com": "https://app.example.com", "https://evil.example": "", "null": ""} {
		res := send(t, http.MethodOptions, g.URL()+"/v1/chat/completions", "", "", "Origin", origin, "Access-Control-Request-Method", "POST")
		if res.status != http.StatusNoContent || res.header.Get("Access-Control-Allow-Origin") != want {
			t.Errorf("%s: %d, allowed %q", origin, res.status, res.header.Get("Access-Control-Allow-Origin"))
		}
		if res := send(t, http.MethodGet, g.URL()+"/v1/models", "", "", "Origin", origin); res.status != 401 {
			t.Errorf("%s without a token: %d", origin, res.status)
		}
	}
}

// raw sends a request line as it is, which no client would.
func raw(t *testing.T, g *testkit.Gatehouse, method, target, host, token string) (int, string) {
	t.Helper()
	addr := strings.TrimPrefix(g.URL(), "http://")
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if host == "" {
		host = addr
	}
	_, _ = fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nConnection: close\r\n\r\n", method, target, host, token)
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("%s: %v", target, err)
	}
	defer func() { _ = res.Body.Close() }()
	b, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(b)
}

func TestSecurityPathsHaveOneReadingOnly(t *testing.T) {
	g := testkit.Start(t, testkit.Options{Manifests: echoAccount("echo", "")})
	for _, target := range []string{
		"//v1/models", "/v1//models", "/v1/../api/v1/users", "/v1/./models", "/v1/..", "/v1/.", "/console/../api/v1/users", "/health/../api/v1/users",
		"/%2e%2e/api/v1/users", "/v1/%2e%2e/api/v1/users", "/v1/%2E%2e/api/v1/users", "/v1/.%2e/api/v1/users", "/console/%2e%2e/api/v1/users",
		`/v1\models`, `/v1/..\api\v1\users`, "/v1/%5c..%5capi", "/v1%2fmodels", "/api%2Fv1%2Fusers", "/api/v1%2fusers", "/console/..%2fapi/v1/users", "/health%2f..%2fapi",
		"/v1/models/..%2f..%2fapi%2fv1%2fusers", "/v1/models/%2e%2e/api", "/v1/models/a%2f%2e%2e", "/v1/models/a%5cb", "/v1/models/a//b", "/v1/models/../chat/completions",
		"/v1/models%00", "/api/v1/users%00", "/v1/models/a%252fb", "/api/v1/teams/%2e%2e",
	} {
		for _, method := range []string{"GET", "POST"} {
			if code, body := raw(t, g, method, target, "", g.Admin); code != http.StatusBadRequest {
				t.Errorf("%s %s: %d %.200s", method, target, code, body)
			}
		}
	}
	// One way of writing an encoded slash has a meaning: the tail of a model's address.
	for _, target := range []string{"/v1/models/echo/small", "/v1/models/echo%2Fsmall", "/v1/models/echo%2fsmall"} {
		code, body := raw(t, g, "GET", target, "", g.Admin)
		if code != http.StatusOK {
			t.Errorf("%s: %d %s", target, code, body)
		}
	}
}

func TestSecurityOtherHostsAreNotAnswered(t *testing.T) {
	g := testkit.Start(t, testkit.Options{Environ: []string{"GATEHOUSE_SERVER_EXTERNAL_URL=https://gatehouse.example.com"}})
	addr := g.Address()
	for host, want := range map[string]int{
		addr: 200, "localhost": 200, "LOCALHOST:1": 200, "127.0.0.1": 200, "[::1]:8080": 200, "gatehouse.example.com": 200, "gatehouse.example.com:443": 200,
		"evil.example": 421, "evil.example:8080": 421, "127.0.0.1.evil.example": 421, "localhost.evil.example": 421, "gatehouse.example.com.": 421,
		"0.0.0.0": 421, "169.254.169.254": 421, "127.0.0.1@evil.example": 421,
	} {
		for _, path := range []string{"/api/v1/me", "/health", "/console/"} {
			code := rawTo(t, addr, path, host, g.Admin)
			if (code == 421 || code == 400) != (want == 421) { // net/http itself refuses what is no host at all with 400
				t.Errorf("Host %q, %s: %d", host, path, code)
			}
		}
	}
}

func rawTo(t *testing.T, addr, path, host, token string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	return res.StatusCode
}

func TestSecurityForwardedHeadersAreBelievedFromTrustedProxiesOnly(t *testing.T) {
	servers := proxied(t)
	for _, c := range []struct {
		name, trusted string
		header        []string
		want          int
	}{
		{"no proxy is trusted, no header", "", nil, 403},
		{"no proxy is trusted", "", []string{"X-Forwarded-For", "10.1.2.3"}, 403},
		{"another proxy is trusted", "192.0.2.1/32", []string{"X-Forwarded-For", "10.1.2.3"}, 403},
		{"the proxy says so", "127.0.0.0/8", []string{"X-Forwarded-For", "10.1.2.3"}, 200},
		{"the caller put it before the proxy's own", "127.0.0.0/8", []string{"X-Forwarded-For", "10.1.2.3, 198.51.100.9"}, 403},
		{"two proxies", "127.0.0.0/8,198.51.100.9/32", []string{"X-Forwarded-For", "10.1.2.3, 198.51.100.9"}, 200},
		{"something that is no address", "127.0.0.0/8", []string{"X-Forwarded-For", "10.1.2.3, unknown"}, 403},
		{"other headers", "127.0.0.0/8", []string{"X-Real-Ip", "10.1.2.3", "Forwarded", "for=10.1.2.3", "X_Forwarded_For", "10.1.2.3", "True-Client-Ip", "10.1.2.3", "Cf-Connecting-Ip", "10.1.2.3"}, 403},
	} {
		t.Run(c.name, func(t *testing.T) {
			url, pat := servers(c.trusted)
			res := send(t, http.MethodPost, url+"/v1/chat/completions", pat, chatBody("echo/small", "hi"), c.header...)
			if res.status != c.want {
				t.Errorf("%d, want %d: %s", res.status, c.want, res.body)
			}
			// The control API asks the same.
			res = send(t, http.MethodGet, url+"/api/v1/me", pat, "", c.header...)
			if res.status != c.want {
				t.Errorf("/api/v1/me: %d, want %d: %s", res.status, c.want, res.body)
			}
		})
	}
}

// proxied starts a server for each setting of server.trustedProxies, with a
// token that works from 10.1.2.0/24 alone.
func proxied(t *testing.T) func(trusted string) (url, token string) {
	idp := newCompany(t, "ada@acme.com")
	type one struct{ url, token string }
	started := map[string]one{}
	return func(trusted string) (string, string) {
		s, ok := started[trusted]
		if !ok {
			opt := testkit.Options{Manifests: docs(idp.manifest("company"), echoAccount("echo", ""))}
			if trusted != "" {
				opt.Environ = []string{"GATEHOUSE_SERVER_TRUSTED_PROXIES=" + trusted}
			}
			g := testkit.Start(t, opt)
			s.url = g.URL()
			s.token, _ = newToken(t, s.url, idp.token("ada@acme.com", devidp.MintOptions{}), "/api/v1/me/tokens", `{"name":"narrow","narrowing":{"cidr":["10.1.2.0/24"]}}`)
			started[trusted] = s
		}
		return s.url, s.token
	}
}

// newToken makes a token and returns it with its id.
func newToken(t testing.TB, url, owner, path, body string) (secret, id string) {
	t.Helper()
	res := send(t, http.MethodPost, url+path, owner, body)
	if res.status != http.StatusCreated {
		t.Fatalf("%s: %d %s", path, res.status, res.body)
	}
	var made struct{ Token, ID string }
	if err := json.Unmarshal([]byte(res.body), &made); err != nil || made.Token == "" {
		t.Fatalf("%v %s", err, res.body)
	}
	return made.Token, made.ID
}
