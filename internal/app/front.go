package app

import (
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/gateway"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// front is what every request meets first on the main listener: the Host
// allow-list (DNS rebinding) and paths that have one reading only. rest is how
// long what nobody has read of a body may take to come: the server reads it
// before it goes on with the connection, and a stranger could send the first
// byte of one and no other.
func front(hosts []string, rest time.Duration, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			defer hurry(w, rest)
		}
		if !hostAllowed(hosts, r.Host) {
			refuse(w, r, identity.CodeMisdirectedRequest, "this server does not answer for the host "+quoteHost(r.Host)+"; add it to server.allowedHosts")
			return
		}
		if gateway.CheckPath(r) != nil {
			refuse(w, r, identity.CodeInvalidRequest, "the path must be canonical: no empty or dot segments, backslashes or encoded slashes")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// hurry asks the writer itself, which is the server's: http.ResponseController
// would cost the gateway an allocation for every call.
func hurry(w http.ResponseWriter, rest time.Duration) {
	if d, ok := w.(interface{ SetReadDeadline(time.Time) error }); ok {
		_ = d.SetReadDeadline(time.Now().Add(rest)) // the connection is gone: nothing to wait for
	}
}

// refuse answers in the form that the path's callers read: OpenAI's for the
// models, RFC 9457's for the control API, a line of text elsewhere.
func refuse(w http.ResponseWriter, r *http.Request, code identity.Code, message string) {
	status := code.Status()
	var body any
	switch {
	case strings.HasPrefix(r.URL.Path, "/api/"):
		w.Header().Set("Content-Type", "application/problem+json")
		body = map[string]any{"title": http.StatusText(status), "status": status, "code": code, "detail": message}
	case strings.HasPrefix(r.URL.Path, "/v1/"):
		w.Header().Set("Content-Type", "application/json")
		body = map[string]any{"error": map[string]any{"message": message, "type": "invalid_request_error", "param": nil, "code": code}}
	default:
		http.Error(w, message, status)
		return
	}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client is gone: nobody to tell
}

// ownPagesOnly refuses what a browser sends for a page of an origin that is not
// listed. It stands before the gateway while authentication is off: then being
// on this machine is the credential, and any page that is open in a browser
// here is on this machine.
func ownPagesOnly(origins []string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o := r.Header.Get("Origin")
		own := o == "" || o == "http://"+r.Host || o == "https://"+r.Host || slices.Contains(origins, o)
		if !own && r.Method != http.MethodOptions {
			refuse(w, r, identity.CodePermissionDenied, "authentication is off, and pages of other origins may not use the models; list the origin in server.cors.origins")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// hostAllowed compares the host without its port.
func hostAllowed(hosts []string, host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	return slices.Contains(hosts, "*") || slices.Contains(hosts, host)
}

// quoteHost shows a host without letting it say anything else.
func quoteHost(h string) string {
	clean := strings.Map(func(r rune) rune {
		if r == '.' || r == '-' || r == ':' || r == '[' || r == ']' || (r >= '0' && r <= '9') || (r >= 'a' && r <= 'z') || (r >= 'A' && r <= 'Z') {
			return r
		}
		return '?'
	}, h)
	return "\"" + clean[:min(len(clean), 100)] + "\""
}

// clientAddr returns the caller's address: the connection's, or, where that is
// a trusted proxy's, the last address in X-Forwarded-For that is not one.
func clientAddr(trusted []netip.Prefix) func(*http.Request) netip.Addr {
	isTrusted := func(a netip.Addr) bool {
		return slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	return func(r *http.Request) netip.Addr {
		ap, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil {
			return netip.Addr{}
		}
		addr := ap.Addr().Unmap()
		if len(trusted) == 0 || !isTrusted(addr) {
			return addr
		}
		hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
		for i := len(hops) - 1; i >= 0; i-- {
			hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
			if err != nil {
				return addr
			}
			addr = hop.Unmap()
			if !isTrusted(addr) {
				return addr
			}
		}
		return addr
	}
}
