package devidp

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

// Lifetimes of what the provider issues.
const (
	AccessTokenLifetime  = time.Hour
	RefreshTokenLifetime = 24 * time.Hour
	codeLifetime         = time.Minute
)

// DefaultAudience is the aud of access tokens where Options names none.
const DefaultAudience = "gatehouse"

// DefaultClient is the public client that exists where Options names none.
const DefaultClient = "gatehouse"

// User is one person. Everything about them is public.
type User struct {
	// Email is the name under which they sign in.
	Email string
	// Name is their display name; default the e-mail address.
	Name string
	// Password is for the password grant; the sign-in page does not ask for it.
	Password string
	// Groups are in their tokens' groups claim.
	Groups []string
}

// Subject returns the user's sub: always the same for the same address.
func (u User) Subject() string {
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte("mailto:"+strings.ToLower(u.Email))).String()
}

// Client is an application that may ask for tokens.
type Client struct {
	// ID is its client_id.
	ID string
	// Secret makes it a confidential client, which must authenticate, and which
	// alone may use the client_credentials grant. Empty: a public client.
	Secret string
	// RedirectURIs are where codes may be sent. They must match exactly, but
	// for the port of a loopback address (RFC 8252, 7.3).
	RedirectURIs []string
	// PostLogoutRedirectURIs are where a sign-out may lead.
	PostLogoutRedirectURIs []string
}

// Options describe a provider.
type Options struct {
	// Issuer is the URL under which the handler is reached, without a path. Its
	// host must be loopback.
	Issuer string
	// Users can sign in; at least one.
	Users []User
	// Clients may ask for tokens. Default: the public client gatehouse, with
	// /callback on 127.0.0.1, [::1] and localhost.
	Clients []Client
	// Audience is the aud of access tokens. Default gatehouse.
	Audience []string
	// KeyFile keeps the signing keys (0600), so that tokens outlive a restart.
	// It is made if it does not exist. Empty: new keys each time.
	KeyFile string
	// Clock is the time; nil means time.Now.
	Clock func() time.Time
}

// Provider is a development identity provider. It is safe for concurrent use.
type Provider struct {
	issuer   string
	audience []string
	users    []User
	clients  []Client
	keys     []key
	clock    func() time.Time

	mu    sync.Mutex
	codes map[string]*code
	// ended are the sessions that were signed out, with the time until which
	// their refresh tokens would live.
	ended map[string]time.Time
}

// code is an authorization code that was given out.
type code struct {
	client, redirect, challenge string
	nonce, scope, sid           string
	user                        User
	expires                     time.Time
	used                        bool
}

// New makes a provider.
func New(o Options) (*Provider, error) {
	u, err := url.Parse(o.Issuer)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || strings.Trim(u.Path, "/") != "" || u.RawQuery != "":
		return nil, fmt.Errorf("the development identity provider's issuer %q is not a URL without a path", o.Issuer)
	case !loopbackHost(u.Hostname()):
		return nil, fmt.Errorf("the development identity provider's issuer %q is not on a loopback address", o.Issuer)
	case len(o.Users) == 0:
		return nil, errors.New("the development identity provider has no users")
	}
	p := &Provider{
		issuer: strings.TrimRight(o.Issuer, "/"), audience: slices.Clone(o.Audience), users: slices.Clone(o.Users),
		clients: slices.Clone(o.Clients), clock: o.Clock, codes: map[string]*code{}, ended: map[string]time.Time{},
	}
	if p.clock == nil {
		p.clock = time.Now
	}
	if len(p.audience) == 0 {
		p.audience = []string{DefaultAudience}
	}
	if len(p.clients) == 0 {
		p.clients = []Client{{ID: DefaultClient, RedirectURIs: []string{
			"http://127.0.0.1/callback", "http://[::1]/callback", "http://localhost/callback",
		}}}
	}
	for i := range p.users {
		if p.users[i].Name == "" {
			p.users[i].Name = p.users[i].Email
		}
	}
	p.keys, err = openKeys(o.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("the development identity provider's keys: %w", err)
	}
	return p, nil
}

// Issuer returns the provider's URL, which is the iss of its tokens.
func (p *Provider) Issuer() string { return p.issuer }

// Warning is what whoever starts the provider must say.
func (p *Provider) Warning() string {
	return "DEVELOPMENT ONLY: the identity provider at " + p.issuer + " signs anybody in as any of its users; it must never be reached from another machine"
}

// CheckAddress refuses to be served on an address (host:port) that other
// machines can reach.
func CheckAddress(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("the development identity provider cannot listen on %q: it is not an address like 127.0.0.1:8081", address)
	}
	if !loopbackHost(host) {
		return fmt.Errorf("the development identity provider must not listen on %s: it signs anybody in; use a loopback address", address)
	}
	return nil
}

// CheckAddress is the function of the same name.
func (p *Provider) CheckAddress(address string) error { return CheckAddress(address) }

func loopbackHost(host string) bool {
	if a, err := netip.ParseAddr(host); err == nil {
		return a.Unmap().IsLoopback()
	}
	return strings.EqualFold(host, "localhost")
}

func (p *Provider) user(email string) (User, bool) {
	i := slices.IndexFunc(p.users, func(u User) bool { return strings.EqualFold(u.Email, email) })
	if i < 0 {
		return User{}, false
	}
	return p.users[i], true
}

func (p *Provider) client(id string) (Client, bool) {
	i := slices.IndexFunc(p.clients, func(c Client) bool { return c.ID == id })
	if i < 0 {
		return Client{}, false
	}
	return p.clients[i], true
}

// allows reports whether a redirect is one of the list: equal as a string, or
// equal but for the port where both are plain http on the same loopback name.
func allows(list []string, redirect string) bool {
	if slices.Contains(list, redirect) {
		return true
	}
	got, err := url.Parse(redirect)
	if err != nil || got.Scheme != "http" || !loopbackHost(got.Hostname()) || got.User != nil || got.Fragment != "" {
		return false
	}
	for _, s := range list {
		want, err := url.Parse(s)
		if err != nil || want.Scheme != "http" || want.Hostname() != got.Hostname() {
			continue
		}
		bare := *got
		bare.Host = want.Host
		if bare.String() == s {
			return true
		}
	}
	return false
}

// Handler serves the provider. Requests for a host that is not loopback are
// answered with 421, and a sign-in posted by a page of another origin with 403.
func (p *Provider) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", p.index)
	mux.HandleFunc("GET /.well-known/openid-configuration", p.discovery)
	mux.HandleFunc("GET /.well-known/oauth-authorization-server", p.discovery)
	mux.HandleFunc("GET /jwks", p.jwks)
	mux.HandleFunc("POST /token", p.token)
	mux.HandleFunc("GET /authorize", p.authorize)
	mux.HandleFunc("POST /authorize", p.signIn)
	mux.HandleFunc("GET /userinfo", p.userinfo)
	mux.HandleFunc("POST /userinfo", p.userinfo)
	mux.HandleFunc("GET /logout", p.logout)
	mux.HandleFunc("POST /logout", p.logout)
	mux.HandleFunc("GET /dev/token", p.devToken)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin") // no-referrer would make the Origin of our own form null
		h.Set("X-Gatehouse-Development", "true")
		if host := (&url.URL{Host: r.Host}).Hostname(); !loopbackHost(host) {
			http.Error(w, "the development identity provider answers on loopback addresses alone", http.StatusMisdirectedRequest)
			return
		}
		if o := r.Header.Get("Origin"); o != "" && r.Method == http.MethodPost && r.URL.Path == "/authorize" && o != "http://"+r.Host && o != "https://"+r.Host {
			http.Error(w, "this form was sent by a page of another origin", http.StatusForbidden)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
		mux.ServeHTTP(w, r)
	})
}
