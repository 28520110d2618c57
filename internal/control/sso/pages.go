package sso

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"html/template"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

//go:embed templates
var files embed.FS

// Pages are the server-rendered pages. They need no script, and have none.
type Pages struct {
	tmpl  *template.Template
	style template.CSS
	csp   string // without form-action
}

// NewPages reads the templates. The style stands in the page, and is permitted
// by its hash: nothing else is.
func NewPages() (*Pages, error) {
	css, err := files.ReadFile("templates/style.css")
	if err != nil {
		return nil, err
	}
	tmpl, err := template.ParseFS(files, "templates/*.html")
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(css)
	return &Pages{
		tmpl: tmpl, style: template.CSS(css), //nolint:gosec // our own file
		csp: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; frame-ancestors 'none'",
	}, nil
}

type (
	loginForm struct {
		Connections          []loginButton
		ByEmail              bool
		ReturnTo             string
		Email, Problem       string
		BreakGlass           string
		HasChoice, HasNobody bool
	}
	loginButton struct{ Title, Location string }
	onwardPage  struct{ Title, Text, Button, Location string }
	postPage    struct {
		Title, Text, Button, Action string
		Fields                      []Field
	}
	messagePage struct{ Title, Text, Link, LinkText string }
	signOutPage struct{ User string }
	failurePage struct {
		Title, Text, Change, ID, Reason, Retry string
	}
	testPage struct {
		Title, Connection               string
		Problem, Change, Reason, Detail string // where it failed
		Next                            string // where it did not
		Facts, Claims                   []fact
	}
	fact           struct{ Name, Value string }
	breakGlassForm struct{ ReturnTo, Problem string }
	setupForm      struct {
		Token, Problem string
		Minimum        int
	}
)

// Consent is what somebody is asked before an application gets a token of
// theirs.
type Consent struct {
	// Client is what the application calls itself; anybody can register one,
	// so the page says that it is not verified unless Verified.
	Client   string
	Verified bool
	// RedirectURI is where the answer goes; the page shows its host and permits
	// the form to lead there.
	RedirectURI string
	// User is the signed-in person's address.
	User string
	// Resource is what the token is for.
	Resource string
	// Permissions are sentences: what the application may do.
	Permissions []string
	// Action is where the form is posted, with decision=allow or deny and
	// Fields, which hold what keeps it from being forged.
	Action string
	Fields []Field
}

// Field is a hidden field of a form.
type Field struct{ Name, Value string }

// RedirectHost is what the page shows of RedirectURI.
func (c Consent) RedirectHost() string {
	u, err := url.Parse(c.RedirectURI)
	if err != nil {
		return ""
	}
	if u.Host == "" {
		return u.Scheme + ":"
	}
	return u.Host
}

// Consent renders the question whether an application may act for somebody.
func (p *Pages) Consent(w http.ResponseWriter, c Consent) {
	p.render(w, http.StatusOK, "consent.html", "Allow access?", formTarget(c.RedirectURI), c)
}

// formTarget is the CSP source of an address to which a form may lead by a
// redirect (CSP3 form-action is looked at after redirects too). A scheme that
// is no plain word is left out, so that nothing can be added to the policy.
func formTarget(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || strings.Trim(u.Scheme, "abcdefghijklmnopqrstuvwxyz0123456789+.-") != "" || u.Scheme == "" {
		return ""
	}
	if u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return " " + u.Scheme + ":"
	}
	if strings.ContainsAny(u.Host, " ;,'\"*") {
		return ""
	}
	return " " + u.Scheme + "://" + u.Host
}

func (p *Pages) login(w http.ResponseWriter, status int, f loginForm) {
	f.HasChoice, f.HasNobody = len(f.Connections) > 0, len(f.Connections) == 0
	p.render(w, status, "login.html", "Sign in", "", f)
}

// onward goes on by itself and has a link for those where it does not. It is
// no redirect, because it answers forms.
func (p *Pages) onward(w http.ResponseWriter, f onwardPage) {
	p.render(w, http.StatusOK, "onward.html", f.Title, "", f)
}

// postOnward sends the browser on by a form. Without a script somebody has to
// press its button.
func (p *Pages) postOnward(w http.ResponseWriter, to Onward, page postPage) {
	page.Action = to.Location
	for _, name := range slices.Sorted(maps.Keys(to.Form)) {
		page.Fields = append(page.Fields, Field{name, to.Form[name]})
	}
	p.render(w, http.StatusOK, "post.html", page.Title, formTarget(to.Location), page)
}

func (p *Pages) message(w http.ResponseWriter, status int, f messagePage) {
	p.render(w, status, "message.html", f.Title, "", f)
}

func (p *Pages) signOut(w http.ResponseWriter, f signOutPage) {
	p.render(w, http.StatusOK, "signout.html", "Sign out?", "", f)
}

func (p *Pages) tested(w http.ResponseWriter, f testPage) {
	p.render(w, http.StatusOK, "test.html", f.Title, "", f)
}

func (p *Pages) breakGlass(w http.ResponseWriter, status int, f breakGlassForm) {
	p.render(w, status, "breakglass.html", "Local administrator", "", f)
}

func (p *Pages) setup(w http.ResponseWriter, status int, f setupForm) {
	p.render(w, status, "setup.html", "Set up the local administrator", "", f)
}

func (p *Pages) failed(w http.ResponseWriter, f *Failure, id, connection string) {
	page := failurePage{Title: f.Title, Text: f.Text, Change: f.Change, ID: id, Reason: f.Reason, Retry: "/sso/login"}
	if connection == BreakGlassConnection {
		page.Retry = "/sso/break-glass"
	}
	p.render(w, f.Status, "failure.html", f.Title, "", page)
}

// render writes a page. formTargets are CSP sources beside our own, each with
// a space before it.
func (p *Pages) render(w http.ResponseWriter, status int, name, title, formTargets string, data any) {
	var b bytes.Buffer
	err := p.tmpl.ExecuteTemplate(&b, name, map[string]any{"Title": title, "Style": p.style, "Page": data})
	if err != nil {
		http.Error(w, "the page cannot be shown", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", p.csp+"; form-action 'self'"+formTargets)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	// Not no-referrer: with that, browsers send our own forms with "Origin: null".
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // the caller has gone if this fails
}
