package sso

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// anyNetwork is an address of the nth network of many.
func anyNetwork(n int) string { return fmt.Sprintf("2001:db8:%x:%x::1", n>>16, n&0xffff) }

// neighbour is the nth address of one and the same network.
func neighbour(n int) string { return fmt.Sprintf("2001:db8::%x", n+1) }

func (b *browser) tryPassword(password string) int {
	return b.post("/sso/break-glass", url.Values{"password": {password}}).Code
}

func TestSecurityStrangersNeverFillTheEmergencyDoor(t *testing.T) {
	const me = "192.0.2.9"
	t.Run("without a password", func(t *testing.T) {
		w := newWorld(t, nil)
		w.setUp()
		for n := range maxCounts + 1 {
			w.at(anyNetwork(n)).get("/sso/break-glass/setup?token=x")
		}
		if code := w.at(me).tryPassword(goodPassword); code != http.StatusSeeOther {
			t.Errorf("the right password gets %d", code)
		}
	})
	t.Run("with the addresses of one network", func(t *testing.T) {
		w := newWorld(t, nil)
		w.setUp()
		for n := range triesOfAll {
			w.at(neighbour(n)).tryPassword("wrong, wrong, wrong")
		}
		if n := w.written("break-glass.sign-in", "denied"); n != triesPerNetwork+deniedPerNetwork {
			t.Errorf("one network has written %d entries", n)
		}
		if code := w.at(me).tryPassword(goodPassword); code != http.StatusSeeOther {
			t.Errorf("the right password gets %d", code)
		}
	})
	t.Run("with networks without end", func(t *testing.T) {
		w := newWorld(t, nil)
		w.setUp()
		for n := range 2 * triesOfAll {
			w.at(anyNetwork(n)).tryPassword("wrong, wrong, wrong")
		}
		if w.written("break-glass.sign-in", "denied") != 2*triesOfAll || len(w.h.guard.tries.counts) != triesOfAll {
			t.Errorf("%d networks tried, of the others %d are kept", triesOfAll, len(w.h.guard.tries.counts)-triesOfAll)
		}
		// What is left is the way of who has the machine.
		link, err := w.h.BreakGlassReset(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if rec := w.at(me).follow(link); rec.Code != http.StatusSeeOther {
			t.Errorf("the operator's link: %d\n%s", rec.Code, rec.Body)
		}
	})
	t.Run("with links that are none, from the administrator's own network", func(t *testing.T) {
		w := newWorld(t, nil)
		link, _ := w.h.BreakGlassLink(t.Context())
		for range 100 {
			w.at(me).get("/sso/break-glass/setup?token=x")
		}
		if rec := w.at(me).follow(link); rec.Code != http.StatusSeeOther {
			t.Errorf("the operator's link: %d\n%s", rec.Code, rec.Body)
		}
	})
}

func TestSecurityRefusedSignInsAreToldWhateverStrangersDo(t *testing.T) {
	w := newWorld(t, nil)
	w.setUp()
	refused := func(addr string) {
		t.Helper()
		b := w.at(addr)
		back := with(with(b.provider(b.begin("/sso/main/login")), "code", ""), "error", "access_denied")
		if rec := b.get(back); rec.Code != http.StatusForbidden {
			t.Fatalf("%d\n%s", rec.Code, rec.Body)
		}
	}
	for n := range maxCounts + 1 {
		w.at(anyNetwork(n)).get("/sso/break-glass/setup?token=x")
	}
	for n := range 2 * refusedPerNetwork {
		refused(neighbour(n))
	}
	if n := w.written("session.sign-in", "denied"); n != refusedPerNetwork {
		t.Errorf("one network has written %d entries", n)
	}
	refused("192.0.2.77")
	if e := w.audit[len(w.audit)-1]; e.Action != "session.sign-in" || e.RemoteAddr != "192.0.2.77" {
		t.Errorf("somebody else's refused sign-in is not told, the last is %s of %s", e.Action, e.RemoteAddr)
	}
}

func TestSecurityAnAccountThatIsNobodyHereDoesNotFillTheAudit(t *testing.T) {
	told := newRefusals()
	now := newClock().now
	one := func(network, subject string) bool {
		return told.mayTell(network, &Assertion{Issuer: "https://idp.example", Subject: subject}, now)
	}
	for n := range refusedPerSubject {
		if !one(anyNetwork(n), "mallory") {
			t.Fatal("too soon")
		}
	}
	if one("somewhere else", "mallory") {
		t.Error("one account writes from many networks")
	}
	if !one("somewhere else", "ada") {
		t.Error("one account's entries keep another's out")
	}
	for n := range 2 * vouchedPerNetwork {
		one("here", fmt.Sprint("account ", n))
	}
	if one("here", "another") {
		t.Error("one network writes by many accounts")
	}
	for n := range 2 * refusedOfAll {
		told.mayTell(anyNetwork(n), nil, now)
	}
	if told.mayTell("one more", nil, now) {
		t.Error("strangers write without end")
	}
	if !one("there", "grace") {
		t.Error("strangers keep out what an identity provider vouches for")
	}

	w := newWorld(t, nil)
	w.idp.claims["email"] = "ada@elsewhere.example" // nobody here
	for n := range refusedPerSubject + 5 {
		if rec := w.at(anyNetwork(n)).signIn(); rec.Code != http.StatusForbidden || !strings.Contains(rec.Body.String(), "not_mapped") {
			t.Fatalf("%d\n%s", rec.Code, rec.Body)
		}
	}
	if n := w.written("session.sign-in", "denied"); n != refusedPerSubject {
		t.Errorf("one account has written %d entries", n)
	}
}
