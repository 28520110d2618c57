package scim_test

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/gatehouse-ai/gatehouse/internal/control/scim"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

func TestDiscoverySaysWhatIsDoneAndNoMore(t *testing.T) {
	w := newWorld(t)
	r := w.do("GET", "/ServiceProviderConfig", "").want(200)
	for path, want := range map[string]bool{"patch": true, "filter": true, "etag": true, "bulk": false, "sort": false, "changePassword": false} {
		r.is(path+".supported", want)
	}
	w.do("GET", "/Schemas", "").want(200).is("totalResults", 3)
	for _, urn := range []string{"urn:ietf:params:scim:schemas:core:2.0:User", enterprise, "urn:ietf:params:scim:schemas:core:2.0:Group"} {
		w.do("GET", "/Schemas/"+urn, "").want(200).is("id", urn)
		w.do("GET", "/Schemas/"+strings.ReplaceAll(urn, ":", "%3A"), "").want(200).is("id", urn)
	}
	w.do("GET", "/Schemas/urn:other", "").refused(404, "")
	w.do("GET", "/ResourceTypes", "").want(200).is("totalResults", 2).is("Resources.0.schemaExtensions.0.schema", enterprise)
	w.do("GET", "/ResourceTypes/Group", "").want(200).is("endpoint", "/Groups")
	w.do("GET", "/ResourceTypes/Dog", "").refused(404, "")
	for _, path := range []string{"/Schemas", "/ResourceTypes", "/ServiceProviderConfig"} {
		w.do("GET", path+"?filter=id%20pr", "").refused(403, "")
	}
}

func TestOtherAddressesAndMethodsAreRefused(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		method, path, allow string
		status              int
	}{
		{"GET", "/nothing", "", 404},
		{"GET", "", "", 404},
		{"GET", "/users", "", 404},
		{"GET", "/Users/a/b", "", 404},
		{"GET", "/Users/a%2Fb", "", 404},
		{"GET", "/Users/%2e%2e", "", 404},
		{"GET", "/Users/..%5cGroups", "", 404},
		{"POST", "/Schemas", "GET", 405},
		{"DELETE", "/Users", "GET, POST", 405},
		{"POST", "/Users/x", "DELETE, GET, PATCH, PUT", 405},
		{"GET", "/Users/.search", "POST", 405},
		{"GET", "/Bulk", "POST", 405},
		{"POST", "/Bulk", "", 501},
		{"GET", "/Me", "", 501},
		{"PATCH", "/Me", "", 501},
	} {
		body := ""
		if c.status == 501 && c.method != "GET" {
			body = `{}`
		}
		r := w.do(c.method, c.path, body).refused(c.status, "")
		if r.header.Get("Allow") != c.allow {
			t.Errorf("%s %s: Allow %q, want %q", c.method, c.path, r.header.Get("Allow"), c.allow)
		}
		if r.header.Get("Cache-Control") != "no-store" || r.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s %s: headers %v", c.method, c.path, r.header)
		}
	}
}

// The grammar is shared with the control API; its attributes are not.
func TestAFilterThatCannotBeReadIsExplainedByOneOfThisAPI(t *testing.T) {
	w := newWorld(t)
	id := w.add("ada")
	for _, f := range []string{"=", "(", `userName eq "a" and`, "not", `userName`, `userName is "a"`, `userName eq a`, `emails[`, `emails[type eq "a"`, strings.Repeat("(", 40)} {
		for _, r := range []*reply{
			w.do("GET", "/Users?filter="+url.QueryEscape(f), "").refused(400, "invalidFilter"),
			w.do("POST", "/Users/.search", `{"schemas":["urn:ietf:params:scim:api:messages:2.0:SearchRequest"],"filter":`+string(mustJSON(f))+`}`).refused(400, "invalidFilter"),
		} {
			detail, _ := r.get("detail").(string)
			if !strings.Contains(detail, `userName eq "ada@example.com"`) || strings.Contains(detail, "metadata") || !strings.Contains(detail, "wrong at ") {
				t.Errorf("%s: %s", f, detail)
			}
		}
		r := w.do("PATCH", "/Users/"+id, patch(`{"op":"replace","path":`+string(mustJSON("emails["+f))+`,"value":"x"}`)).refused(400, "invalidPath")
		if detail, _ := r.get("detail").(string); !strings.Contains(detail, `emails[type eq "work"].value`) || strings.Contains(detail, "metadata") {
			t.Errorf("emails[%s: %s", f, detail)
		}
	}
}

// broken is a store that is away, or that says too much.
type broken struct {
	backend
	err error
}

func (b broken) User(context.Context, string) (identity.User, error) { return identity.User{}, b.err }

func (b broken) Commit(context.Context, *record.Batch) (identity.Head, error) {
	return identity.Head{}, b.err
}

func TestSecurityTroubleInsideIsNotTold(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		say    string
	}{
		{errors.New("secret detail of the database"), 500, "internal error"},
		{&identity.Error{Code: identity.CodeDatabaseUnavailable, Message: "the database is not available", Detail: "secret detail"}, 503, "not available"},
	} {
		w := newWorld(t)
		back := broken{w.back, c.err}
		reported := 0
		s, err := scim.New(scim.Options{People: back, Past: back, Teams: back, Writer: back, Authenticator: w.door, Report: func(context.Context, error) { reported++ }})
		if err != nil {
			t.Fatal(err)
		}
		w.server = s
		for _, r := range []*reply{w.do("GET", "/Users/x", ""), w.do("POST", "/Users", `{`+userSchema+`,"userName":"a@example.com"}`)} {
			r.refused(c.status, "")
			if strings.Contains(r.text, "secret") || !strings.Contains(r.text, c.say) {
				t.Errorf("%s", r.text)
			}
		}
		if reported != 2 {
			t.Errorf("reported %d times", reported)
		}
	}
	// Nor is trouble of ours a wrong token.
	w := newWorld(t)
	for err, status := range map[error]int{
		errors.New("secret"): 500, &identity.Error{Code: identity.CodeNoSnapshot}: 503, &identity.Error{Code: identity.CodeAddressNotPermitted}: 401,
	} {
		w.door.err = err
		w.do("GET", "/Users", "").refused(status, "")
	}
	if _, err := scim.New(scim.Options{}); err == nil {
		t.Error("a server without a store was made")
	}
}
