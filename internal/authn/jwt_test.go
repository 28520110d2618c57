package authn

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/authn/keyring"
	"github.com/gatehouse-ai/gatehouse/internal/identity"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
)

const invalidToken = "invalid_token"

func everybody(t testing.TB, name, provider string) v1.Resource {
	t.Helper()
	return res(t, v1.KindExternalIdentity, name, `{"identityProvider":"`+provider+`"}`)
}

func TestSecurityWhatAJWTMustBe(t *testing.T) {
	b := newBench(t, idp(t, "acme", acme, jwks("acme=k1"), `"maxAge":"2h"`), everybody(t, "all", "acme"))
	const ok = "external-identity:all"
	at := func(d time.Duration) int64 { return noon.Add(d).Unix() }
	for _, tc := range []struct {
		name string
		over claimSet
		want string
	}{
		{"as it should be", nil, ok},
		{"expired", claimSet{"exp": at(-time.Minute)}, invalidToken},
		{"expired within the skew", claimSet{"exp": at(-29 * time.Second)}, ok},
		{"expired at the end of the skew", claimSet{"exp": at(-30 * time.Second)}, invalidToken},
		{"no exp", claimSet{"exp": nil}, invalidToken},
		{"exp as a text", claimSet{"exp": "1999999999"}, invalidToken},
		{"exp as an object", claimSet{"exp": claimSet{}}, invalidToken},
		{"not yet", claimSet{"nbf": at(time.Minute)}, invalidToken},
		{"issued in the future", claimSet{"iat": at(time.Minute)}, invalidToken},
		{"older than maxAge", claimSet{"iat": at(-3 * time.Hour)}, invalidToken},
		{"no iat with a maxAge", claimSet{"iat": nil}, invalidToken},
		{"another issuer", claimSet{"iss": partner}, invalidToken},
		{"the issuer with a slash", claimSet{"iss": acme + "/"}, invalidToken},
		{"the issuer in capitals", claimSet{"iss": "https://ACME.example"}, invalidToken},
		{"no issuer", claimSet{"iss": nil}, invalidToken},
		{"issuer as a number", claimSet{"iss": 7}, invalidToken},
		{"issuer as a list", claimSet{"iss": []string{acme}}, invalidToken},
		{"another audience", claimSet{"aud": "other"}, invalidToken},
		{"audience in capitals", claimSet{"aud": "GW"}, invalidToken},
		{"one of several audiences", claimSet{"aud": []string{"other", "gw"}}, ok},
		{"no audience", claimSet{"aud": nil}, invalidToken},
		{"no audience, but a client", claimSet{"aud": nil, "azp": "gw", "client_id": "gw"}, invalidToken},
		{"an empty audience", claimSet{"aud": []string{}}, invalidToken},
		{"audience as an object", claimSet{"aud": claimSet{"gw": "gw"}}, invalidToken},
		{"audience as a number", claimSet{"aud": 1}, invalidToken},
		{"a list with something else in it", claimSet{"aud": []any{"gw", 1}}, invalidToken},
		{"a list within a list", claimSet{"aud": []any{[]any{"gw"}}}, invalidToken},
		{"no subject", claimSet{"sub": nil}, invalidToken},
		{"an empty subject", claimSet{"sub": ""}, invalidToken},
		{"subject as a number", claimSet{"sub": 7}, invalidToken},
		{"subject as a list", claimSet{"sub": []string{"s1"}}, invalidToken},
		{"an ID token by typ", claimSet{"typ": "ID"}, invalidToken},
		{"an ID token by nonce", claimSet{"nonce": "n"}, invalidToken},
		{"an access token with nonce", claimSet{"nonce": "n", "scope": "openid"}, ok},
		{"a refresh token", claimSet{"typ": "Refresh", "scope": "x"}, invalidToken},
		{"an offline token", claimSet{"typ": "Offline", "scope": "x"}, invalidToken},
		{"a logout token", claimSet{"events": claimSet{}, "scope": "x"}, invalidToken},
	} {
		t.Run(tc.name, func(t *testing.T) {
			token := sign(t, "acme", "k1", base(acme).with(tc.over))
			if got := outcome(b.ask(token)); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			if _, err := b.explain(token); (err == nil) != (tc.want == ok) {
				t.Errorf("explain: %v", err)
			}
		})
	}
	good := sign(t, "acme", "k1", base(acme))
	b.want(good[:len(good)-4]+"AAAA", invalidToken)
	b.want(sign(t, "forged", "k1", base(acme)), invalidToken)
	b.want(sign(t, "acme", "k2", base(acme)), invalidToken)
	b.want("x.y.z", invalidToken)
	b.want("opaque", invalidToken)
}

func TestAudienceFromAnotherClaimOnlyWithoutAnAudience(t *testing.T) {
	b := newBench(t, idp(t, "acme", acme, jwks("acme=k1"), `"audienceFrom":["client_id"]`), everybody(t, "all", "acme"))
	for _, tc := range []struct {
		over claimSet
		want string
	}{
		{claimSet{"aud": nil, "client_id": "gw"}, "external-identity:all"},
		{claimSet{"aud": nil, "azp": "gw"}, invalidToken},
		{claimSet{"aud": nil, "client_id": []string{"gw"}}, invalidToken},
		{claimSet{"aud": "other", "client_id": "gw"}, invalidToken},
		{claimSet{"aud": []any{}, "client_id": "gw"}, invalidToken},
		{claimSet{"aud": claimSet{}, "client_id": "gw"}, invalidToken},
	} {
		b.want(sign(t, "acme", "k1", base(acme).with(tc.over)), tc.want)
	}
	q := b.put
	q(idp(t, "acme", acme, jwks("acme=k1"), `"audiences":["gw"],"insecureSkipAudience":true`))
	b.want(sign(t, "acme", "k1", base(acme).with(claimSet{"aud": "other"})), invalidToken) // both set: the check stays
	q(idp(t, "acme", acme, jwks("acme=k1"), `"insecureSkipAudience":true`))
	b.want(sign(t, "acme", "k1", base(acme).with(claimSet{"aud": "other"})), "external-identity:all")
}

func TestTokenTypeIDTakesIDTokensOnly(t *testing.T) {
	b := newBench(t, idp(t, "acme", acme, jwks("acme=k1"), `"tokenType":"id"`), everybody(t, "all", "acme"))
	b.want(sign(t, "acme", "k1", base(acme).with(claimSet{"nonce": "n"})), "external-identity:all")
	b.want(sign(t, "acme", "k1", base(acme).with(claimSet{"typ": "Bearer"})), invalidToken)
}

func TestSecurityTwoIssuersThatShareAKid(t *testing.T) {
	b := newBench(t, idp(t, "acme", acme, jwks("acme=k1"), ""), idp(t, "partner", partner, jwks("partner=k1"), ""),
		everybody(t, "acmes", "acme"), everybody(t, "partners", "partner"))
	b.want(sign(t, "acme", "k1", base(acme)), "external-identity:acmes")
	b.want(sign(t, "partner", "k1", base(partner)), "external-identity:partners")
	b.want(sign(t, "partner", "k1", base(acme)), invalidToken)
	b.want(sign(t, "acme", "k1", base(partner)), invalidToken)
}

func TestSecurityAProviderWithoutIssuerSeesOnlyWhatNobodyClaims(t *testing.T) {
	loose := func() v1.Resource { return idp(t, "loose", "", jwks("partner=k1"), "") }
	b := newBench(t, idp(t, "acme", acme, jwks("acme=k1"), ""), loose(), everybody(t, "acmes", "acme"), everybody(t, "loose", "loose"))
	b.want(sign(t, "partner", "k1", base("https://whoever.example")), "external-identity:loose")
	b.want(sign(t, "partner", "k1", base("").with(claimSet{"iss": nil})), "external-identity:loose")
	b.want(sign(t, "partner", "k1", base(acme)), invalidToken)
	b.want(sign(t, "partner", "k1", base(acme).with(claimSet{"iss": []string{acme}})), invalidToken)
	token := sign(t, "partner", "k1", base(partner))
	b.want(token, "external-identity:loose")
	caller, _ := b.ask(token)
	b.put(idp(t, "exact", partner, jwks("forged=k1"), "")) // now somebody claims the issuer
	b.want(token, invalidToken)
	if _, err := b.a.Recheck(b.Load(), caller); err == nil {
		t.Error("a running request goes on under a provider that may not judge its token any more")
	}
}

func TestTheFirstProviderOfAnIssuerThatValidatesWins(t *testing.T) {
	b := newBench(t,
		idp(t, "a", acme, jwks("acme=k1"), `"audiences":["one"]`), idp(t, "b", acme, jwks("acme=k1"), `"audiences":["gw"]`),
		everybody(t, "as", "a"), everybody(t, "bs", "b"))
	b.want(sign(t, "acme", "k1", base(acme)), "external-identity:bs")
	b.want(sign(t, "acme", "k1", base(acme).with(claimSet{"aud": []string{"gw", "one"}})), "external-identity:as")
}

// fakeKeys says what it is told to say.
type fakeKeys struct {
	keyring.Ring
	err    error
	looked int
}

func (k *fakeKeys) Lookup(context.Context, string, string) (keyring.Result, error) {
	k.looked++
	return keyring.Result{}, k.err
}
func (k *fakeKeys) Peek(string, string) (keyring.Result, error) { return keyring.Result{}, k.err }
func (k *fakeKeys) Alive(string, string) bool                   { return true }
func (k *fakeKeys) Status() []keyring.Status {
	return []keyring.Status{{UID: "uid-identity-provider-acme", URL: "https://acme.example/jwks", LastError: "connection refused", TrustedCA: "the system's"}}
}

func TestSecurityKeysThatCannotBeHadAre503AndNever401(t *testing.T) {
	for name, tc := range map[string]struct {
		err   error
		over  claimSet
		want  string
		retry time.Duration
		looks int
	}{
		"the provider is away":         {err: &keyring.UnavailableError{Provider: "acme", RetryAfter: 7 * time.Second}, want: "identity_provider_unavailable", retry: 7 * time.Second, looks: 1},
		"wrapped":                      {err: fmt.Errorf("x: %w", keyring.ErrUnavailable), want: "identity_provider_unavailable", retry: 5 * time.Second, looks: 1},
		"whatever else":                {err: context.Canceled, want: "identity_provider_unavailable", retry: 5 * time.Second, looks: 1},
		"the key is not one of theirs": {err: keyring.ErrUnknownKid, want: invalidToken, looks: 1},
		"expired in any case":          {err: keyring.ErrUnavailable, over: claimSet{"exp": 1}, want: invalidToken},
	} {
		b := newBench(t, idp(t, "acme", acme, jwks("acme=k1"), ""))
		keys := &fakeKeys{err: tc.err}
		b.a.opt.Keys = keys
		_, err := b.ask(sign(t, "acme", "k1", base(acme).with(tc.over)))
		if got := string(identity.CodeOf(err)); got != tc.want || keys.looked != tc.looks {
			t.Errorf("%s: %v after %d look-ups", name, err, keys.looked)
		}
		if e, _ := errors.AsType[*identity.Error](err); e.RetryAfter != tc.retry {
			t.Errorf("%s: Retry-After %s", name, e.RetryAfter)
		}
	}
}

// One provider's outage is not another's: the second may still accept.
func TestAnotherProviderOfTheIssuerMayStillAccept(t *testing.T) {
	b := newBench(t,
		res(t, v1.KindIdentityProvider, "away", `{"issuer":"`+acme+`","audiences":["gw"],"jwksURLs":["https://127.0.0.1:1/jwks"]}`),
		idp(t, "here", acme, jwks("acme=k1"), ""), everybody(t, "all", "here"))
	b.want(sign(t, "acme", "k1", base(acme)), "external-identity:all")
	b.want(sign(t, "partner", "k1", base(acme)), "identity_provider_unavailable")
}

func TestSecurityACachedTokenIsTheWholeTokenOfItsProvider(t *testing.T) {
	b := newBench(t, idp(t, "acme", acme, jwks("acme=k1"), ""), everybody(t, "all", "acme"))
	token := sign(t, "acme", "k1", base(acme))
	b.want(token, "external-identity:all")
	for i := range len(token) {
		other := []byte(token)
		other[i] ^= 1
		if _, err := b.ask(string(other)); err == nil {
			t.Fatalf("with byte %d changed it is still accepted", i)
		}
	}
	b.want(token+"A", invalidToken)
	b.want(token, "external-identity:all")
}

func TestSecurityACachedTokenDies(t *testing.T) {
	acmes := func(keys, more string) v1.Resource { return idp(t, "acme", acme, keys, more) }
	for name, tc := range map[string]struct {
		do   func(b *bench)
		want string
	}{
		"never, if nothing happens": {func(b *bench) { b.pass(30 * time.Minute) }, "external-identity:all"},
		"with its exp":              {func(b *bench) { b.pass(time.Hour + 30*time.Second) }, invalidToken},
		"with its key":              {func(b *bench) { b.put(acmes(jwks("partner=k1"), "")) }, invalidToken},
		"with its audience":         {func(b *bench) { b.put(acmes(jwks("acme=k1"), `"audiences":["other"]`)) }, invalidToken},
		"with its issuer":           {func(b *bench) { b.put(idp(t, "acme", partner, jwks("acme=k1"), "")) }, invalidToken},
		"with its provider": {func(b *bench) {
			b.change(identity.Rows{RemovedResources: []identity.ResourceKey{{Kind: v1.KindIdentityProvider, Name: "acme"}}})
		}, invalidToken},
		"when its provider is quarantined": {func(b *bench) {
			b.change(identity.Rows{Quarantined: []identity.Quarantined{{Key: identity.ResourceKey{Kind: v1.KindIdentityProvider, Name: "acme"}}}})
		}, invalidToken},
		"when its identity is gone": {func(b *bench) {
			b.change(identity.Rows{RemovedResources: []identity.ResourceKey{{Kind: v1.KindExternalIdentity, Name: "all"}}})
		}, "identity_not_mapped"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, acmes(jwks("acme=k1"), ""), everybody(t, "all", "acme"))
			token := sign(t, "acme", "k1", base(acme))
			b.want(token, "external-identity:all")
			b.want(token, "external-identity:all")
			caller, err := b.ask(token)
			if err != nil {
				t.Fatal(err)
			}
			tc.do(b)
			b.want(token, tc.want)
			running := tc.want
			if name == "with its exp" {
				running = "external-identity:all" // what is running ends by the gateway's limit
			}
			if got := outcome(b.a.Recheck(b.Load(), caller)); got != running {
				t.Errorf("recheck: %q, want %q", got, running)
			}
		})
	}
}

// A token that is cached is not looked up again, and one that is expired is
// not believed because it is in the cache.
func TestTheCacheSparesTheWork(t *testing.T) {
	b := newBench(t, idp(t, "acme", acme, jwks("acme=k1"), ""), everybody(t, "all", "acme"))
	token := sign(t, "acme", "k1", base(acme))
	first, _ := b.ask(token)
	second, _ := b.ask(token)
	if first.entry != second.entry || first.Principal != second.Principal {
		t.Error("verified twice")
	}
	b.pass(cacheFor)
	third, err := b.ask(token)
	if err != nil || third.entry == first.entry {
		t.Errorf("after five minutes it is not verified again (%v)", err)
	}
}

func TestExplainLeavesNoTrace(t *testing.T) {
	b := newBench(t, idp(t, "acme", acme, jwks("acme=k1"), `"resolve":{"users":"create"},"emailDomains":["acme.example"]`))
	token := sign(t, "acme", "k1", base(acme).with(claimSet{"email": "ada@acme.example", "email_verified": true}))
	if text, err := b.explain(token); err != nil {
		t.Error(err, text)
	}
	if _, cached := b.a.cache.tokens.GetIfPresent(tokenKey(token)); cached || b.dir.count() != 0 {
		t.Errorf("cached %t, the directory was asked %d times", cached, b.dir.count())
	}
}

func TestSecurityACachedTokenDiesWithItsMaxAge(t *testing.T) {
	b := newBench(t, idp(t, "acme", acme, jwks("acme=k1"), `"maxAge":"2m"`), everybody(t, "all", "acme"))
	token := sign(t, "acme", "k1", base(acme))
	b.want(token, "external-identity:all")
	b.pass(149 * time.Second)
	b.want(token, "external-identity:all")
	b.pass(time.Second)
	b.want(token, invalidToken)
}

func TestSecurityACachedTokenDiesWhenItsProviderTakesTheKeyBack(t *testing.T) {
	b := newBench(t, idp(t, "acme", acme, jwks("acme=k1"), ""), everybody(t, "all", "acme"))
	token := sign(t, "acme", "k1", base(acme))
	caller, err := b.ask(token)
	if err != nil {
		t.Fatal(err)
	}
	// The ring has read another set; the configuration is as it was.
	b.ring.Reconcile([]keyring.Source{{UID: "uid-identity-provider-acme", Name: "acme", Issuer: acme, Inline: []byte(jwks("partner=k1"))}})
	b.want(token, invalidToken)
	if _, err := b.a.Recheck(b.Load(), caller); err == nil {
		t.Error("a running request goes on with a key that was taken back")
	}
}
