package scim_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const ada = `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User","urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"],
	"userName":"Ada","externalId":"00u1","name":{"givenName":"Ada","familyName":"Lovelace"},"displayName":"Ada L.","nickName":"Ada",
	"profileUrl":"https://people.example/ada","title":"Countess","userType":"Employee","preferredLanguage":"en","locale":"en-GB","timezone":"Europe/London",
	"active":true,"password":"hunter2hunter2",
	"emails":[{"value":"home@example.com","type":"home"},{"value":"Ada@Example.COM","type":"work"}],
	"phoneNumbers":[{"value":"tel:+44-1","type":"mobile"}],"addresses":[{"type":"work","country":"GB","primary":true}],
	"photos":[{"value":"https://people.example/ada.png"}],"ims":[{"value":"ada"}],"entitlements":[{"value":"e"}],"roles":[{"value":"r"}],
	"x509Certificates":[{"value":"MIIC"}],
	"groups":[{"value":"nothing"}],"id":"chosen","meta":{"version":"chosen"},"favouriteColour":"green",
	"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"employeeNumber":"1","costCenter":"2","organization":"3","division":"4","department":"5","manager":{"value":"boss","displayName":"no"}}}`

func TestAPersonComesBackAsSent(t *testing.T) {
	eachBackend(t, func(t *testing.T, w *world) {
		created := w.do("POST", "/Users", ada).want(201)
		id := created.id()
		if got, want := created.header.Get("Location"), "https://gate.example/scim/v2/Users/"+id; got != want || id == "chosen" {
			t.Errorf("Location %q, want %q", got, want)
		}
		read := w.do("GET", "/Users/"+id, "").want(200)
		if diff := cmp.Diff(created.body, read.body); diff != "" {
			t.Errorf("read is not as created:\n%s", diff)
		}
		if read.header.Get("ETag") != read.get("meta.version") || read.header.Get("ETag") == "" {
			t.Errorf("ETag %q, meta.version %v", read.header.Get("ETag"), read.get("meta.version"))
		}
		var want map[string]any
		if err := json.Unmarshal([]byte(ada), &want); err != nil {
			t.Fatal(err)
		}
		for _, k := range []string{"password", "groups", "id", "meta", "favouriteColour"} {
			delete(want, k)
		}
		delete(want[enterprise].(map[string]any)["manager"].(map[string]any), "displayName")
		got := read.body
		delete(got, "id")
		delete(got, "meta")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("the person is not as sent:\n%s", diff)
		}
		u := w.person(id)
		if u.Email != "ada@example.com" || u.UserName != "Ada" || u.DisplayName != "Ada L." || u.ExternalID != "00u1" || u.Manager != "scim:okta" || !u.Active {
			t.Errorf("stored as %+v", u)
		}
	})
}

func TestSecurityPasswordsAreNotKeptAnywhere(t *testing.T) {
	eachBackend(t, func(t *testing.T, w *world) {
		r := w.do("POST", "/Users", ada).want(201)
		id := r.id()
		p := w.do("PATCH", "/Users/"+id, patch(`{"op":"replace","path":"password","value":"hunter2hunter3"}`, `{"op":"add","value":{"password":"hunter2hunter4"}}`)).want(200)
		if all := r.text + p.text + fmt.Sprintf("%+v %s %+v", w.person(id), w.person(id).Attributes, w.lastAudit()) + string(w.lastAudit().After); strings.Contains(all, "hunter2") {
			t.Error("the password was kept")
		}
		w.do("GET", "/Users?filter="+url.QueryEscape(`password sw "h"`), "").refused(400, "invalidFilter")
	})
}

func TestTheAddressIsChosenAsDocumented(t *testing.T) {
	for emails, want := range map[string]string{
		`[{"value":"a@example.com"},{"value":"b@example.com","type":"work"},{"value":"c@example.com","primary":true}]`: "c@example.com",
		`[{"value":"a@example.com"},{"value":"B@example.com","type":"WORK"}]`:                                          "b@example.com",
		`[{"value":"a@example.com","type":"home"},{"value":"b@example.com","type":"other"}]`:                           "a@example.com",
		`[{"value":"a@example.com","primary":"False"},{"value":"b@example.com","primary":"True"}]`:                     "b@example.com",
		`[{"type":"work"},{"value":"b@example.com"}]`:                                                                  "b@example.com",
		`{"value":"one@example.com"}`:      "one@example.com",
		`["plain@example.com"]`:            "plain@example.com",
		`[{"value":"a@xn--bcher-kva.de"}]`: "a@xn--bcher-kva.de",
		`[]`:                               "name@example.com",
		`null`:                             "name@example.com",
	} {
		w := newWorld(t)
		id := w.do("POST", "/Users", `{`+userSchema+`,"userName":"Name@example.com","emails":`+emails+`}`).want(201).id()
		if got := w.person(id).Email; got != want {
			t.Errorf("%s: %s, want %s", emails, got, want)
		}
	}
	w := newWorld(t)
	for body, say := range map[string]string{
		`"userName":"ada"`: "needs an e-mail address",
		`"userName":"ada","emails":[{"type":"work"}]`:           "needs an e-mail address",
		`"userName":"ada","emails":[{"value":"a@bücher.de"}]`:   "xn--",
		`"userName":"ada@example.com","emails":[{"value":"x"}]`: "not an e-mail address",
		`"userName":"  "`:   "userName",
		`"displayName":"x"`: "userName",
	} {
		if r := w.do("POST", "/Users", `{`+userSchema+`,`+body+`}`).refused(400, "invalidValue"); !strings.Contains(r.text, say) {
			t.Errorf("%s: %s", body, r.text)
		}
	}
}

func TestBodiesAreReadStrictly(t *testing.T) {
	w := newWorld(t)
	deep := strings.Repeat(`[`, 20) + strings.Repeat(`]`, 20)
	for name, c := range map[string]struct {
		body   string
		status int
		kind   string
	}{
		"not JSON":        {`{`, 400, "invalidSyntax"},
		"a list":          {`[]`, 400, "invalidSyntax"},
		"something after": {`{} {}`, 400, "invalidSyntax"},
		"twice":           {`{` + userSchema + `,"userName":"a@example.com","userName":"b@example.com"}`, 400, "invalidSyntax"},
		"twice, in case":  {`{` + userSchema + `,"userName":"a@example.com","USERNAME":"b@example.com"}`, 400, "invalidSyntax"},
		"twice, Kelvin":   {`{` + userSchema + `,"nicKName":"a","nic\u212aName":"b"}`, 400, "invalidSyntax"},
		"twice within":    {`{` + userSchema + `,"userName":"a@example.com","name":{"givenName":"a","givenname":"b"}}`, 400, "invalidSyntax"},
		"too deep":        {`{` + userSchema + `,"userName":"a@example.com","emails":` + deep + `}`, 400, "invalidSyntax"},
		"too large":       {`{` + userSchema + `,"userName":"` + strings.Repeat("a", 1<<20) + `"}`, 413, ""},
		"no schemas":      {`{"userName":"a@example.com"}`, 400, "invalidSyntax"},
		"wrong schemas":   {`{` + groupSchema + `,"userName":"a@example.com"}`, 400, "invalidSyntax"},
		"wrong type":      {`{` + userSchema + `,"userName":7}`, 400, "invalidValue"},
		"wrong boolean":   {`{` + userSchema + `,"userName":"a@example.com","active":"yes"}`, 400, "invalidValue"},
		"two primary":     {`{` + userSchema + `,"userName":"a@example.com","ims":[{"value":"1","primary":true},{"value":"2","primary":true}]}`, 400, "invalidValue"},
		"control":         {`{` + userSchema + `,"userName":"a\u0000@example.com"}`, 400, "invalidValue"},
		"long name":       {`{` + userSchema + `,"userName":"` + strings.Repeat("a", 300) + `"}`, 400, "invalidValue"},
		"not UTF-8":       {"{" + userSchema + ",\"userName\":\"\xff@example.com\"}", 400, "invalidSyntax"},
	} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			w.do("POST", "/Users", c.body).refused(c.status, c.kind)
		})
	}
	w.t = t
	w.do("POST", "/Users", `{}`, "Content-Type", "text/plain").refused(415, "")
	w.do("POST", "/Users", `{}`, "Content-Encoding", "gzip").refused(415, "")
	w.do("POST", "/Users", `{`+userSchema+`,"userName":"a@example.com"}`, "Content-Type", "application/json; charset=utf-8").want(201)
}

func TestPutReplacesAndKeepsActiveUnlessTold(t *testing.T) {
	eachBackend(t, func(t *testing.T, w *world) {
		id := w.do("POST", "/Users", ada).want(201).id()
		w.do("PATCH", "/Users/"+id, patch(`{"op":"replace","path":"active","value":false}`)).want(200).is("active", false)
		r := w.do("PUT", "/Users/"+id, `{`+userSchema+`,"userName":"ada@example.com","title":"Dr"}`).want(200)
		r.is("active", false).is("title", "Dr").is("nickName", nil).is("externalId", nil).is(enterprise, nil).is("id", id)
		w.do("PUT", "/Users/"+id, `{`+userSchema+`,"userName":"ada@example.com","active":true}`).want(200).is("active", true)
		w.do("PUT", "/Users/nobody", `{`+userSchema+`,"userName":"b@example.com"}`).refused(404, "")
	})
}

func TestAWriteThatChangesNothingMakesNoVersion(t *testing.T) {
	eachBackend(t, func(t *testing.T, w *world) {
		id := w.do("POST", "/Users", ada).want(201).id()
		tag := w.do("GET", "/Users/"+id, "").header.Get("ETag")
		w.do("PATCH", "/Users/"+id, patch(`{"op":"replace","path":"title","value":"Countess"}`)).want(200)
		if got := w.do("GET", "/Users/"+id, "").header.Get("ETag"); got != tag {
			t.Errorf("version %s became %s", tag, got)
		}
	})
}

func TestVersionsGuardWritesAndSpareReads(t *testing.T) {
	eachBackend(t, func(t *testing.T, w *world) {
		user, group := "/Users/"+w.add("ada"), ""
		group = "/Groups/" + w.addGroup("Ops")
		for _, path := range []string{user, group} {
			tag := w.do("GET", path, "").header.Get("ETag")
			if !strings.HasPrefix(tag, `W/"`) {
				t.Fatalf("%s: ETag %q", path, tag)
			}
			w.do("GET", path, "", "If-None-Match", tag).want(304)
			w.do("GET", path, "", "If-None-Match", `W/"other"`).want(200)
			change := patch(`{"op":"replace","path":"displayName","value":"New"}`)
			w.do("PATCH", path, change, "If-Match", `W/"other"`).refused(412, "")
			if s := w.do("PATCH", path, change, "If-Match", tag).status; s >= 300 {
				t.Fatalf("%s: PATCH with its version: %d", path, s)
			}
			w.do("PATCH", path, change, "If-Match", tag).refused(412, "")
			w.do("DELETE", path, "", "If-Match", tag).refused(412, "")
			w.do("DELETE", path, "", "If-Match", "*").want(204)
		}
	})
}

func TestListsPageAndProject(t *testing.T) {
	eachBackend(t, func(t *testing.T, w *world) {
		for i := range 7 {
			w.add(fmt.Sprintf("u%d", i))
		}
		w.do("GET", "/Users", "").want(200).is("totalResults", 7).is("itemsPerPage", 7).is("startIndex", 1)
		w.do("GET", "/Users?startIndex=3&count=2", "").want(200).is("totalResults", 7).is("itemsPerPage", 2).is("startIndex", 3).is("Resources.0.userName", "u2@example.com")
		w.do("GET", "/Users?startIndex=-1&count=-5", "").want(200).is("totalResults", 7).is("itemsPerPage", 0).is("startIndex", 1)
		w.do("GET", "/Users?startIndex=8", "").want(200).is("totalResults", 7).is("itemsPerPage", 0)
		w.do("GET", "/Users?count=x", "").refused(400, "invalidValue")
		f := url.QueryEscape(`userName co "u"`)
		w.do("GET", "/Users?startIndex=6&count=5&filter="+f, "").want(200).is("totalResults", 7).is("itemsPerPage", 2).is("Resources.1.userName", "u6@example.com")
		r := w.do("GET", "/Users?attributes=userName,meta.version&count=1", "").want(200)
		if got := fmt.Sprint(len(r.get("Resources.0").(map[string]any)), r.get("Resources.0.schemas") != nil, len(r.get("Resources.0.meta").(map[string]any))); got != "4 true 1" {
			t.Errorf("attributes=userName,meta.version shows %s: %s", got, r.text)
		}
		w.do("GET", "/Users?excludedAttributes=userName,id,meta.created&count=1", "").want(200).is("Resources.0.userName", nil).is("Resources.0.meta.created", nil)
		if w.do("GET", "/Users?excludedAttributes=id&count=1", "").get("Resources.0.id") == nil {
			t.Error("the id was left out")
		}
		w.do("GET", "/Users?attributes=userName&excludedAttributes=id", "").refused(400, "invalidValue")
		search := `{"schemas":["urn:ietf:params:scim:api:messages:2.0:SearchRequest"],"filter":"userName eq \"U3@example.com\"","attributes":["userName"],"startIndex":1,"count":10}`
		w.do("POST", "/Users/.search", search).want(200).is("totalResults", 1).is("Resources.0.userName", "u3@example.com").is("Resources.0.meta", nil)
		w.addGroup("Ops")
		w.do("POST", "/.search", `{"schemas":["urn:ietf:params:scim:api:messages:2.0:SearchRequest"],"startIndex":7,"count":10}`).
			want(200).is("totalResults", 8).is("itemsPerPage", 2).is("Resources.1.displayName", "Ops")
		w.do("POST", "/.search", `{"schemas":["urn:ietf:params:scim:api:messages:2.0:SearchRequest"],"filter":"displayName eq \"ops\""}`).want(200).is("totalResults", 1)
		w.do("POST", "/.search", `{"schemas":["urn:ietf:params:scim:api:messages:2.0:SearchRequest"],"filter":"nothing eq \"ops\""}`).refused(400, "invalidFilter")
		w.do("POST", "/Groups/.search", `{}`).refused(400, "invalidSyntax")
	})
}

func TestFiltersAnswerAsTheRFCSays(t *testing.T) {
	eachBackend(t, func(t *testing.T, w *world) {
		id := w.do("POST", "/Users", ada).want(201).id()
		w.do("POST", "/Users", `{`+userSchema+`,"userName":"ben@example.com","externalId":"00U1","active":false,"emails":[{"value":"ben@example.com","type":"work"}]}`).want(201)
		for f, want := range map[string]string{
			`userName eq "ADA"`:                                            "Ada",
			`userName eq "ad"`:                                             "",
			`USERNAME Eq "ada"`:                                            "Ada",
			`id eq "` + id + `"`:                                           "Ada",
			`id eq "` + strings.ToUpper(id) + `"`:                          "",
			`externalId eq "00u1"`:                                         "Ada",
			`externalId eq "00U1"`:                                         "ben",
			`externalId sw "00"`:                                           "Ada ben",
			`emails.value eq "ADA@example.com"`:                            "Ada",
			`emails eq "ada@example.com"`:                                  "Ada",
			`emails[type eq "work"].value eq "ada@example.com"`:            "Ada",
			`emails[type eq "home"].value eq "ada@example.com"`:            "",
			`emails[type eq "work" and value co "@example"]`:               "Ada ben",
			`emails[type eq "home" and value ew "example.com"]`:            "Ada",
			`emails[value eq "ben@example.com"]`:                           "ben",
			`emails.type eq "home"`:                                        "Ada",
			`not (emails.type eq "home")`:                                  "ben",
			`emails.type ne "home"`:                                        "ben",
			`name.familyName co "LOVE"`:                                    "Ada",
			`name pr`:                                                      "Ada",
			`title pr and userType eq "employee"`:                          "Ada",
			`title pr or userName sw "b"`:                                  "Ada ben",
			`active eq true`:                                               "Ada",
			`active eq "False"`:                                            "ben",
			`externalId co "U1"`:                                           "ben",
			`not (externalId eq "00u1")`:                                   "ben",
			`userName eq "ada" or active eq false`:                         "Ada ben",
			`active ne true`:                                               "ben",
			`title eq null`:                                                "ben",
			`title ne null`:                                                "Ada",
			enterprise + `:department eq "5"`:                              "Ada",
			enterprise + `:manager.value eq "boss"`:                        "Ada",
			strings.ToUpper(enterprise) + `:manager eq "boss"`:             "Ada",
			`urn:ietf:params:scim:schemas:core:2.0:User:userName eq "ada"`: "Ada",
			`meta.resourceType eq "User"`:                                  "Ada ben",
			`meta.created gt "2020-01-01T00:00:00Z"`:                       "Ada ben",
			`meta.lastModified lt "2020-01-01T00:00:00+01:00"`:             "",
			`userName gt "b"`:                                              "ben",
			`userName le "ada" or userName ge "ben@example.com"`:           "Ada ben",
			`userName eq "ada" and active eq false`:                        "",
			`userName eq "ada" or externalId eq "00U1"`:                    "Ada ben",
			`(userName eq "ada" or userName eq "ben@example.com") and not (active pr)`: "",
			`x509Certificates eq "MIIC"`:      "Ada",
			`schemas eq "` + enterprise + `"`: "Ada",
			`groups pr`:                       "",
		} {
			r := w.do("GET", "/Users?filter="+url.QueryEscape(f), "").want(200)
			var got []string
			for _, u := range r.body["Resources"].([]any) {
				name, _, _ := strings.Cut(u.(map[string]any)["userName"].(string), "@")
				got = append(got, name)
			}
			if strings.Join(got, " ") != want || r.body["totalResults"] != float64(len(got)) {
				t.Errorf("%s finds %v, want %q", f, got, want)
			}
		}
		for _, f := range []string{
			`userName`, `userName eq`, `userName eq ada`, `userName xx "a"`, `nothing eq "a"`, `name eq "a"`, `name.nothing eq "a"`, `active gt true`,
			`active eq "maybe"`, `userName eq 7`, `emails[type eq "work"`, `emails[emails[type eq "work"]]`, `emails[nothing eq "a"]`, `userName[value eq "a"]`,
			`meta.created eq "yesterday"`, `meta.created co "2020"`, `x509Certificates co "M"`, `urn:other:userName eq "a"`, enterprise + ` eq "a"`, `userName co null`,
			strings.Repeat("(", 60), strings.Repeat(`userName pr and `, 400) + `userName pr`,
		} {
			w.do("GET", "/Users?filter="+url.QueryEscape(f), "").refused(400, "invalidFilter")
		}
	})
}

func TestEqualityOnWhatIsUniqueDoesNotReadEverybody(t *testing.T) {
	w := newWorld(t)
	for i := range 50 {
		w.add(fmt.Sprintf("u%d", i))
	}
	for _, f := range []string{
		`userName eq "u7@example.com"`, `externalId eq "x-u7"`, `emails.value eq "u7@example.com"`, `emails[value eq "u7@example.com"]`,
		`userName eq "u7@example.com" and active eq true`, `active eq true and (externalId eq "x-u7" or userName eq "u8@example.com")`,
	} {
		w.mem.reads = 0
		w.do("GET", "/Users?filter="+url.QueryEscape(f), "").want(200)
		if w.mem.reads > 2 {
			t.Errorf("%s read %d people", f, w.mem.reads)
		}
	}
	w.mem.reads = 0
	w.do("GET", "/Users?startIndex=20&count=5", "").want(200).is("itemsPerPage", 5)
	if w.mem.reads != 5 {
		t.Errorf("a page of 5 read %d people", w.mem.reads)
	}
}
