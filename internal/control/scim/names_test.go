package scim_test

import (
	"strings"
	"testing"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// An address that no token and no sign-in can have would be a second spelling
// of a mailbox: ADA with a Kelvin sign, an accent composed or not.
func TestSecurityAnAddressIsOneThatSignInCanHave(t *testing.T) {
	eachBackend(t, func(t *testing.T, w *world) {
		for _, address := range []string{
			"jörg@example.com", "jo\u0308rg@example.com", "\u212aate@example.com", "用户@example.com", "ada\u200b@example.com", `ad\ufffda@example.com`, `ad\ud800a@example.com`,
			"ada@exa_mple.com", "ada@-example.com", "ada@xn--a.com", "ada@bücher.example",
		} {
			r := w.do("POST", "/Users", newPerson("somebody", address)).refused(400, "invalidValue")
			if detail, _ := r.get("detail").(string); !strings.HasPrefix(detail, "emails: ") {
				t.Errorf("%s: %s", address, detail)
			}
		}
		r := w.do("POST", "/Users", `{`+userSchema+`,"userName":"jörg@example.com"}`).refused(400, "invalidValue")
		if detail, _ := r.get("detail").(string); !strings.HasPrefix(detail, "userName: ") || !strings.Contains(detail, "primary one of emails") {
			t.Errorf("%s", detail)
		}
		// With an address, a user name may be what it likes.
		id := w.do("POST", "/Users", newPerson("jörg@example.com", " Joerg@Xn--Bcher-Kva.example ")).want(201).id()
		if u := w.person(id); u.Email != "joerg@xn--bcher-kva.example" || u.UserName != "jörg@example.com" {
			t.Errorf("made as %+v", u)
		}
		w.do("PATCH", "/Users/"+id, patch(`{"op":"replace","path":"emails","value":"jörg@example.com"}`)).refused(400, "invalidValue")
		w.do("PUT", "/Users/"+id, newPerson("joerg", "jörg@example.com")).refused(400, "invalidValue")
	})
}

// Whoever came with such a name before it was refused can be changed, and
// deactivated: a rule about names must not keep a leaver in.
func TestSecurityWhoHasAnAddressOfOldCanStillBeDeactivated(t *testing.T) {
	eachBackend(t, func(t *testing.T, w *world) {
		u := w.putUser(identity.User{
			Email: "jörg@example.com", UserName: "jörg@example.com", DisplayName: "J\ufffdrg", ExternalID: "x-\ufffd", Manager: "scim:okta", Active: true,
			Attributes: []byte(`{"displayName":"J\ufffdrg","emails":[{"value":"Jörg@example.com","primary":true}]}`),
		})
		w.token(u.UID)
		w.do("PATCH", "/Users/"+u.UID, patch(`{"op":"add","path":"title","value":"T"}`)).want(200)
		w.do("PATCH", "/Users/"+u.UID, patch(`{"op":"replace","path":"active","value":false}`)).want(200)
		if w.person(u.UID).Active || w.live(u.UID) != 0 {
			t.Error("the person is still in")
		}
		whole := `{` + userSchema + `,"userName":"jörg@example.com","displayName":"J\ufffdrg","externalId":"x-\ufffd","emails":[{"value":"jörg@example.com"}],"active":false}`
		w.do("PUT", "/Users/"+u.UID, whole).want(200)
		w.do("PATCH", "/Users/"+u.UID, patch(`{"op":"replace","path":"displayName","value":"J\ufffd\ufffdrg"}`)).refused(400, "invalidValue")
		w.do("PATCH", "/Users/"+u.UID, patch(`{"op":"replace","path":"emails","value":"joerg@example.com"}`)).want(200)
		if got := w.person(u.UID).Email; got != "joerg@example.com" {
			t.Errorf("the address is %s", got)
		}
	})
}

// Half a surrogate pair becomes U+FFFD when JSON is read, so that two names of
// a directory would be one here.
func TestSecurityANameThatLostACharacterIsRefused(t *testing.T) {
	eachBackend(t, func(t *testing.T, w *world) {
		id, group := w.add("ada"), w.addGroup("Ops")
		for _, lost := range []string{`\ud800`, `\udc00`, `\ufffd`, "\ufffd", `\ud800\ud800`} {
			for _, attribute := range []string{"userName", "externalId", "displayName"} {
				body := `{` + userSchema + `,"emails":[{"value":"new@example.com"}],"` + attribute + `":"a` + lost + `"`
				if attribute != "userName" {
					body += `,"userName":"new"`
				}
				for _, r := range []*reply{
					w.do("POST", "/Users", body+`}`).refused(400, "invalidValue"),
					w.do("PATCH", "/Users/"+id, patch(`{"op":"replace","path":"`+attribute+`","value":"a`+lost+`"}`)).refused(400, "invalidValue"),
				} {
					if detail, _ := r.get("detail").(string); !strings.HasPrefix(detail, attribute+" ") {
						t.Errorf("%s: %s", attribute, detail)
					}
				}
			}
			w.do("PATCH", "/Users/"+id, patch(`{"op":"replace","path":"name","value":{"givenName":"A`+lost+`"}}`)).refused(400, "invalidValue")
			for _, attribute := range []string{"displayName", "externalId"} {
				w.do("PATCH", "/Groups/"+group, patch(`{"op":"replace","path":"`+attribute+`","value":"a`+lost+`"}`)).refused(400, "invalidValue")
			}
			w.do("POST", "/Groups", `{`+groupSchema+`,"displayName":"a`+lost+`"}`).refused(400, "invalidValue")
		}
		for _, whole := range []string{"Zoë", "日本", `\ud83d\ude00`, "😀", "Ж"} {
			w.do("PATCH", "/Users/"+id, patch(`{"op":"replace","path":"displayName","value":"`+whole+`"}`)).want(200)
		}
	})
}
