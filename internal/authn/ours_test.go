package authn

import (
	"net/netip"
	"testing"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

// ours stores a new token and returns it.
func (b *bench) ours(kind identity.TokenKind, change func(*identity.Token)) string {
	token := identity.NewToken(kind)
	t := identity.Token{ID: "01900000-0000-7000-8000-000000000001", Kind: kind, Digest: identity.DigestOf(token), ExpiresAt: noon.Add(time.Hour)}
	change(&t)
	b.change(identity.Rows{Tokens: []identity.Token{t}})
	return token
}

func ofAda(t *identity.Token) { t.Owner = "uid-ada@acme.example" }

func mistyped(token string) string {
	last := byte('x')
	if token[len(token)-1] == last {
		last = 'y'
	}
	return token[:len(token)-1] + string(last)
}

func TestSecurityTokensOfOurs(t *testing.T) {
	for name, tc := range map[string]struct {
		kind   identity.TokenKind
		change func(*identity.Token)
		do     func(b *bench, token *string)
		want   string
	}{
		"a person's":       {'p', ofAda, nil, "user:ada@acme.example"},
		"an application's": {'v', func(t *identity.Token) { t.Owner = "uid-virtual-account-bot" }, nil, "virtual-account:bot"},
		"expired":          {'p', ofAda, func(b *bench, _ *string) { b.pass(time.Hour) }, invalidToken},
		"never expiring":   {'p', func(t *identity.Token) { ofAda(t); t.ExpiresAt = time.Time{} }, nil, invalidToken},
		"revoked": {'p', ofAda, func(b *bench, s *string) {
			b.change(identity.Rows{RemovedTokens: []identity.Digest{identity.DigestOf(*s)}})
		}, invalidToken},
		"unknown":                            {'p', ofAda, func(_ *bench, s *string) { *s = identity.NewToken('p') }, invalidToken},
		"mistyped":                           {'p', ofAda, func(_ *bench, s *string) { *s = mistyped(*s) }, invalidToken},
		"cut":                                {'p', ofAda, func(_ *bench, s *string) { *s = (*s)[:40] }, invalidToken},
		"like ours, a JWT":                   {'p', ofAda, func(_ *bench, s *string) { *s = "gtp_a.b.c" }, invalidToken},
		"a deactivated one":                  {'p', ofAda, func(b *bench, _ *string) { b.users(person("ada@acme.example", inactive)) }, invalidToken},
		"a deleted one":                      {'p', ofAda, func(b *bench, _ *string) { b.change(identity.Rows{RemovedUsers: []string{"uid-ada@acme.example"}}) }, invalidToken},
		"nobody's":                           {'p', func(*identity.Token) {}, nil, invalidToken},
		"a person's kind for an application": {'p', func(t *identity.Token) { t.Owner = "uid-virtual-account-bot" }, nil, invalidToken},
		"an application's kind for a person": {'v', ofAda, nil, invalidToken},
		"stored as another kind":             {'p', func(t *identity.Token) { t.Kind, t.Owner = 'v', "uid-virtual-account-bot" }, nil, invalidToken},
		"an agent's":                         {'a', ofAda, nil, invalidToken},
		"scim's":                             {'s', ofAda, nil, invalidToken},
		"a refresh token":                    {'r', ofAda, nil, invalidToken},
		"a disabled application's":           {'v', func(t *identity.Token) { t.Owner = "uid-virtual-account-bot" }, func(b *bench, _ *string) { b.put(res(t, v1.KindVirtualAccount, "bot", `{"enabled":false}`)) }, invalidToken},
		"an application made again": {'v', func(t *identity.Token) { t.Owner = "uid-virtual-account-bot" }, func(b *bench, _ *string) {
			r := res(t, v1.KindVirtualAccount, "bot", `{}`)
			r.Meta().UID = "new"
			b.put(r)
		}, invalidToken},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, res(t, v1.KindVirtualAccount, "bot", `{}`))
			b.users(person("ada@acme.example"))
			token := b.ours(tc.kind, tc.change)
			caller, err := b.ask(token)
			if tc.do != nil {
				if err != nil {
					t.Fatal(err)
				}
				same := token
				tc.do(b, &token)
				running := tc.want
				if name == "expired" {
					running = "user:ada@acme.example" // what is running ends by the gateway's limit
				}
				if got := outcome(b.a.Recheck(b.Load(), caller)); same == token && got != running {
					t.Errorf("recheck: %q, want %q", got, running)
				}
			}
			b.want(token, tc.want)
			if _, err := b.explain(token); (err != nil) != (tc.want == invalidToken) {
				t.Errorf("explain: %v", err)
			}
		})
	}
}

func TestSecurityATokenFromTheManifestByItsDigest(t *testing.T) {
	token := identity.NewToken('v')
	b := newBench(t, res(t, v1.KindVirtualAccount, "bot", `{"tokens":[{"digest":"`+identity.DigestOf(token).String()+`","expiresAt":"2026-03-01T13:00:00Z"}]}`))
	b.want(token, "virtual-account:bot")
	b.pass(time.Hour)
	b.want(token, invalidToken)
}

func TestSecurityTheBootstrapTokenDiesWithTheFirstAdmin(t *testing.T) {
	b := newBench(t)
	token := b.ours('p', func(t *identity.Token) { t.Bootstrap = true })
	c, err := b.ask(token)
	if got := outcome(c, err); got != "role:tenant-admin" || !c.Principal.Admin {
		t.Errorf("%q, %+v", got, c.Principal)
	}
	b.put(res(t, v1.KindRoleBinding, "admins", `{"subjects":["user:ada@acme.example"],"role":"tenant-admin","resources":["tenant"]}`))
	b.want(token, "role:tenant-admin")
	b.users(person("ada@acme.example"))
	b.want(token, invalidToken)
	if _, err := b.a.Recheck(b.Load(), c); err == nil {
		t.Error("a running request goes on")
	}
}

func TestSecurityATokenNarrowedToAddresses(t *testing.T) {
	b := newBench(t)
	b.users(person("ada@acme.example"))
	token := b.ours('p', func(t *identity.Token) {
		ofAda(t)
		t.Narrowing = &identity.Narrowing{CIDR: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fe80::/16")}}
	})
	nowhere := b.ours('p', func(t *identity.Token) { ofAda(t); t.Narrowing = &identity.Narrowing{CIDR: []netip.Prefix{}} })
	for addr, want := range map[string]string{
		"10.1.2.3": "user:ada@acme.example", "::ffff:10.1.2.3": "user:ada@acme.example", "fe80::1%eth0": "user:ada@acme.example",
		"11.0.0.1": "address_not_permitted", "::1": "address_not_permitted", "": "address_not_permitted",
	} {
		at, _ := netip.ParseAddr(addr)
		c, err := b.a.Authenticate(t.Context(), b.Load(), Credential{APIKey: []string{token}, Addr: at})
		if got := outcome(c, err); got != want {
			t.Errorf("from %q: %q, want %q", addr, got, want)
		}
		if err == nil {
			if got := outcome(b.a.Recheck(b.Load(), c)); got != want {
				t.Errorf("recheck from %q: %q", addr, got)
			}
		}
		if _, err := b.a.Authenticate(t.Context(), b.Load(), Credential{APIKey: []string{nowhere}, Addr: at}); identity.CodeOf(err) != identity.CodeAddressNotPermitted {
			t.Errorf("narrowed to nowhere, from %q: %v", addr, err)
		}
	}
	c, _ := b.a.Authenticate(t.Context(), b.Load(), Credential{APIKey: []string{token}, Addr: netip.MustParseAddr("10.1.2.3")})
	rest := b.Load()
	narrower := identity.Token{ID: "01900000-0000-7000-8000-000000000001", Kind: 'p', Digest: identity.DigestOf(token), Owner: "uid-ada@acme.example", ExpiresAt: noon.Add(time.Hour), Narrowing: &identity.Narrowing{CIDR: []netip.Prefix{}}}
	b.change(identity.Rows{Tokens: []identity.Token{narrower}})
	if _, err := b.a.Recheck(b.Load(), c); identity.CodeOf(err) != identity.CodeAddressNotPermitted {
		t.Errorf("narrowed while it runs: %v", err)
	}
	if _, err := b.a.Recheck(rest, c); err != nil {
		t.Errorf("the older snapshot: %v", err)
	}
}

func TestSecurityABadCredentialNeverBecomesAnonymous(t *testing.T) {
	b := newBench(t)
	nobody := &identity.Principal{Name: "anonymous"}
	b.a.opt.Anonymous = func(*snapshot.Snapshot) *identity.Principal { return nobody }
	for name, c := range map[string]Credential{
		"basic": {Authorization: []string{"Basic x"}}, "empty": {Authorization: []string{""}}, "empty key": {APIKey: []string{""}}, "opaque": {APIKey: []string{"x"}},
		"unknown": {APIKey: []string{identity.NewToken('p')}}, "jwt": {APIKey: []string{"a.b.c"}}, "two": {APIKey: []string{"a", "b"}}, "bare": {Authorization: []string{"x"}},
	} {
		if caller, err := b.a.Authenticate(t.Context(), b.Load(), c); err == nil || caller.Principal != nil {
			t.Errorf("%s: %+v, %v", name, caller.Principal, err)
		}
	}
	c, err := b.a.Authenticate(t.Context(), b.Load(), Credential{})
	if err != nil || c.Principal != nobody {
		t.Errorf("none at all: %+v, %v", c, err)
	}
	b.a.opt.Anonymous = nil
	if _, err := b.a.Recheck(b.Load(), c); err == nil {
		t.Error("anonymous goes on after it was switched off")
	}
	if _, err := b.a.Authenticate(t.Context(), b.Load(), Credential{}); identity.CodeOf(err) != identity.CodeNoCredential {
		t.Errorf("none at all: %v", err)
	}
}

func TestATokenOfOursAllocatesLittle(t *testing.T) {
	b := newBench(t)
	b.users(person("ada@acme.example"))
	token := b.ours('p', ofAda)
	c, s := Credential{APIKey: []string{token}, Addr: netip.MustParseAddr("192.0.2.1")}, b.Load()
	if got := testing.AllocsPerRun(100, func() { _, _ = b.a.Authenticate(t.Context(), s, c) }); got > 8 {
		t.Errorf("%v allocations", got)
	}
}
