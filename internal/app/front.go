package app

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/gatehouse-ai/gatehouse/internal/gateway"
)

// front is what every request meets first on the main listener: the Host
// allow-list (DNS rebinding) and paths that have one reading only.
func front(hosts []string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !hostAllowed(hosts, r.Host) {
			http.Error(w, "this server does not answer for the host "+quoteHost(r.Host)+"; add it to server.allowedHosts", http.StatusMisdirectedRequest)
			return
		}
		if gateway.CheckPath(r) != nil {
			http.Error(w, "the path must be canonical: no empty or dot segments, backslashes or encoded slashes", http.StatusBadRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
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
			http.Error(w, "authentication is off, and pages of other origins may not use the models; list the origin in server.cors.origins", http.StatusForbidden)
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
