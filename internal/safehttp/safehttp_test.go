package safehttp

import (
	"context"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/dns/dnsmessage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSecurityAddressesAreClassified(t *testing.T) {
	cases := map[class][]string{
		public: {"8.8.8.8", "1.1.1.1", "2606:4700::1111", "64:ff9b::808:808", "2002:808:808::1", "::ffff:8.8.8.8", "172.32.0.1", "100.128.0.1", "11.0.0.1"},
		private: {
			"10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "198.18.0.1", "fd12:3456::1", "fc00::1", "fec0::1",
			"::ffff:10.0.0.1", "64:ff9b:1::808:808",
		},
		loopback: {"127.0.0.1", "127.255.0.3", "::1", "::ffff:127.0.0.1"},
		forbidden: {
			"169.254.169.254", "169.254.0.1", "::ffff:169.254.169.254", "fe80::1", "fe80::1%eth0", "febf::1", "fd00:ec2::254", "fd20:ce::254",
			"100.100.100.200", "168.63.129.16", "192.0.0.192", "0.0.0.0", "0.1.2.3", "::", "224.0.0.1", "239.1.1.1", "ff02::1", "255.255.255.255", "240.0.0.1",
			"64:ff9b::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe", "2002:a9fe:a9fe::1", "2002:7f00:1::1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "::169.254.169.254", "::127.0.0.1",
			"::ffff:0:169.254.169.254", "2001:0:1:2:3:4:5601:5601", "2606:4700::5efe:169.254.169.254", "fe80::5efe:a00:1",
		},
	}
	c := newClassifier()
	for want, list := range cases {
		for _, s := range list {
			if got, why := c.classify(netip.MustParseAddr(s)); got != want {
				t.Errorf("%s: class %d (%s), want %d", s, got, why, want)
			}
		}
	}
	if got, _ := c.classify(netip.Addr{}); got != forbidden {
		t.Error("no address is no permission")
	}
}

func TestSecurityURLsAreCheckedWhenWritten(t *testing.T) {
	cases := []struct {
		url  string
		p    Policy
		want error
	}{
		{"https://idp.example/x?y=z", Policy{}, nil},
		{"http://localhost:8080/x", Policy{}, nil},
		{"http://api.localhost./x", Policy{}, nil},
		{"http://127.0.0.1:1", Policy{}, nil},
		{"http://[::1]:1/", Policy{}, nil},
		{"https://127.0.0.1", Policy{}, nil},
		{"http://idp.example", Policy{}, ErrInvalidURL},
		{"http://idp.example", Policy{AllowPlainHTTP: true}, nil},
		{"http://localhost.evil.example", Policy{}, ErrInvalidURL},
		{"http://127.0.0.1.evil.example", Policy{}, ErrInvalidURL},
		{"http://127.1", Policy{}, ErrInvalidURL},
		{"http://2130706433", Policy{}, ErrInvalidURL},
		{"HTTPS://idp.example", Policy{}, nil},
		{"ftp://idp.example", Policy{}, ErrInvalidURL},
		{"file:///etc/passwd", Policy{}, ErrInvalidURL},
		{"https:idp.example", Policy{}, ErrInvalidURL},
		{"https://", Policy{}, ErrInvalidURL},
		{"https://:443/", Policy{}, ErrInvalidURL},
		{"//idp.example/", Policy{}, ErrInvalidURL},
		{"idp.example", Policy{}, ErrInvalidURL},
		{"", Policy{}, ErrInvalidURL},
		{"https://user:pw@idp.example", Policy{}, ErrInvalidURL},
		{"https://@idp.example", Policy{}, ErrInvalidURL},
		{"https://idp.example/#x", Policy{}, ErrInvalidURL},
		{"https://idp.example/#", Policy{}, ErrInvalidURL},
		{"https://idp.example:0", Policy{}, ErrInvalidURL},
		{"https://idp.example:99999", Policy{}, ErrInvalidURL},
		{"https://idp example", Policy{}, ErrInvalidURL},
		{"https://10.0.0.1", Policy{}, ErrBlockedAddress},
		{"https://10.0.0.1", Policy{AllowPrivate: true}, nil},
		{"https://169.254.169.254/latest", Policy{AllowPrivate: true, AllowLoopback: true, AllowPlainHTTP: true}, ErrBlockedAddress},
		{"http://169.254.169.254/latest", Policy{AllowPrivate: true, AllowPlainHTTP: true}, ErrBlockedAddress},
		{"https://[fe80::1%25eth0]/", Policy{AllowPrivate: true}, ErrBlockedAddress},
		{"https://[::ffff:169.254.169.254]/", Policy{AllowPrivate: true}, ErrBlockedAddress},
	}
	for _, c := range cases {
		err := CheckURL(c.url, c.p)
		if c.want == nil && err != nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s %+v: %v, want %v", c.url, c.p, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "pw") {
			t.Errorf("the error repeats a password: %v", err)
		}
	}
}

func TestPrivateAddressRefusalNamesTheField(t *testing.T) {
	if err := CheckURL("https://10.0.0.1", Policy{}); err == nil || !strings.Contains(err.Error(), "allowPrivateNetwork: true") {
		t.Error(err)
	}
}

// resolver answers every name with one address, over a pipe: no packet leaves the process.
func resolver(t *testing.T, addr string) *net.Resolver {
	answer := netip.MustParseAddr(addr)
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go func() {
			defer server.Close()
			for {
				var size [2]byte
				if _, err := io.ReadFull(server, size[:]); err != nil {
					return
				}
				query := make([]byte, binary.BigEndian.Uint16(size[:]))
				if _, err := io.ReadFull(server, query); err != nil {
					return
				}
				var m dnsmessage.Message
				if err := m.Unpack(query); err != nil {
					t.Error(err)
					return
				}
				q := m.Questions[0]
				m.Response, m.Additionals = true, nil
				if h := (dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1}); q.Type == dnsmessage.TypeA && answer.Is4() {
					m.Answers = []dnsmessage.Resource{{Header: h, Body: &dnsmessage.AResource{A: answer.As4()}}}
				} else if q.Type == dnsmessage.TypeAAAA && answer.Is6() {
					m.Answers = []dnsmessage.Resource{{Header: h, Body: &dnsmessage.AAAAResource{AAAA: answer.As16()}}}
				}
				out, err := m.Pack()
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := server.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...)); err != nil {
					return
				}
			}
		}()
		return client, nil
	}}
}

func get(tr *http.Transport, url string) error {
	defer tr.CloseIdleConnections()
	_, _, err := Fetch(context.Background(), &http.Client{Transport: tr}, url, 100, 5*time.Second)
	return err
}

func TestSecurityDialChecksTheResolvedAddress(t *testing.T) {
	reached := false
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer srv.Close()
	_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
	all := Policy{AllowLoopback: true, AllowPrivate: true, AllowPlainHTTP: true}
	for _, c := range []struct {
		name, resolves string
		p              Policy
	}{
		{"rebind.example", "127.0.0.1", all},
		{"rebind6.example", "::1", all},
		{"meta.example", "169.254.169.254", all},
		{"meta6.example", "fd00:ec2::254", all},
		{"nat64.example", "64:ff9b::a9fe:a9fe", all},
		{"mapped.example", "::ffff:169.254.169.254", all},
		{"intranet.example", "10.1.2.3", Policy{AllowLoopback: true, AllowPlainHTTP: true}},
	} {
		tr := NewTransport(c.p, Options{Resolver: resolver(t, c.resolves)})
		if err := get(tr, "http://"+c.name+":"+port); !errors.Is(err, ErrBlockedAddress) {
			t.Errorf("%s at %s: %v", c.name, c.resolves, err)
		}
	}
	if reached {
		t.Error("the server was reached")
	}
}

func TestLoopbackIsReachedWhereTheURLSaysSo(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }))
	defer srv.Close()
	if err := get(NewTransport(PolicyFor(srv.URL, false, false), Options{}), srv.URL); err != nil {
		t.Error(err)
	}
	if err := get(NewTransport(Policy{}, Options{}), srv.URL); !errors.Is(err, ErrBlockedAddress) {
		t.Errorf("the zero policy must refuse loopback: %v", err)
	}
	if err := get(NewTransport(PolicyFor("https://idp.example", true, true), Options{}), srv.URL); !errors.Is(err, ErrBlockedAddress) {
		t.Errorf("another URL's policy must not reach loopback: %v", err)
	}
}

func TestSecurityPlainHTTPStaysOnLoopback(t *testing.T) {
	tr := NewTransport(Policy{AllowPrivate: true}, Options{Resolver: resolver(t, "10.1.2.3")})
	if err := get(tr, "http://idp.example/"); !errors.Is(err, ErrInvalidURL) {
		t.Error(err)
	}
	p := Policy{}
	if err := p.checkAddr(newClassifier(), "localhost", netip.MustParseAddr("8.8.8.8")); !errors.Is(err, ErrBlockedAddress) {
		t.Errorf("localhost that is elsewhere: %v", err)
	}
}

func TestSecurityProxyOfTheEnvironmentIsNotUsedUnlessAsked(t *testing.T) {
	asked := false
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:9")
	req := httptest.NewRequest(http.MethodGet, "https://idp.example/", nil)
	if u, err := NewTransport(Policy{}, Options{}).Proxy(req); u != nil || err != nil {
		t.Error(u, err)
	}
	tr := NewTransport(Policy{}, Options{Proxy: func(*http.Request) (*url.URL, error) { asked = true; return nil, nil }})
	if _, err := tr.Proxy(req); err != nil || !asked {
		t.Error("a proxy that was asked for is used")
	}
}

func TestSecurityRootCAsAreTheOnlyOnesTrusted(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer srv.Close()
	srv.Config.ErrorLog = nil
	p := PolicyFor(srv.URL, false, false)
	var unknown x509.UnknownAuthorityError
	if err := get(NewTransport(p, Options{}), srv.URL); !errors.As(err, &unknown) {
		t.Errorf("an unknown CA: %v", err)
	}
	p.RootCAs = x509.NewCertPool()
	p.RootCAs.AddCert(srv.Certificate())
	if err := get(NewTransport(p, Options{}), srv.URL); err != nil {
		t.Error(err)
	}
}

func TestFetchIsBounded(t *testing.T) {
	release := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X", "y")
		fmt.Fprint(w, strings.Repeat("a", 100))
	})
	mux.HandleFunc("/big", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Repeat("a", 101)) })
	mux.HandleFunc("/stream", func(w http.ResponseWriter, _ *http.Request) {
		for range 50 {
			fmt.Fprint(w, "abcdef")
			w.(http.Flusher).Flush()
		}
	})
	mux.HandleFunc("/500", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "secret", 500) })
	mux.HandleFunc("/hang", func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("/hop/{n}", func(w http.ResponseWriter, r *http.Request) {
		if n := r.PathValue("n"); n != "0" {
			http.Redirect(w, r, fmt.Sprintf("/hop/%d", n[0]-'1'), http.StatusFound)
		}
	})
	mux.HandleFunc("/out", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://idp.example/", http.StatusFound)
	})
	mux.HandleFunc("/user", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://u:p@idp.example/", http.StatusFound)
	})
	srv := httptest.NewServer(mux)
	defer srv.Close()
	defer close(release)
	p := PolicyFor(srv.URL, false, true)
	for path, want := range map[string]error{
		"/ok": nil, "/big": ErrTooLarge, "/stream": ErrTooLarge, "/500": ErrStatus,
		"/hop/5": nil, "/hop/6": ErrRedirect, "/out": ErrRedirect, "/user": ErrRedirect,
	} {
		err := get(NewTransport(p, Options{}), srv.URL+path)
		if want == nil && err != nil || want != nil && !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}
	tr := NewTransport(p, Options{})
	defer tr.CloseIdleConnections()
	if _, _, err := Fetch(context.Background(), &http.Client{Transport: tr}, srv.URL+"/hang", 1, 20*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a server that hangs: %v", err)
	}
	body, header, err := Fetch(context.Background(), &http.Client{Transport: tr}, srv.URL+"/ok", 100, time.Second)
	if len(body) != 100 || header.Get("X") != "y" || err != nil {
		t.Error(len(body), header, err)
	}
}

func TestSecurityRedirectsStayInTheirClass(t *testing.T) {
	for _, c := range []struct {
		from, to string
		ok       bool
	}{
		{"https://a.example", "https://b.example", true},
		{"https://a.example", "http://a.example", false},
		{"https://a.example", "https://localhost", false},
		{"https://a.example", "https://[::1]/", false},
		{"http://a.example", "http://a.example/x", false},
		{"http://a.example", "https://a.example/", true},
		{"http://localhost", "http://127.0.0.1/", true},
		{"http://localhost", "https://a.example/", true},
		{"https://localhost", "http://localhost/", false},
		{"https://a.example", "file:///etc/passwd", false},
	} {
		from, _ := http.NewRequest(http.MethodGet, c.from, nil)
		to, _ := http.NewRequest(http.MethodGet, c.to, nil)
		if err := redirects(to, []*http.Request{from}); (err == nil) != c.ok || err != nil && !errors.Is(err, ErrRedirect) {
			t.Errorf("%s -> %s: %v", c.from, c.to, err)
		}
	}
}

func TestEveryTransportHasTimeouts(t *testing.T) {
	tr := NewTransport(Policy{}, Options{})
	if tr.ResponseHeaderTimeout == 0 || tr.TLSHandshakeTimeout == 0 || tr.IdleConnTimeout == 0 {
		t.Errorf("%+v", tr)
	}
	if got := NewTransport(Policy{}, Options{ResponseHeaderTimeout: -1, MaxIdleConnsPerHost: 256}); got.ResponseHeaderTimeout != 0 || got.MaxIdleConnsPerHost != 256 {
		t.Error("options are not used")
	}
}
