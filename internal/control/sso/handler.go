package sso

import (
	"errors"
	"log/slog"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

const (
	// maxForm is the size of the largest form, a SAML response, in bytes, and
	// formTime how long a body may take to come.
	maxForm  = 1 << 20
	formTime = 10 * time.Second
)

// Handler serves everything under /sso/.
type Handler struct {
	opt      Options
	origin   string // scheme and host of the external URL
	base     string // the external URL without a slash at its end
	mux      *http.ServeMux
	pages    *Pages
	sessions *Sessions
	oidc     *openID
	saml     *samlProtocol // nil: none
	guard    *guard
	// crowd counts what strangers ask for without a form of ours; what they fill
	// it with is in nobody's way at the emergency door.
	crowd     *tally
	refusals  *refusals
	verifying map[string]chan struct{} // a place for each message that is verified at a time
	formTime  time.Duration
}

// New returns the handler. Close it when done.
func New(opt Options) (*Handler, error) {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Snapshots == nil || opt.Store == nil || opt.Sessions == nil || opt.Sealer == nil || opt.Secret == nil {
		return nil, errors.New("sso: Snapshots, Store, Sessions, Sealer and Secret are required")
	}
	u, err := url.Parse(opt.ExternalURL)
	if err != nil || u.Host == "" {
		return nil, errors.New("sso: the external URL is not a URL")
	}
	pages, err := NewPages()
	if err != nil {
		return nil, err
	}
	h := &Handler{
		opt: opt, origin: u.Scheme + "://" + u.Host, base: strings.TrimRight(opt.ExternalURL, "/"), pages: pages, mux: http.NewServeMux(),
		guard: newGuard(), crowd: newTally(), refusals: newRefusals(), verifying: newPlaces(), formTime: formTime,
	}
	h.sessions = newSessions(h)
	h.oidc = newOpenID(h)
	if opt.SAML != nil {
		h.saml = newSAML(h, opt.SAML)
	}
	h.routes()
	return h, nil
}

func (h *Handler) routes() {
	h.mux.HandleFunc("GET /sso/login", h.loginPage)
	h.mux.HandleFunc("GET /sso/signed-out", h.signedOut)
	h.mux.HandleFunc("GET /sso/logout", h.logoutPage)
	h.mux.HandleFunc("POST /sso/logout", h.logout)
	h.mux.HandleFunc("GET /sso/{connection}/login", h.begin)
	h.mux.HandleFunc("GET /sso/{connection}/callback", h.callback)
	h.mux.HandleFunc("POST /sso/{connection}/backchannel-logout", h.backchannel)
	h.mux.HandleFunc("GET /sso/{connection}/frontchannel-logout", h.frontchannel)
	h.mux.HandleFunc("POST /sso/{connection}/saml/acs", h.acs)
	h.mux.HandleFunc("GET /sso/{connection}/saml/slo", h.singleLogout)
	h.mux.HandleFunc("POST /sso/{connection}/saml/slo", h.singleLogout)
	h.mux.HandleFunc("GET /sso/{connection}/saml/metadata", h.metadata)
	h.mux.HandleFunc("GET /sso/break-glass", h.breakGlassPage)
	h.mux.HandleFunc("POST /sso/break-glass", h.breakGlassSignIn)
	h.mux.HandleFunc("GET /sso/break-glass/setup", h.breakGlassSetupPage)
	h.mux.HandleFunc("POST /sso/break-glass/setup", h.breakGlassSetup)
	h.mux.HandleFunc("/sso/", func(w http.ResponseWriter, r *http.Request) {
		h.fail(w, r, "", &Failure{What: aPage, Status: http.StatusNotFound, Reason: "no_page", Title: "There is no such page", Text: "Go to the sign-in page."})
	})
}

// ServeHTTP serves the pages. Nothing here is ever cached.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	id := uuid.Must(uuid.NewV7()).String()
	w.Header().Set("X-Request-Id", id)
	r.Header.Set("X-Request-Id", id) // ours: what a browser sends says nothing
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if r.ContentLength != 0 {
		h.hurry(w)
	}
	h.mux.ServeHTTP(w, r)
}

// Sessions returns the sessions, for the control API.
func (h *Handler) Sessions() *Sessions { return h.sessions }

// Pages returns the pages, for our authorization server's consent.
func (h *Handler) Pages() *Pages { return h.pages }

// Close lets go of connections to identity providers.
func (h *Handler) Close() { h.oidc.close() }

func (h *Handler) now() time.Time { return h.opt.Now() }

func (h *Handler) addr(r *http.Request) string {
	if h.opt.Addr != nil {
		if a := h.opt.Addr(r); a.IsValid() {
			return a.String()
		}
		return ""
	}
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	return ap.Addr().Unmap().String()
}

func (h *Handler) snapshot() (*snapshot.Snapshot, error) {
	if s := h.opt.Snapshots.Load(); s != nil {
		return s, nil
	}
	return nil, identity.Errorf(identity.CodeNoSnapshot, "there is no configuration")
}

// anyConnection finds the connection that a path names, enabled or not. What
// signs people in asks whether it is; what ends sessions goes on when nobody
// may sign in any more.
func (h *Handler) anyConnection(r *http.Request) (*snapshot.Snapshot, *v1.SsoConnection, error) {
	s, err := h.snapshot()
	if err != nil {
		return nil, nil, err
	}
	c, ok := s.SsoConnection(r.PathValue("connection"))
	if !ok {
		return nil, nil, noConnection()
	}
	return s, c, nil
}

func noConnection() *Failure {
	return &Failure{
		Status: http.StatusNotFound, Reason: "no_connection", Title: "There is no such sign-in",
		Text: "This way to sign in does not exist or is switched off. Choose another on the sign-in page.",
	}
}

// begin sends the browser to the identity provider.
func (h *Handler) begin(w http.ResponseWriter, r *http.Request) {
	s, c, err := h.anyConnection(r)
	tester := ""
	switch {
	case err != nil:
	case r.URL.Query().Has("test"):
		tester, err = h.tester(r, c, r.URL.Query().Get("test"))
	case !c.Spec.Enabled:
		err = noConnection()
	}
	if err != nil {
		h.fail(w, r, "", err)
		return
	}
	hint := v1.NormalizeEmail(r.URL.Query().Get("login_hint"))
	if !v1.ValidEmail(hint) {
		hint = ""
	}
	a := h.newAttempt(c, r.URL.Query().Get("return_to"), hint)
	a.Test = tester
	if old, ok := currentSession(s, r); ok {
		a.Session = old.ID
	}
	var to Onward
	site := http.SameSiteLaxMode
	switch {
	case c.Spec.Protocol != v1.SsoSAML:
		to.Location, err = h.oidc.begin(r.Context(), c, a)
	case h.saml == nil:
		err = Misconfigured("no_saml", "SAML is not available in this installation.", nil)
	default:
		site = http.SameSiteNoneMode
		to, err = h.saml.begin(r.Context(), c, a)
	}
	if err == nil {
		err = h.saveAttempt(w, r, a, site)
	}
	if err != nil {
		h.fail(w, r, c.Name, err)
		return
	}
	h.sendOnward(w, r, to, postPage{Title: "Continue with " + c.Title(), Text: "You sign in there and come back here.", Button: "Continue with " + c.Title()})
}

// sendOnward sends the browser on: by a redirect, or by the form of a page.
func (h *Handler) sendOnward(w http.ResponseWriter, r *http.Request, to Onward, page postPage) {
	if to.Form != nil {
		h.pages.postOnward(w, to, page)
		return
	}
	w.Header().Set("Referrer-Policy", "no-referrer")
	http.Redirect(w, r, to.Location, http.StatusSeeOther)
}

// callback takes an OpenID provider's answer.
func (h *Handler) callback(w http.ResponseWriter, r *http.Request) {
	s, c, err := h.anyConnection(r)
	if err != nil {
		h.fail(w, r, "", err)
		return
	}
	q := r.URL.Query()
	for name, values := range q {
		if len(values) > 1 { // RFC 6749, 3.1
			h.fail(w, r, c.Name, again("parameter_twice", errors.New(name)))
			return
		}
	}
	if c.Spec.Protocol == v1.SsoSAML {
		h.fail(w, r, c.Name, again("wrong_protocol", nil))
		return
	}
	if q.Has("code") && h.crowd.spent(codeTries(h, r), triesCode, h.now()) {
		h.fail(w, r, c.Name, tooMany())
		return
	}
	a, err := h.begun(w, r, c, q.Get("state"))
	if err != nil {
		h.fail(w, r, c.Name, err)
		return
	}
	assertion, err := h.oidc.finish(r.Context(), c, q, a)
	if err != nil && a.claimed {
		h.crowd.allow(codeTries(h, r), triesCode, h.now())
	}
	h.arrive(w, r, s, c, assertion, a, err)
}

// triesCode is how many attempts of one network are used up in a quarter of an
// hour by codes that were worth nothing: each writes a row and asks the identity
// provider. It is as many as a large office may fail with while the provider, or
// our client there, does not work.
const triesCode = 3000

func codeTries(h *Handler, r *http.Request) string { return "code/" + network(h.addr(r)) }

// arrive goes on with what the identity provider has said: err, or an
// assertion. a is nil where the identity provider began.
func (h *Handler) arrive(w http.ResponseWriter, r *http.Request, s *snapshot.Snapshot, c *v1.SsoConnection, assertion *Assertion, a *Attempt, err error) {
	switch {
	case a != nil && a.Test != "":
		h.tested(w, r, s, c, assertion, a, err)
	case err != nil:
		h.refuse(w, r, c, nil, err)
	default:
		h.signIn(w, r, s, c, assertion, a)
	}
}

// acs takes a SAML identity provider's answer.
func (h *Handler) acs(w http.ResponseWriter, r *http.Request) {
	s, c, err := h.anyConnection(r)
	if err == nil && (c.Spec.Protocol != v1.SsoSAML || h.saml == nil) {
		err = again("wrong_protocol", nil)
	}
	if err == nil && h.tiredOf(r, toSignIn) {
		err = tooMany()
	}
	if err == nil {
		err = parseForm(w, r)
	}
	if err != nil {
		h.fail(w, r, r.PathValue("connection"), err)
		return
	}
	var a *Attempt
	relay := r.PostForm.Get("RelayState")
	if len(r.CookiesNamed(attemptCookie(relay))) > 0 || c.Spec.SAML == nil || !c.Spec.SAML.AllowIdpInitiated {
		a, err = h.begun(w, r, c, relay)
	} else if !c.Spec.Enabled {
		err = noConnection()
	}
	if err != nil {
		h.fail(w, r, c.Name, err)
		return
	}
	assertion, err := h.saml.finish(r.Context(), c, r, a)
	h.arrive(w, r, s, c, assertion, a, err)
}

// metadata describes us to a SAML identity provider. It is public, and is
// there before the connection is enabled: the identity provider needs it first.
func (h *Handler) metadata(w http.ResponseWriter, r *http.Request) {
	s, err := h.snapshot()
	if err != nil {
		h.fail(w, r, "", failed(aPage, err))
		return
	}
	c, ok := s.SsoConnection(r.PathValue("connection"))
	if !ok || c.Spec.Protocol != v1.SsoSAML || h.saml == nil {
		h.fail(w, r, "", &Failure{What: aPage, Status: http.StatusNotFound, Reason: "no_connection", Title: "There is no such page", Text: "There is no SAML connection of this name."})
		return
	}
	doc, err := h.saml.metadata(r.Context(), c)
	if err != nil {
		h.fail(w, r, c.Name, failed(aPage, err))
		return
	}
	w.Header().Set("Content-Type", "application/samlmetadata+xml")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(doc) // the caller has gone if this fails
}

// hurry makes the body of a request come soon, whoever reads it: the server
// itself reads the rest of one that nobody reads. On the wall clock, which is
// what connections go by. That a writer cannot do it (in tests) is no error.
func (h *Handler) hurry(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(h.formTime))
}

// parseForm reads a form body and refuses any other.
func parseForm(w http.ResponseWriter, r *http.Request) error {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/x-www-form-urlencoded" {
		return again("not_a_form", nil)
	}
	if err := r.ParseForm(); err != nil {
		// The deadline stays: the server would wait for the rest of the body.
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return &Failure{Status: http.StatusRequestTimeout, Reason: "too_slow", Title: "Please try again", Text: "The form did not arrive. Begin again.", Err: err}
		}
		return again("not_a_form", err)
	}
	// All of it is here, and what is done with it may take longer. What fails here
	// fails with the next thing that is read.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	for name, values := range r.PostForm {
		if len(values) > 1 {
			return again("parameter_twice", errors.New(name))
		}
	}
	return nil
}
