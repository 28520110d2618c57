package sso

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

// administers asserts that a browser's session is a tenant admin's, with the
// local administrator's address, and that nobody else comes to that user.
func (w *world) administers(b *browser) {
	w.t.Helper()
	v, err := w.h.Sessions().Authenticate(b.api("GET"))
	if err != nil || !v.Principal.Admin || v.Principal.Email != breakGlassEmail {
		w.t.Fatalf("%v %+v", err, v.Principal)
	}
	u, err := w.h.opt.Store.User(w.t.Context(), v.Principal.UID)
	if err != nil || !u.Active || u.Email != breakGlassEmail || len(u.Identities)+len(u.Memberships) > 0 || u.Manager != "" {
		w.t.Errorf("%v %+v", err, u)
	}
}

func TestSecurityADeactivatedLocalAdministratorIsRepaired(t *testing.T) {
	mallory := identity.UserIdentity{Issuer: "https://idp.example", Subject: "mallory"}
	remove := func(w *world, u identity.User) {
		delete(w.users, u.UID)
		w.tombs = append(w.tombs, identity.Tombstone{UID: u.UID, Email: u.Email})
	}
	for name, spoil := range map[string]func(w *world, u identity.User){
		"deactivated":     func(w *world, u identity.User) { u.Active = false; w.addUser(u) },
		"another address": func(w *world, u identity.User) { u.Email = "elsewhere@example.com"; w.addUser(u) },
		"linked":          func(w *world, u identity.User) { u.Identities = []identity.UserIdentity{mallory}; w.addUser(u) },
		"a directory's":   func(w *world, u identity.User) { u.Manager, u.Active = "scim:hr", false; w.addUser(u) },
		"a member, linked": func(w *world, u identity.User) {
			u.Identities, u.Memberships = []identity.UserIdentity{mallory}, []identity.Membership{{Team: "ops"}}
			w.addUser(u)
		},
		"removed":           remove,
		"removed elsewhere": func(w *world, u identity.User) { u.Email = "elsewhere@example.com"; remove(w, u) },
		"another's address": func(w *world, u identity.User) {
			delete(w.users, u.UID)
			w.addUser(identity.User{UID: "mallory", Email: breakGlassEmail, Active: true, Identities: []identity.UserIdentity{mallory}})
		},
		"another's address too": func(w *world, u identity.User) {
			u.Email = "elsewhere@example.com"
			w.addUser(u)
			w.addUser(identity.User{UID: "mallory", Email: breakGlassEmail, Active: true, Manager: "scim:hr"})
		},
	} {
		for _, way := range []string{"the password", "a reset and its link"} {
			t.Run(name+", "+way, func(t *testing.T) {
				w := newWorld(t, nil)
				w.setUp()
				u, _ := w.userByEmail(breakGlassEmail)
				spoil(w, u)
				w.publish()
				b := w.browser()
				var rec *httptest.ResponseRecorder
				if way == "the password" {
					rec = b.post("/sso/break-glass", map[string][]string{"password": {goodPassword}})
				} else {
					link, err := w.h.BreakGlassReset(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					rec = b.follow(link)
				}
				if rec.Code != http.StatusSeeOther {
					t.Fatalf("%d\n%s", rec.Code, rec.Body)
				}
				w.administers(b)
				for uid, other := range w.users {
					p := w.Load().UserPrincipal(mustUser(t, w, uid), w.clock())
					if p.Admin != (other.Email == breakGlassEmail) || len(other.Memberships) > 0 {
						t.Errorf("%+v is a tenant admin: %v", other, p.Admin)
					}
				}
				if again := w.browser(); again.tryPassword(goodPassword) != http.StatusSeeOther {
					t.Error("the next time it is shut")
				}
				if n := w.written("break-glass.repair", "done"); n > 1 {
					t.Errorf("repaired %d times", n)
				}
			})
		}
	}
}

func mustUser(t *testing.T, w *world, uid string) *snapshot.User {
	t.Helper()
	u, ok := w.Load().UserByUID(uid)
	if !ok {
		t.Fatalf("nobody is %s", uid)
	}
	return u
}

// The address is taken before the local administrator is there at all.
func TestSecurityWhoeverHasTheLocalAdministratorsAddressLosesIt(t *testing.T) {
	w := newWorld(t, nil)
	mallory := identity.UserIdentity{Issuer: "https://idp.example", Subject: "mallory"}
	w.addUser(identity.User{UID: "mallory", Email: breakGlassEmail, Active: true, Identities: []identity.UserIdentity{mallory}})
	b := w.setUp()
	w.administers(b)
	u, ok := w.Load().UserByIdentity(identity.IdentityKey{Issuer: mallory.Issuer, Subject: mallory.Subject})
	if !ok || u.UID != "mallory" || u.Email != "mallory@displaced.gatehouse.invalid" || identity.ReservedEmail(u.Email) || w.Load().UserPrincipal(u, w.clock()).Admin {
		t.Errorf("the identity finds %+v", u)
	}
	for _, e := range w.audit {
		if e.Action == "break-glass.setup" && strings.Contains(string(e.After), `"displaced":["mallory"]`) {
			return
		}
	}
	t.Error("the audit does not say whose it was")
}

func TestTwoWhoRepairTheLocalAdministratorAtOnceMakeOne(t *testing.T) {
	w := newWorld(t, nil)
	w.setUp()
	u, _ := w.userByEmail(breakGlassEmail)
	delete(w.users, u.UID)
	w.tombs = []identity.Tombstone{{UID: u.UID, Email: breakGlassEmail}}
	w.publish()
	w.onCommit = func() { // the other one is a moment earlier
		other := w.browser()
		if code := other.tryPassword(goodPassword); code != http.StatusSeeOther {
			t.Errorf("the other one gets %d", code)
		}
		w.administers(other)
	}
	b := w.browser()
	if code := b.tryPassword(goodPassword); code != http.StatusSeeOther {
		t.Fatal(code)
	}
	w.administers(b)
	if len(w.users) != 1 {
		t.Errorf("%d users", len(w.users))
	}
}

func TestSecurityTheLocalAdministratorIsRepairedOnTheRealStore(t *testing.T) {
	w, db, pub := realStore(t)
	first := w.setUp()
	w.administers(first)
	v, _ := w.h.Sessions().Authenticate(first.api("GET"))
	u, err := db.User(t.Context(), v.Principal.UID)
	if err != nil {
		t.Fatal(err)
	}
	write := func(b *record.Batch) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		head, err := db.Commit(ctx, b)
		if err == nil {
			err = pub.WaitFor(ctx, head)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	u.Active = false
	write(&record.Batch{PutUsers: []identity.User{u}})
	b := w.browser()
	if code := b.tryPassword(goodPassword); code != http.StatusSeeOther {
		t.Fatalf("deactivated: %d", code)
	}
	w.administers(b)

	write(&record.Batch{DeleteUsers: []string{u.UID}})
	write(&record.Batch{PutUsers: []identity.User{{Email: breakGlassEmail, Active: true, Identities: []identity.UserIdentity{{Issuer: "https://idp.example", Subject: "mallory"}}}}})
	b = w.browser()
	if code := b.tryPassword(goodPassword); code != http.StatusSeeOther {
		t.Fatalf("removed, and another in their place: %d", code)
	}
	w.administers(b)
	mallory, ok := pub.Load().UserByIdentity(identity.IdentityKey{Issuer: "https://idp.example", Subject: "mallory"})
	if !ok || mallory.Email == breakGlassEmail || pub.Load().UserPrincipal(mallory, time.Now()).Admin {
		t.Errorf("%+v", mallory)
	}
}
