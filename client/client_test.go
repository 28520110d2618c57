package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/client"
)

// heard is a request as the server saw it.
type heard struct {
	Line, Auth, Form, Match, None, Accept, Body string
}

// serve answers every request with the same, and notes what it heard.
func serve(t *testing.T, status int, form, answer string) (*client.Client, *heard) {
	t.Helper()
	h := &heard{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		*h = heard{
			r.Method + " " + r.URL.RequestURI(), r.Header.Get("Authorization"), r.Header.Get("Content-Type"),
			r.Header.Get("If-Match"), r.Header.Get("If-None-Match"), r.Header.Get("Accept"), string(body),
		}
		w.Header().Set("Content-Type", form)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(s.Close)
	c, err := client.New(s.URL, client.Options{Token: "gtp_t"})
	if err != nil {
		t.Fatal(err)
	}
	return c, h
}

func TestRequestsAreWhatTheControlAPIExpects(t *testing.T) {
	ctx := context.Background()
	team := json.RawMessage(`{"metadata":{"name":"a"}}`)
	for name, c := range map[string]struct {
		call   func(*client.Client) error
		answer string
		want   heard
	}{
		"apply": {func(c *client.Client) error {
			_, err := c.ApplyYAML(ctx, []byte("kind: Team"), client.ApplyOptions{Manager: "ci", DryRun: true, Prune: true, TakeOver: true})
			return err
		}, `{}`, heard{Line: "POST /api/v1/apply?dryRun=true&manager=ci&prune=true&takeOver=true", Form: "application/yaml", Body: "kind: Team"}},
		"create": {func(c *client.Client) error {
			_, err := c.Put(ctx, v1.KindTeam, "a", team, client.PutOptions{Create: true})
			return err
		}, `{}`, heard{Line: "PUT /api/v1/teams/a", Form: "application/json", None: "*", Body: string(team)}},
		"replace": {func(c *client.Client) error {
			_, err := c.Put(ctx, v1.KindExternalIdentity, "a", team, client.PutOptions{IfMatch: "v1", TakeOver: true})
			return err
		}, `{}`, heard{Line: "PUT /api/v1/external-identities/a?takeOver=true", Form: "application/json", Match: `"v1"`, Body: string(team)}},
		"delete": {func(c *client.Client) error {
			return c.Delete(ctx, v1.KindTeam, "a", client.DeleteOptions{IfMatch: "*"})
		}, ``, heard{Line: "DELETE /api/v1/teams/a", Match: "*"}},
		"user": {
			func(c *client.Client) error { _, err := c.User(ctx, "ada+x@example.com"); return err }, `{}`,
			heard{Line: "GET /api/v1/users/ada+x@example.com"},
		},
		"explain": {func(c *client.Client) error {
			_, err := c.Explain(ctx, client.Question{As: "user:a@b.c", Model: "a/b"})
			return err
		}, `{}`, heard{Line: "POST /api/v1/access:explain", Form: "application/json", Body: `{"as":"user:a@b.c","model":"a/b"}`}},
		"narrowed token": {func(c *client.Client) error {
			_, err := c.CreateMyToken(ctx, client.TokenRequest{Name: "n", Narrowing: &client.Narrowing{Models: []string{}}})
			return err
		}, `{}`, heard{Line: "POST /api/v1/me/tokens", Form: "application/json", Body: `{"name":"n","narrowing":{"models":[]}}`}},
		"logs": {func(c *client.Client) error { _, err := c.Logs(ctx, true, 5); return err }, `{}`, heard{Line: "GET /api/v1/logs?limit=5&scope=all"}},
	} {
		t.Run(name, func(t *testing.T) {
			cl, got := serve(t, 200, "application/json", c.answer)
			if err := c.call(cl); err != nil {
				t.Fatal(err)
			}
			c.want.Auth = "Bearer gtp_t"
			if d := cmp.Diff(c.want, *got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestErrorsAreProblems(t *testing.T) {
	c, _ := serve(t, 400, "application/problem+json; charset=utf-8",
		`{"title":"Bad Request","status":400,"code":"invalid_manifest","detail":"the manifest is not right","errors":[{"file":"a.yaml","path":"spec.x","line":3,"column":5,"message":"is required"}]}`)
	_, err := c.ApplyYAML(context.Background(), nil, client.ApplyOptions{})
	p, ok := errors.AsType[*client.Problem](err)
	if !ok || !client.IsCode(err, "invalid_manifest") || p.Status != 400 || !strings.Contains(err.Error(), "a.yaml:3:5: spec.x: is required") {
		t.Errorf("%v", err)
	}
	c, _ = serve(t, 502, "text/html", "<h1>nginx</h1>")
	if _, err := c.Me(context.Background()); !client.IsCode(err, "unexpected_answer") || strings.Contains(err.Error(), "<h1>") {
		t.Errorf("%v", err)
	}
	c, _ = serve(t, 200, "text/html", "<h1>a login page</h1>")
	if _, err := c.Me(context.Background()); err == nil {
		t.Error("a page that is not JSON is not an answer")
	}
}

func TestListsAreReadToTheirLastPage(t *testing.T) {
	var asked []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.RequestURI())
		next, name := `,"nextCursor":"c1"`, "a"
		if r.URL.Query().Get("cursor") == "c1" {
			next, name = "", "b"
		}
		_, _ = fmt.Fprintf(w, `{"items":[{"apiVersion":"gatehouse.dev/v1","kind":"Team","metadata":{"name":%q,"uid":"u","resourceVersion":"1"},"email":%[1]q}],"total":2%s}`, name, next)
	}))
	defer s.Close()
	c, err := client.New(s.URL, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	list, err := c.List(context.Background(), v1.KindTeam, "kind pr")
	if err != nil || len(list) != 2 || list[1].Meta().Name != "b" {
		t.Fatalf("%v %v", list, err)
	}
	people, err := c.Users(context.Background(), "active eq true")
	if err != nil || len(people) != 2 || people[1].Email != "b" {
		t.Fatalf("%v %v", people, err)
	}
	tokens, err := c.MyTokens(context.Background())
	if err != nil || len(tokens) != 2 {
		t.Fatalf("%v %v", tokens, err)
	}
	want := []string{
		"/api/v1/teams?filter=kind+pr&limit=500", "/api/v1/teams?cursor=c1&filter=kind+pr&limit=500",
		"/api/v1/users?filter=active+eq+true&limit=500", "/api/v1/users?cursor=c1&filter=active+eq+true&limit=500",
		"/api/v1/me/tokens?limit=500", "/api/v1/me/tokens?cursor=c1&limit=500",
	}
	if d := cmp.Diff(want, asked); d != "" {
		t.Error(d)
	}
}

func TestSecurityTheTokenStaysWithItsServer(t *testing.T) {
	leaked := make(chan string, 1)
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { leaked <- r.Header.Get("Authorization") }))
	defer other.Close()
	s := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer s.Close()
	c, err := client.New(s.URL, client.Options{Token: "gtp_t"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Me(context.Background()); err == nil {
		t.Error("a redirect is not an answer")
	}
	select {
	case a := <-leaked:
		t.Errorf("followed with %q", a)
	default:
	}
	for _, bad := range []string{"http://gateway.example.com", "ftp://127.0.0.1", "https://", "https://u:p@example.com", "example.com", "http://127.evil.example.com"} {
		if _, err := client.New(bad, client.Options{}); err == nil {
			t.Errorf("New(%q) is accepted", bad)
		}
	}
	cl, _ := serve(t, 200, "application/json", `{}`)
	for _, name := range []string{"", "..", "a/b", `a\b`} {
		if _, err := cl.User(context.Background(), name); err == nil {
			t.Errorf("User(%q) is sent", name)
		}
	}
}

func TestSecurityNewTokensDoNotPrint(t *testing.T) {
	c, _ := serve(t, 201, "application/json", `{"id":"1","name":"n","token":"gtp_plain","expiresAt":"2030-01-01T00:00:00Z"}`)
	tok, err := c.CreateMyToken(context.Background(), client.TokenRequest{Name: "n"})
	if err != nil || tok.Secret.Reveal() != "gtp_plain" || !tok.ExpiresAt.Equal(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)) {
		t.Fatalf("%v %v", tok, err)
	}
	if s := fmt.Sprintf("%v %+v %#v", tok, *tok, tok); strings.Contains(s, "gtp_plain") {
		t.Error(s)
	}
}
