package sso

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
)

// browser keeps cookies and sends requests to the handler. It is Chromium in
// what the checks look at.
type browser struct {
	w       *world
	cookies map[string]string
	addr    string // where it is; empty: where all are
	gone    bool   // it waits for nothing
}

func (w *world) browser() *browser { return &browser{w: w, cookies: map[string]string{}} }

// at is a browser at an address of its own.
func (w *world) at(addr string) *browser {
	b := w.browser()
	b.addr = addr
	return b
}

// written counts the audit's entries of an action and an outcome.
func (w *world) written(action, outcome string) (n int) {
	for _, e := range w.audit {
		if e.Action == action && e.Outcome == outcome {
			n++
		}
	}
	return n
}

func (b *browser) do(r *http.Request) *httptest.ResponseRecorder {
	b.w.t.Helper()
	for name, value := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	if b.addr != "" {
		r.RemoteAddr = net.JoinHostPort(b.addr, "4711")
	}
	if b.gone {
		ctx, cancel := context.WithCancel(r.Context())
		cancel()
		r = r.WithContext(ctx)
	}
	rec := httptest.NewRecorder()
	b.w.h.ServeHTTP(rec, r)
	for _, c := range rec.Result().Cookies() {
		if !strings.HasPrefix(c.Name, "__Host-") || !c.Secure || !c.HttpOnly || c.Path != "/" || c.Domain != "" || c.SameSite == 0 {
			b.w.t.Errorf("the cookie %s is not bound to this host: %+v", c.Name, c)
		}
		if c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		} else {
			b.cookies[c.Name] = c.Value
		}
	}
	return rec
}

func (b *browser) get(path string) *httptest.ResponseRecorder {
	return b.do(httptest.NewRequest(http.MethodGet, ours+path, nil))
}

// post sends a form of one of our pages.
func (b *browser) post(path string, form url.Values) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, ours+path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("Origin", ours)
	return b.do(r)
}

// begin starts a sign-in and returns the provider's address.
func (b *browser) begin(path string) string {
	b.w.t.Helper()
	rec := b.get(path)
	if rec.Code != http.StatusSeeOther {
		b.w.t.Fatalf("%s: %d %s", path, rec.Code, rec.Body)
	}
	return rec.Header().Get("Location")
}

// provider follows the provider's address to its answer: a path of ours.
func (b *browser) provider(location string) string {
	b.w.t.Helper()
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, Transport: b.w.idp.Client().Transport}
	resp, err := client.Get(location)
	if err != nil {
		b.w.t.Fatal(err)
	}
	defer resp.Body.Close()
	back := resp.Header.Get("Location")
	if !strings.HasPrefix(back, ours+"/") {
		b.w.t.Fatalf("the provider answers %d %q", resp.StatusCode, back)
	}
	return strings.TrimPrefix(back, ours)
}

// signIn goes all the way.
func (b *browser) signIn() *httptest.ResponseRecorder {
	b.w.t.Helper()
	return b.get(b.provider(b.begin("/sso/main/login?return_to=/console/")))
}

// api is a request with the browser's session to something that is not ours
// to serve.
func (b *browser) api(method string, header ...string) *http.Request {
	r := httptest.NewRequest(method, ours+"/api/v1/me", nil)
	for name, value := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}
