package api_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/manifest"
)

// connection reads an SsoConnection with its status.
func (w *world) connection(r reply, status int) v1.SsoConnection {
	w.t.Helper()
	w.want(r, status)
	var c v1.SsoConnection
	if err := json.Unmarshal([]byte(r.body), &c); err != nil {
		w.t.Fatal(err)
	}
	return c
}

// pasted are the addresses that a status says, none twice.
func pasted(s *v1.SsoConnectionStatus) []string {
	var list []string
	for _, u := range []string{
		s.RedirectURI, s.PostLogoutRedirectURI, s.BackchannelLogoutURI, s.FrontchannelLogoutURI, s.EntityID, s.ACSURL, s.SLOURL,
	} {
		if u != "" {
			list = append(list, u)
		}
	}
	return list
}

func TestAConnectionShowsWhatTheProviderMustBeTold(t *testing.T) {
	w := newWorld(t)
	guide, err := os.ReadFile("../../../docs/sso/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for protocol, want := range map[string]int{"oidc": 4, "saml": 3} {
		c := w.connection(w.do("admin", "PUT", "/sso-connections/"+protocol, `{"metadata":{"name":"`+protocol+`"},"spec":{"protocol":"`+protocol+`"}}`), 201)
		if c.Status == nil {
			t.Fatalf("%s: no status", protocol)
		}
		list := pasted(c.Status)
		if len(list) != want {
			t.Errorf("%s: %v", protocol, list)
		}
		for _, u := range list {
			written := strings.NewReplacer("gatehouse.example.com", "gatehouse.acme.com", "/sso/"+protocol+"/", "/sso/NAME/").Replace(u)
			if !strings.Contains(string(guide), "`"+written+"`") {
				t.Errorf("%s: the guide does not say %s", protocol, written)
			}
		}
		again := w.connection(w.do("admin", "GET", "/sso-connections/"+protocol, ""), 200)
		if *again.Status != *c.Status {
			t.Errorf("%s: GET says %v, PUT %v", protocol, again.Status, c.Status)
		}
		yaml := w.do("admin", "GET", "/sso-connections/"+protocol, "", "Accept", "application/yaml")
		for _, u := range list {
			w.want(yaml, 200, "\nstatus:\n", u)
		}
	}
	w.want(w.do("admin", "GET", "/sso-connections", ""), 200, `"redirectURI":"https://gatehouse.example.com/sso/oidc/callback"`, `"acsURL":"https://gatehouse.example.com/sso/saml/saml/acs"`)
	w.without(w.do("admin", "GET", "/sso-connections/saml", ""), "callback", "backchannel")
	w.without(w.do("admin", "GET", "/sso-connections/oidc", ""), "/saml/")
}

func TestAStatusThatIsSentIsIgnoredAndNeverStored(t *testing.T) {
	w := newWorld(t)
	body := func(status string) string {
		return `{"apiVersion":"gatehouse.dev/v1","kind":"SsoConnection","metadata":{"name":"okta"},"spec":{},"status":` + status + `}`
	}
	made := w.connection(w.do("admin", "PUT", "/sso-connections/okta", body(`{"redirectURI":"https://evil.example/"}`)), 201)
	if made.Status.RedirectURI != "https://gatehouse.example.com/sso/okta/callback" {
		t.Errorf("the status is the sender's: %v", made.Status)
	}
	for _, status := range []string{`null`, `5`, `"x"`, `[]`, `{"unknown":{"a":[null]}}`} {
		c := w.connection(w.do("admin", "PUT", "/sso-connections/okta", body(status), "If-Match", "*"), 200)
		if c.Generation != 1 || c.ResourceVersion != made.ResourceVersion {
			t.Errorf("status %s changed it: %+v", status, c.ObjectMeta)
		}
	}
	stored, err := w.db.Resource(t.Context(), keyOf(v1.KindSsoConnection, "okta"))
	if err != nil {
		t.Fatal(err)
	}
	if text, err := json.Marshal(stored); err != nil || strings.Contains(string(text), "status") {
		t.Errorf("stored: %s %v", text, err)
	}
	w.want(w.do("admin", "GET", "/sso-connections", ""), 200, `"redirectURI"`)
	for r := range w.pub.Load().Resources {
		if c, ok := r.(*v1.SsoConnection); ok && c.Status != nil {
			t.Errorf("what was answered stands in the snapshot: %v", c.Status)
		}
	}
	shown := w.do("admin", "GET", "/sso-connections/okta", "", "Accept", "application/yaml")
	w.want(w.yaml("admin", "?takeOver=true&manager=x", shown.body), 200, `"configured"`)
	w.want(w.yaml("admin", "?manager=x", strings.Replace(shown.body, "\n  resourceVersion:", "\n  # ", 1)), 200, `"unchanged"`)
	w.without(w.do("admin", "GET", "/audit?target=sso-connection:okta", ""), "callback", "evil")
	if _, err := manifest.Parse("okta.yaml", []byte(shown.body)); err != nil {
		t.Error(err)
	}
}

// What may be sent is anything; what is answered is described field by field.
func TestTheDescriptionTellsASentStatusFromAnAnsweredOne(t *testing.T) {
	w := newWorld(t)
	says := description(t, w)
	w.seed(head("SsoConnection", "okta") + "{}")
	answered := w.do("admin", "GET", "/sso-connections/okta", "").body
	if bad := says.misfit("SsoConnectionAnswer", []byte(answered)); bad != "" {
		t.Error(bad)
	}
	for sent, right := range map[string]bool{`5`: false, `{"redirectURI":5}`: false, `{"other":"x"}`: false, `{}`: true} {
		body := []byte(`{"apiVersion":"gatehouse.dev/v1","kind":"SsoConnection","metadata":{"name":"x"},"spec":{},"status":` + sent + `}`)
		if bad := says.misfit("SsoConnectionManifest", body); bad != "" {
			t.Errorf("sent %s: %s", sent, bad)
		}
		if bad := says.misfit("SsoConnectionAnswer", body); (bad == "") != right {
			t.Errorf("answered %s: %q", sent, bad)
		}
	}
	doc := w.do("admin", "GET", "/openapi.json", "").body
	for _, want := range []string{`"200":{"content":{"application/json":{"schema":{"$ref":"#/components/schemas/SsoConnectionAnswer"}}`, `"items":{"items":{"$ref":"#/components/schemas/SsoConnectionAnswer"}`} {
		if !strings.Contains(doc, want) {
			t.Errorf("the description lacks %s", want)
		}
	}
}
