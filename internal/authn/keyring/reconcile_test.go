package keyring

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestReconcileKeepsWhatIsUnchanged(t *testing.T) {
	world(t, Options{}, source(), serving("a1"), func(r *Ring, i *idp) {
		before := r.Generation("u1")
		s := source()
		s.Name, s.StaleFor, s.RefreshDefault = "renamed", time.Hour, 5*time.Minute
		r.Reconcile([]Source{s})
		if r.Generation("u1") != before || i.count() != 1 || r.Status()[0].Name != "renamed" {
			t.Errorf("%+v", r.Status())
		}
	})
}

func TestSecurityChangedTrustDropsTheOldKeys(t *testing.T) {
	for name, change := range map[string]func(*Source){
		"address":     func(s *Source) { s.JWKSURLs = []string{"https://other.example/jwks"} },
		"CA":          func(s *Source) { s.CAPEM = []byte("x") },
		"CA file":     func(s *Source) { s.CAFile = "x" },
		"issuer":      func(s *Source) { s.Issuer = "https://other.example" },
		"inline":      func(s *Source) { s.Inline = []byte(`{"keys":[]}`) },
		"http":        func(s *Source) { s.InsecureHTTP = true },
		"private net": func(s *Source) { s.AllowPrivate = true },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			world(t, Options{Dir: dir}, source(), serving("a1"), func(r *Ring, i *idp) {
				found, _ := r.Peek("u1", "a1")
				i.set(down)
				s := source()
				change(&s)
				r.Reconcile([]Source{s})
				if r.Alive("u1", found.Keys[0].Thumbprint) || r.Generation("u1") != 0 {
					t.Error("the old key is alive")
				}
				wantUnavailable(t, r, "a1")
				if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) != 0 {
					t.Errorf("on disk: %v", files)
				}
				r.Reconcile([]Source{source()})
				wantUnavailable(t, r, "a1") // changed back: still not reused
			})
		})
	}
}

func TestRemovedProviderIsGoneWithItsFile(t *testing.T) {
	dir := t.TempDir()
	world(t, Options{Dir: dir}, source(), serving("a1"), func(r *Ring, i *idp) {
		i.set(hanging)
		waiting := make(chan error)
		go func() { waiting <- lookup(r, "b2") }()
		synctest.Wait()
		r.Reconcile(nil)
		if err := <-waiting; !errors.Is(err, ErrUnavailable) {
			t.Errorf("a waiter of a removed provider: %v", err)
		}
		wantUnavailable(t, r, "a1")
		if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) != 0 || len(r.Status()) != 0 {
			t.Errorf("%v %v", files, r.Status())
		}
		n := i.count()
		time.Sleep(2 * time.Hour)
		if i.count() != n {
			t.Error("a removed provider is still fetched")
		}
	})
}

func TestReconcileNeverWaitsForTheNetwork(t *testing.T) {
	world(t, Options{}, source(), hanging, func(r *Ring, i *idp) {
		start := time.Now()
		var all []Source
		for n := range 200 {
			s := source()
			s.UID = fmt.Sprint(n)
			all = append(all, s)
		}
		r.Reconcile(all)
		r.Reconcile(all[:100])
		if time.Since(start) != 0 || len(r.Status()) != 100 {
			t.Error(time.Since(start), len(r.Status()))
		}
	})
}

func TestOneProvidersOutageIsItsOwn(t *testing.T) {
	keyPool()
	synctest.Test(t, func(t *testing.T) {
		good, bad := &idp{answer: serving("a1")}, &idp{answer: down}
		r := New(Options{Transport: func(s Source) http.RoundTripper {
			if s.UID == "u1" {
				return good
			}
			return bad
		}})
		defer r.Close()
		other := source()
		other.UID, other.Name = "u2", "another"
		r.Reconcile([]Source{source(), other})
		synctest.Wait()
		wantKnown(t, r, "a1")
		wantUnknown(t, r, "b2")
		if _, err := r.Lookup(context.Background(), "u2", "a1"); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "another") {
			t.Error(err)
		}
		if st := r.Status(); len(st) != 2 || st[0].Name != "another" || !st[0].Expired || st[1].Expired {
			t.Errorf("%+v", st)
		}
	})
}

func TestInlineKeysNeedNoNetwork(t *testing.T) {
	s := Source{UID: "u1", Name: "inline", Issuer: issuer, Inline: []byte(keySetOf("a1"))}
	world(t, Options{}, s, down, func(r *Ring, i *idp) {
		time.Sleep(100 * time.Hour)
		wantKnown(t, r, "a1")
		wantUnknown(t, r, "b2")
		if st := r.Status()[0]; i.count() != 0 || st.URL != "inline" || st.Expired || st.Stale || st.Age != 0 {
			t.Errorf("%d fetches, %+v", i.count(), st)
		}
	})
	s.Inline = []byte("<html>")
	world(t, Options{}, s, down, func(r *Ring, i *idp) { wantUnavailable(t, r, "a1") })
}

func TestInlineKeysStandBesideFetchedOnes(t *testing.T) {
	s := source()
	s.Inline = []byte(keySetOf("a1"))
	world(t, Options{}, s, serving("b2"), func(r *Ring, i *idp) {
		wantKnown(t, r, "a1")
		wantKnown(t, r, "b2")
		i.set(down)
		time.Sleep(30 * time.Hour)
		wantKnown(t, r, "a1")
		wantUnavailable(t, r, "b2")
	})
}

func TestOneOfSeveralAddressesFailing(t *testing.T) {
	s := source()
	s.JWKSURLs = []string{jwksURL, "https://second.example/jwks"}
	firstDown := false
	answer := func(r *http.Request) (*http.Response, error) {
		if r.URL.Host == "second.example" {
			return reply(200, keySetOf("b2")), nil
		}
		if firstDown {
			return down(r)
		}
		return reply(200, keySetOf("a1")), nil
	}
	world(t, Options{}, s, answer, func(r *Ring, i *idp) {
		wantKnown(t, r, "a1")
		wantKnown(t, r, "b2")
		firstDown = true
		wantUnavailable(t, r, "c3")
		wantKnown(t, r, "a1")
		time.Sleep(25 * time.Hour)
		synctest.Wait()
		wantUnavailable(t, r, "a1") // its address has been away for longer than StaleFor
		wantKnown(t, r, "b2")
	})
}

func TestDiscovery(t *testing.T) {
	doc := func(body string) func(*http.Request) (*http.Response, error) {
		return func(r *http.Request) (*http.Response, error) {
			if strings.Contains(r.URL.Path, "well-known") {
				return reply(200, body), nil
			}
			return reply(200, keySetOf("a1")), nil
		}
	}
	for _, c := range []struct{ name, issuer, body, says string }{
		{"good", issuer, `{"issuer":"` + issuer + `","jwks_uri":"` + jwksURL + `"}`, ""},
		{"slash in the configuration", issuer + "/", `{"issuer":"` + issuer + `","jwks_uri":"` + jwksURL + `"}`, "slash"},
		{"slash in the document", issuer, `{"issuer":"` + issuer + `/","jwks_uri":"` + jwksURL + `"}`, "slash"},
		{"another issuer", issuer, `{"issuer":"https://evil.example","jwks_uri":"` + jwksURL + `"}`, "evil.example"},
		{"another case of the member", issuer, `{"ISSUER":"` + issuer + `","jwks_uri":"` + jwksURL + `"}`, "missing"},
		{"no jwks_uri", issuer, `{"issuer":"` + issuer + `"}`, "missing"},
		{"plain http", issuer, `{"issuer":"` + issuer + `","jwks_uri":"http://idp.example/jwks"}`, "plain http"},
		{"loopback", issuer, `{"issuer":"` + issuer + `","jwks_uri":"http://localhost/jwks"}`, "loopback"},
		{"metadata", issuer, `{"issuer":"` + issuer + `","jwks_uri":"https://169.254.169.254/jwks"}`, "metadata"},
		{"HTML", issuer, `<html>`, "not a JSON object"},
		{"configured plain http", "http://idp.example", `{}`, "insecureHTTP"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := Source{UID: "u1", Name: "x", Issuer: c.issuer}
			world(t, Options{}, s, doc(c.body), func(r *Ring, i *idp) {
				if c.says == "" {
					wantKnown(t, r, "a1")
					return
				}
				wantUnavailable(t, r, "a1")
				if st := r.Status()[0]; !strings.Contains(st.LastError, c.says) {
					t.Errorf("%q does not say %q", st.LastError, c.says)
				}
			})
		})
	}
}

func TestAKeySetThatMovedIsFoundAgain(t *testing.T) {
	moved := false
	answer := func(r *http.Request) (*http.Response, error) {
		where := "https://idp.example/old"
		if moved {
			where = "https://idp.example/new"
		}
		switch {
		case strings.Contains(r.URL.Path, "well-known"):
			return reply(200, fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q}`, issuer, where)), nil
		case r.URL.String() == where && moved:
			return reply(200, keySetOf("b2")), nil
		case r.URL.String() == where:
			return reply(200, keySetOf("a1")), nil
		}
		return reply(404, ""), nil
	}
	world(t, Options{}, Source{UID: "u1", Issuer: issuer}, answer, func(r *Ring, i *idp) {
		wantKnown(t, r, "a1")
		moved = true
		wantUnavailable(t, r, "b2") // the old address is gone: our trouble, not the token's
		time.Sleep(34 * time.Second)
		synctest.Wait()
		wantKnown(t, r, "b2")
		time.Sleep(askInterval) // a1 was not looked for when b2's fetch began
		wantUnknown(t, r, "a1")
	})
}

func TestRefreshFollowsCacheControl(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"":                             15 * time.Minute,
		"no-cache":                     15 * time.Minute,
		"max-age=0":                    time.Minute,
		"max-age=5":                    time.Minute,
		"public, Max-Age=600":          10 * time.Minute,
		"max-age=86400":                time.Hour,
		"max-age=99999999999999999":    15 * time.Minute,
		"max-age=-5":                   15 * time.Minute,
		"s-maxage=60, max-age=\"120\"": 2 * time.Minute,
	} {
		t.Run(header, func(t *testing.T) {
			answer := always(func() *http.Response { return reply(200, keySetOf("a1"), "Cache-Control", header) })
			world(t, Options{}, source(), answer, func(r *Ring, i *idp) {
				time.Sleep(20 * want)
				synctest.Wait()
				low, high := want-want/10, want+want/10
				distinct := map[time.Duration]bool{}
				for n := 1; n < len(i.times); n++ {
					gap := i.times[n].Sub(i.times[n-1])
					distinct[gap] = true
					if gap < low || gap > high {
						t.Errorf("after %s, want %s to %s", gap, low, high)
					}
				}
				if len(distinct) < 5 {
					t.Errorf("there is no jitter: %v", distinct)
				}
			})
		})
	}
}

func TestSecurityPrivateKeysOfASetAreLeftOutAndReported(t *testing.T) {
	set := strings.Replace(keySetOf("a1", "b2"), `"kid":"b2"`, `"kid":"b2","d":"AAAA"`, 1)
	world(t, Options{}, source(), always(func() *http.Response { return reply(200, set) }), func(r *Ring, i *idp) {
		wantKnown(t, r, "a1")
		wantUnknown(t, r, "b2")
		if st := r.Status()[0]; st.Keys != 1 || len(st.Problems) != 1 || !strings.Contains(st.Problems[0], "private") {
			t.Errorf("%+v", st)
		}
	})
}

func TestKnownKidIsFoundWithoutAllocation(t *testing.T) {
	r := New(Options{})
	defer r.Close()
	r.Reconcile([]Source{{UID: "u1", Inline: []byte(keySetOf("a1"))}})
	ctx := context.Background()
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := r.Lookup(ctx, "u1", "a1"); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkLookupKnownKid(b *testing.B) {
	r := New(Options{})
	defer r.Close()
	r.Reconcile([]Source{{UID: "u1", Inline: []byte(keySetOf("a1"))}})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := r.Lookup(context.Background(), "u1", "a1"); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func TestUnknownKidsAreForgottenInOrder(t *testing.T) {
	l := newLRU(2)
	l.add("a")
	l.add("b")
	l.has("a")
	l.add("c")
	if !l.has("a") || l.has("b") || !l.has("c") || len(l.where) != 2 || l.order.Len() != 2 {
		t.Error("not the least recently used one was forgotten")
	}
}

func TestClosedRingAnswersUnavailable(t *testing.T) {
	world(t, Options{}, source(), serving("a1"), func(r *Ring, i *idp) {
		r.Close()
		wantUnavailable(t, r, "a1")
		r.Reconcile([]Source{source()})
		r.Close()
	})
}
