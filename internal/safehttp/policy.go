package safehttp

import (
	"crypto/x509"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// Policy says where a client may connect. The zero value reaches public addresses by https and nothing else.
type Policy struct {
	// AllowLoopback lets a URL whose host is literally this machine (localhost, 127.0.0.1, ::1) connect to it. A
	// public name that resolves to a loopback address is refused all the same: that is DNS rebinding.
	AllowLoopback bool
	// AllowPrivate (allowPrivateNetwork in manifests) lets RFC 1918, RFC 6598 and unique local addresses through.
	AllowPrivate bool
	// AllowPlainHTTP (insecureHTTP in manifests) permits http away from loopback.
	AllowPlainHTTP bool
	// RootCAs are the only authorities trusted; nil means the system's (SSL_CERT_FILE is honoured by Go itself).
	RootCAs *x509.CertPool
}

// PolicyFor is the policy that a resource's own URL asks for: loopback where that URL's host is literally loopback,
// the rest as its manifest says. A URL that cannot be read gets no loopback.
func PolicyFor(raw string, allowPrivate, insecureHTTP bool) Policy {
	p := Policy{AllowPrivate: allowPrivate, AllowPlainHTTP: insecureHTTP}
	if u, err := url.Parse(raw); err == nil {
		p.AllowLoopback = IsLoopbackHost(u.Hostname())
	}
	return p
}

// CheckURL is the check at the time a URL is written: absolute, https (or http on a loopback host, or http where the
// policy allows it), no user or password, no fragment, and no address literal that the policy would refuse at dial
// time. A loopback host passes whatever AllowLoopback says: the design accepts it, and PolicyFor derives that field
// from the URL. Errors: ErrInvalidURL, ErrBlockedAddress.
func CheckURL(raw string, p Policy) error {
	u, err := url.Parse(raw)
	if err != nil {
		// url.Error repeats the URL, and a URL may hold a password.
		return refuse(ErrInvalidURL, "the URL cannot be parsed")
	}
	switch {
	case u.User != nil:
		return refuse(ErrInvalidURL, "a URL must not contain a user name or password")
	case u.Opaque != "" || u.Host == "" || u.Hostname() == "":
		return refuse(ErrInvalidURL, "%q is not an absolute URL such as https://host/path", raw)
	case strings.Contains(raw, "#"):
		return refuse(ErrInvalidURL, "%q must not have a fragment (#…)", raw)
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return refuse(ErrInvalidURL, "%q has no valid port", raw)
		}
	}
	if err := checkScheme(u, p); err != nil {
		return err
	}
	host := u.Hostname()
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return nil // a name: its addresses are checked when it is dialled
	}
	p.AllowLoopback = true
	return p.checkAddr(newClassifier(), host, addr)
}

func checkScheme(u *url.URL, p Policy) error {
	switch u.Scheme {
	case "https":
		return nil
	case "http":
		if p.AllowPlainHTTP || IsLoopbackHost(u.Hostname()) {
			return nil
		}
		return refuse(ErrInvalidURL, "plain http to %q is accepted on loopback only; use https, or set insecureHTTP: true", u.Hostname())
	}
	return refuse(ErrInvalidURL, "scheme %q is not https", u.Scheme)
}

// checkAddr decides about one resolved address of host.
func (p Policy) checkAddr(c classifier, host string, a netip.Addr) error {
	kind, what := c.classify(a)
	if IsLoopbackHost(host) && kind != loopback {
		// http is accepted for localhost because nothing leaves the machine; that must then be true.
		return refuse(ErrBlockedAddress, "%s resolves to %s, which is not a loopback address", host, a)
	}
	switch kind {
	case public:
		return nil
	case private:
		if p.AllowPrivate {
			return nil
		}
		return refuse(ErrBlockedAddress, "%s is at %s: %s; set allowPrivateNetwork: true to permit private addresses", host, a, what)
	case loopback:
		if !IsLoopbackHost(host) {
			return refuse(ErrBlockedAddress, "%s resolves to the loopback address %s; only a URL that says localhost or a loopback address may reach it", host, a)
		}
		if p.AllowLoopback {
			return nil
		}
		return refuse(ErrBlockedAddress, "%s: loopback addresses are not permitted here", a)
	}
	return refuse(ErrBlockedAddress, "%s is at %s: %s; never permitted, allowPrivateNetwork does not change it", host, a, what)
}
