package safehttp

import (
	"cmp"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"
	"time"
)

// Options tune a transport. The zero value suits a client that asks one server now and then.
type Options struct {
	DialTimeout           time.Duration // default 5 s
	TLSHandshakeTimeout   time.Duration // default 5 s
	ResponseHeaderTimeout time.Duration // default 30 s; negative: none, the caller bounds it by context
	IdleConnTimeout       time.Duration // default 90 s
	KeepAlive             time.Duration // TCP probes; default 30 s

	MaxIdleConns           int   // default 100
	MaxIdleConnsPerHost    int   // default 4; a gateway wants hundreds
	MaxConnsPerHost        int   // default 0: no limit
	MaxResponseHeaderBytes int64 // default 256 KiB
	ReadBufferSize         int   // default Go's 4 KiB
	WriteBufferSize        int   // default Go's 4 KiB

	DisableKeepAlives  bool
	DisableHTTP2       bool
	DisableCompression bool

	// Proxy is asked for each request; nil means no proxy, and the environment is never read unless this is
	// http.ProxyFromEnvironment. The policy then judges the proxy's address: the proxy judges the target's.
	Proxy func(*http.Request) (*url.URL, error)
	// ClientCertificates are offered when the server asks (mTLS to an upstream).
	ClientCertificates []tls.Certificate
	// Resolver replaces the system's; for tests.
	Resolver *net.Resolver
}

// NewTransport returns a transport that obeys the policy for every request and connection it makes. Its owner calls
// CloseIdleConnections when done. A refused request fails with ErrBlockedAddress or ErrInvalidURL inside the url.Error.
func NewTransport(p Policy, o Options) *http.Transport {
	c := newClassifier()
	header := o.ResponseHeaderTimeout
	switch {
	case header == 0:
		header = 30 * time.Second
	case header < 0:
		header = 0
	}
	t := &http.Transport{
		DialContext:            dialer(p, c, o),
		Proxy:                  gate(p, o.Proxy),
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: p.RootCAs, Certificates: o.ClientCertificates},
		TLSHandshakeTimeout:    cmp.Or(o.TLSHandshakeTimeout, 5*time.Second),
		ResponseHeaderTimeout:  header,
		ExpectContinueTimeout:  time.Second,
		IdleConnTimeout:        cmp.Or(o.IdleConnTimeout, 90*time.Second),
		MaxIdleConns:           cmp.Or(o.MaxIdleConns, 100),
		MaxIdleConnsPerHost:    cmp.Or(o.MaxIdleConnsPerHost, 4),
		MaxConnsPerHost:        o.MaxConnsPerHost,
		MaxResponseHeaderBytes: cmp.Or(o.MaxResponseHeaderBytes, 256<<10),
		ReadBufferSize:         o.ReadBufferSize,
		WriteBufferSize:        o.WriteBufferSize,
		DisableKeepAlives:      o.DisableKeepAlives,
		DisableCompression:     o.DisableCompression,
		ForceAttemptHTTP2:      !o.DisableHTTP2,
	}
	if o.DisableHTTP2 {
		t.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	}
	return t
}

// gate uses the one hook that http.Transport calls with the request itself, before it chooses a connection, to keep
// plain HTTP where the policy has it.
func gate(p Policy, proxy func(*http.Request) (*url.URL, error)) func(*http.Request) (*url.URL, error) {
	return func(r *http.Request) (*url.URL, error) {
		if err := checkScheme(r.URL, p); err != nil {
			return nil, err
		}
		if proxy == nil {
			return nil, nil
		}
		return proxy(r)
	}
}

func dialer(p Policy, c classifier, o Options) func(context.Context, string, string) (net.Conn, error) {
	base := net.Dialer{
		Timeout:   cmp.Or(o.DialTimeout, 5*time.Second),
		KeepAlive: cmp.Or(o.KeepAlive, 30*time.Second),
		Resolver:  o.Resolver,
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		d := base
		// Control runs after DNS, once for each address that is about to be connected to.
		d.Control = func(_, resolved string, _ syscall.RawConn) error {
			ap, err := netip.ParseAddrPort(resolved)
			if err != nil {
				return refuse(ErrBlockedAddress, "%s resolved to something that is no address", host)
			}
			return p.checkAddr(c, host, ap.Addr())
		}
		return d.DialContext(ctx, network, addr)
	}
}
