package app

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestSecurityAPathThatTwoReadersReadDifferentlyIsRefused(t *testing.T) {
	h := front([]string{"localhost"}, time.Second, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	for path, want := range map[string]int{
		"/": 200, "/v1/models": 200, "/v1/models/a/b": 200, "/v1/models/a%2Fb": 200, "/api/v1/users/a@b.example": 200, "/api/v1/virtual-accounts/x/token:rotate": 200, "/v1/models/a..b": 200, "/v1/models/...": 200,
		"//": 400, "/v1//models": 400, "/v1/.": 400, "/v1/..": 400, "/../v1": 400, "/./v1": 400,
		"/v1/%2e%2e/x": 400, "/v1/%2E./x": 400, "/v1\\x": 400, "/v1%5Cx": 400, "/v1%5cx": 400, "/v1%2Fmodels": 400, "/api/v1/users/a%2fb": 400, "/v1/models%2Fa": 400, "/v1/x%00": 400, "/V1/Models/a%2Fb": 400,
	} {
		u, err := url.ParseRequestURI(path)
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, &http.Request{Method: http.MethodGet, Host: "localhost", URL: u})
		if w.Code != want {
			t.Errorf("%q: %d, want %d", path, w.Code, want)
		}
	}
}

func TestSecurityOnlyListedHostsAreAllowed(t *testing.T) {
	hosts := []string{"localhost", "127.0.0.1", "::1", "gatehouse.example.com"}
	for host, want := range map[string]bool{
		"localhost": true, "LocalHost:8080": true, "127.0.0.1:1": true, "[::1]:8080": true, "[::1]": true, "gatehouse.example.com": true,
		"": false, "evil.example": false, "localhost.evil.example": false, "gatehouse.example.com.evil.example": false, "gatehouse.example.com.": false, "0.0.0.0": false, "[::]": false, "127.0.0.1:80:80": false, "[::ffff:127.0.0.1]": false,
	} {
		if got := hostAllowed(hosts, host); got != want {
			t.Errorf("%q: %t, want %t", host, got, want)
		}
	}
}

func TestSecurityTheAddressIsTheLastHopThatNobodyWeTrustVouchesFor(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	for _, c := range []struct {
		name, remote string
		trusted      []netip.Prefix
		forwarded    []string
		want         string
	}{
		{"nobody is trusted", "10.0.0.1:1", nil, []string{"1.1.1.1"}, "10.0.0.1"},
		{"not from a proxy", "9.9.9.9:1", proxies, []string{"1.1.1.1"}, "9.9.9.9"},
		{"from a proxy", "10.0.0.1:1", proxies, []string{"1.1.1.1"}, "1.1.1.1"},
		{"from a proxy over IPv6", "[::1]:1", proxies, []string{"1.1.1.1"}, "1.1.1.1"},
		{"an IPv4 address in IPv6", "[::ffff:10.0.0.1]:1", proxies, []string{"1.1.1.1"}, "1.1.1.1"},
		{"two proxies", "10.0.0.1:1", proxies, []string{"1.1.1.1, 10.0.0.2"}, "1.1.1.1"},
		{"two headers", "10.0.0.1:1", proxies, []string{"6.6.6.6", "1.1.1.1, 10.0.0.2"}, "1.1.1.1"},
		{"the caller lies first", "10.0.0.1:1", proxies, []string{"10.9.9.9, 1.1.1.1"}, "1.1.1.1"},
		{"no header", "10.0.0.1:1", proxies, nil, "10.0.0.1"},
		{"nonsense", "10.0.0.1:1", proxies, []string{"1.1.1.1, x"}, "10.0.0.1"},
		{"only proxies", "10.0.0.1:1", proxies, []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = c.remote
		r.Header["X-Forwarded-For"] = c.forwarded
		if got := clientAddr(c.trusted)(r).String(); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestSecurityPagesOfOtherOriginsAreRefusedWhileAuthenticationIsOff(t *testing.T) {
	h := ownPagesOnly([]string{"https://app.example.com"}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	for origin, want := range map[string]int{
		"": 200, "https://app.example.com": 200, "http://127.0.0.1:8080": 200,
		"null": 403, "https://evil.example": 403, "http://127.0.0.1:9999": 403, "https://app.example.com.evil.example": 403,
	} {
		r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1:8080/v1/chat/completions", nil)
		if origin != "" {
			r.Header.Set("Origin", origin)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%q: %d, want %d", origin, w.Code, want)
		}
	}
}

func TestAFolderWithLinksInACircleIsLookedAtOnce(t *testing.T) {
	dir := t.TempDir()
	mustLink(t, dir, filepath.Join(dir, "again"))
	var folders int
	one := stampOf(dir, "", func(string) { folders++ })
	if folders > manifestDepth+2 {
		t.Errorf("%d folders", folders)
	}
	if two := stampOf(dir, "", func(string) {}); one != two {
		t.Error("the same folder has two stamps")
	}
}

func mustLink(t *testing.T, target, name string) {
	t.Helper()
	if err := os.Symlink(target, name); err != nil {
		t.Fatal(err)
	}
}
