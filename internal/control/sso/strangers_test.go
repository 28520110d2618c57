package sso

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/gatehouse-ai/gatehouse/internal/control/sso/saml"
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
	t.Run("with what can be no password", func(t *testing.T) {
		w := newWorld(t, nil)
		w.setUp()
		for n := range 2 * triesOfAll {
			if code := w.at(anyNetwork(n)).tryPassword([]string{"", "short"}[n%2]); code == http.StatusSeeOther {
				t.Fatal("it is the password")
			}
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

func TestSecurityStrangersWriteNoRows(t *testing.T) {
	w := newSAMLWorld(t, nil)
	for range 2 * refusedPerNetwork {
		b := w.browser()
		back := b.provider(b.begin("/sso/main/login"))
		kept := maps.Clone(b.cookies)
		for _, spoilt := range []string{with(with(back, "code", ""), "error", "access_denied"), with(back, "iss", "https://evil.example"), with(back, "code", "")} {
			b.cookies = maps.Clone(kept)
			if rec := b.get(spoilt); rec.Code < 400 || rec.Code >= 500 {
				t.Fatalf("%d\n%s", rec.Code, rec.Body)
			}
		}
		request, relay := b.open()
		if rec := b.answer(strings.Replace(w.response(request, "persistent"), "Grace@", "Boss@", 1), relay); !strings.Contains(rec.Body.String(), "saml_wrong_signature") {
			t.Fatalf("%d\n%s", rec.Code, rec.Body)
		}
	}
	if len(w.claimed) > 0 || len(w.audit) != refusedPerNetwork {
		t.Errorf("strangers have used up %d attempts and written %d entries", len(w.claimed), len(w.audit))
	}

	t.Run("codes that are worth nothing are few", func(t *testing.T) {
		w := newWorld(t, nil)
		back := func(b *browser) string { return b.provider(b.begin("/sso/main/login")) }
		for range 3 {
			b := w.at("192.0.2.7")
			w.refused(b.get(with(back(b), "code", "x")), "code_refused")
		}
		if now := w.clock(); !w.h.crowd.spent("code/192.0.2.7", 3, now) || w.h.crowd.spent("code/192.0.2.7", 4, now) || len(w.claimed) != 3 {
			t.Errorf("not three are counted, or %d written", len(w.claimed))
		}
		for range triesCode {
			w.h.crowd.allow("code/192.0.2.7", triesCode, w.clock())
		}
		b := w.at("192.0.2.7")
		w.refused(b.get(with(back(b), "code", "x")), "too_many_tries")
		if len(w.claimed) != 3 || len(w.idp.tokenReqs) != 3 {
			t.Errorf("%d written, %d sent to the provider", len(w.claimed), len(w.idp.tokenReqs))
		}
		if rec := w.at("192.0.2.8").signIn(); rec.Code != http.StatusSeeOther {
			t.Errorf("somebody elsewhere: %d", rec.Code)
		}
	})
	t.Run("those that sign somebody in are not counted", func(t *testing.T) {
		w := newWorld(t, nil)
		w.browser().signIn()
		if len(w.h.crowd.counts) != 0 {
			t.Errorf("%v", w.h.crowd.counts)
		}
	})
}

func TestSecurityAReplayedStateIsRefusedByAnotherReplicaToo(t *testing.T) {
	w := newWorld(t, nil)
	replica, err := New(w.h.opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(replica.Close)
	b := w.browser()
	back := b.provider(b.begin("/sso/main/login"))
	kept := maps.Clone(b.cookies)
	if rec := b.get(back); rec.Code != http.StatusSeeOther {
		t.Fatal(rec.Body)
	}
	w.h = replica
	thief := w.browser()
	thief.cookies = kept
	if rec := thief.get(back); rec.Code != http.StatusBadRequest || !strings.Contains(rec.Body.String(), "attempt_replayed") || len(w.idp.tokenReqs) != 1 {
		t.Errorf("%d, %d codes were redeemed\n%s", rec.Code, len(w.idp.tokenReqs), rec.Body)
	}
}

// A test is told in the audit whatever comes of it, so its answer counts once.
func TestSecurityATestIsUsedUpByAnyAnswer(t *testing.T) {
	w := newWorld(t, nil)
	link, _, err := w.h.TestLink("main", "uid-main", "user:admin@example.com")
	if err != nil {
		t.Fatal(err)
	}
	b := w.browser()
	back := with(with(b.provider(b.begin(strings.TrimPrefix(link, ours))), "code", ""), "error", "access_denied")
	kept := maps.Clone(b.cookies)
	for range 5 {
		b.cookies = maps.Clone(kept)
		b.get(back)
	}
	if n := w.written("session.test", "denied"); n != 1 {
		t.Errorf("one test has written %d entries", n)
	}
}

func TestSecurityTheACSLooksAtFewMessagesAtATime(t *testing.T) {
	w := newSAMLWorld(t, nil)
	forged := func(b *browser) *httptest.ResponseRecorder {
		request, relay := b.open()
		return b.answer(strings.Replace(w.response(request, "persistent"), "Grace@", "Boss@", 1), relay)
	}
	for range verifyAtOnce {
		w.h.verifying[toSignOut] <- struct{}{}
	}
	w.samlSignIn() // logout messages are in nobody's way
	for range verifyAtOnce {
		w.h.verifying[toSignIn] <- struct{}{}
	}
	b := w.browser()
	request, relay := b.open()
	b.gone = true // or it would wait for a place
	if rec := b.answer(w.response(request, "persistent"), relay); rec.Code < 400 || len(w.live()) > 1 {
		t.Fatalf("a third message is looked at beside two: %d", rec.Code)
	}
	for range verifyAtOnce {
		<-w.h.verifying[toSignIn]
	}
	w.samlSignIn()

	for range triesSAML - 1 { // all but the last
		w.h.crowd.allow(toSignIn+"/2001:db8::/64", triesSAML, w.clock())
	}
	if rec := forged(w.at(neighbour(1))); !strings.Contains(rec.Body.String(), "saml_wrong_signature") {
		t.Fatalf("too soon: %d\n%s", rec.Code, rec.Body)
	}
	tired := w.at(neighbour(2))
	if rec := forged(tired); rec.Code != http.StatusTooManyRequests {
		t.Errorf("one network has as many looked at as it likes: %d", rec.Code)
	}
	if len(tired.cookies) != 1 {
		t.Error("its form was read nevertheless")
	}
	if rec := forged(w.at("192.0.2.8")); !strings.Contains(rec.Body.String(), "saml_wrong_signature") {
		t.Errorf("another network: %d", rec.Code)
	}
}

// Those that wait for a place while the others use the network's tries up are
// not looked at either.
func TestSecurityMessagesThatWaitAreNotLookedAtBeyondTheLimit(t *testing.T) {
	w := newSAMLWorld(t, nil)
	r := httptest.NewRequest(http.MethodPost, ours+"/sso/corp/saml/acs", nil)
	looked := 0
	for range triesSAML + 5 {
		_ = w.h.verified(r, toSignIn, func() error { looked++; return &saml.Refusal{Reason: saml.ReasonSignature} })
	}
	if looked != triesSAML {
		t.Errorf("%d were looked at", looked)
	}
	if err := w.h.verified(r, toSignOut, func() error { return nil }); err != nil {
		t.Errorf("what is refused of sign-ins counts against sign-outs: %v", err)
	}
}

func TestGenuineSAMLSignInsAreNotCountedAgainstTheirSender(t *testing.T) {
	w := newSAMLWorld(t, nil)
	for range 3 {
		b := w.browser()
		request, relay := b.open()
		if rec := b.answer(w.response(request, "persistent"), relay); rec.Code != http.StatusSeeOther {
			t.Fatalf("%d\n%s", rec.Code, rec.Body)
		}
	}
	if len(w.h.crowd.counts) != 0 {
		t.Errorf("%v", w.h.crowd.counts)
	}
}
