package keyring

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestSecurityForgedTokensCostTheIdPAtMostOneFetchIn30Seconds(t *testing.T) {
	s := source()
	s.JWKSURLs, s.Issuer = nil, issuer // by discovery, which must not be repeated either
	world(t, Options{}, s, serving("a1"), func(r *Ring, i *idp) {
		time.Sleep(time.Minute)
		before := i.count()
		wantUnknown(t, r, "forged-0") // looked for, and not there
		for n := range 10_000 {
			if n > 0 { // not looked for yet: the caller is told to come again, and the provider is spared
				wantUnavailable(t, r, fmt.Sprint("forged-", n))
			}
			wantUnknown(t, r, "forged-0")
			wantKnown(t, r, "a1") // a forged signature under a known kid
			if n%1000 == 999 {
				time.Sleep(time.Second)
			}
		}
		if got := i.count() - before; got != 1 {
			t.Errorf("10 000 tokens in 10 s cost %d fetches", got)
		}
		// And for as long as they keep coming, all at once or one by one.
		start := len(i.times)
		for n := range 600 {
			var wg sync.WaitGroup
			for m := range 20 {
				wg.Go(func() { _ = lookup(r, fmt.Sprint("again-", n, "-", m%3)) })
			}
			wg.Wait()
			time.Sleep(time.Second)
		}
		for n := start; n < len(i.times); n++ {
			if gap := i.times[n].Sub(i.times[n-1]); gap < 30*time.Second {
				t.Errorf("%s came %s after the one before", i.calls[n], gap)
			}
		}
		if got := len(i.times) - start; got < 19 || got > 21 {
			t.Errorf("%d fetches in 10 minutes of unknown kids", got)
		}
	})
}

func TestSecurityForgedTokensCostAFailingIdPAtMostOneFetchIn30Seconds(t *testing.T) {
	world(t, Options{}, source(), serving("a1"), func(r *Ring, i *idp) {
		i.set(always(func() *http.Response { return reply(500, "") }))
		start := len(i.times)
		for n := range 300 {
			wantUnavailable(t, r, fmt.Sprint("forged-", n))
			time.Sleep(time.Second)
		}
		if len(i.times)-start < 9 {
			t.Error("a failing provider must be tried again")
		}
		i.set(serving("a1"))
		for n := range 1000 { // and while it recovers
			if lookup(r, fmt.Sprint("more-", n)) == nil {
				t.Error("accepted")
			}
			time.Sleep(100 * time.Millisecond)
		}
		if lookup(r, "x") == nil { // it may have come too soon after a fetch; the next one tells
			t.Error("accepted")
		}
		time.Sleep(askInterval + time.Second)
		wantUnknown(t, r, "x")
		for n := start + 1; n < len(i.times); n++ {
			if gap := i.times[n].Sub(i.times[n-1]); gap < 30*time.Second {
				t.Errorf("fetch %d came after %s", n, gap)
			}
		}
	})
}

func TestAKidThatWasUnknownWorksWithin30SecondsOfItsPublication(t *testing.T) {
	world(t, Options{}, source(), serving("a1"), func(r *Ring, i *idp) {
		wantUnknown(t, r, "b2")
		i.set(serving("a1", "b2"))
		time.Sleep(time.Second)
		wantUnknown(t, r, "b2") // the last refetch was a second ago; this asks for one in the background
		time.Sleep(29 * time.Second)
		synctest.Wait()
		if _, err := r.Peek("u1", "b2"); err != nil {
			t.Errorf("after 30 s: %v", err)
		}
	})
}

func TestAKeyThatIsNewerThanTheLastFetchIsNotRefusedForGood(t *testing.T) {
	world(t, Options{}, source(), serving("a1"), func(r *Ring, i *idp) {
		wantUnknown(t, r, "somebody-elses") // uses up the fetch that tokens may cause
		i.set(serving("b2"))
		wantUnavailable(t, r, "b2") // never 401: we have not looked for it
		i.set(always(func() *http.Response { return reply(500, "") }))
		for range 40 {
			wantUnavailable(t, r, "b2")
			time.Sleep(time.Second)
		}
	})
}

func TestSecurityAKeyThatWasTakenAwayIsRefusedAtOnce(t *testing.T) {
	world(t, Options{}, source(), serving("a1"), func(r *Ring, i *idp) {
		wantKnown(t, r, "a1")
		i.set(serving("b2"))
		wantKnown(t, r, "b2")   // fetched for this one
		wantUnknown(t, r, "a1") // 401, not "come again": its absence was seen
	})
}

func TestWaitersShareOneFetch(t *testing.T) {
	world(t, Options{}, source(), serving("a1"), func(r *Ring, i *idp) {
		i.set(func(q *http.Request) (*http.Response, error) {
			time.Sleep(3 * time.Second)
			return serving("a1", "b2")(q)
		})
		var wg sync.WaitGroup
		for range 500 {
			wg.Go(func() { wantKnown(t, r, "b2") })
		}
		wg.Wait()
		if i.count() != 2 {
			t.Errorf("%d fetches", i.count())
		}
	})
}
