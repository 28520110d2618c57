package authn

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// Nobody speaks for the local administrator's address, however much a provider is
// trusted with, whether the administrator is there yet or not.
func TestSecurityNoTokenIsTheLocalAdministrator(t *testing.T) {
	for name, users := range map[string][]identity.User{"not there yet": nil, "there": {person(identity.LocalAdministrator)}} {
		for _, email := range []string{identity.LocalAdministrator, "Break-Glass@GATEHOUSE.invalid", "other@gatehouse.invalid"} {
			t.Run(name+"/"+email, func(t *testing.T) {
				b := newBench(t, idp(t, "acme", acme, jwks("acme=k1"), `"emailVerified":"assumed","emailDomains":["*"],"linkBy":"email","resolve":{"users":"create"}`), everybody(t, "all", "acme"))
				b.change(identity.Rows{Users: users})
				b.want(sign(t, "acme", "k1", base(acme).with(claimSet{"email": email})), "external-identity:all")
				b.want(sign(t, "acme", "k1", base(acme).with(claimSet{"email": email, "email_verified": true})), "external-identity:all")
			})
		}
	}
}

// Every pair of what a provider may do and what it says about an address that
// belongs to ada: what becomes of the token. The provider has an external
// identity that each of its tokens matches, so "external" is nothing of ada's.
func TestSecurityWhoATokenWithAnAddressIs(t *testing.T) {
	const ada, ext, conflict = "external-identity:all user:ada@acme.example", "external-identity:all", "identity_conflict"
	type row struct{ never, existing, existingLink, create, createLink string }
	states := []struct {
		name  string
		users []identity.User
		tombs []identity.Tombstone
		// what happens where the provider may speak for the address, and where not
		trusted, not row
	}{
		{"nobody has the address", nil, nil, row{ext, ext, ext, ada, ada}, row{ext, ext, ext, ext, ext}},
		{"ada has it, not linked", []identity.User{person("ada@acme.example")}, nil, row{ext, ext, ada, conflict, ada}, row{ext, ext, ext, ext, ext}},
		{"ada is linked to this subject", []identity.User{person("ada@acme.example", linked(acme, "s1"))}, nil, row{ext, ada, ada, ada, ada}, row{ext, ada, ada, ada, ada}},
		{"ada is linked to another subject", []identity.User{person("ada@acme.example", linked(acme, "s2"))}, nil, row{ext, ext, conflict, conflict, conflict}, row{ext, ext, ext, ext, ext}},
		{"ada is linked at another issuer", []identity.User{person("ada@acme.example", linked(partner, "s1"))}, nil, row{ext, ext, ada, conflict, ada}, row{ext, ext, ext, ext, ext}},
		{"ada is deactivated, not linked", []identity.User{person("ada@acme.example", inactive)}, nil, row{ext, invalidToken, invalidToken, invalidToken, invalidToken}, row{ext, ext, ext, ext, ext}},
		{
			"ada is deactivated, linked",
			[]identity.User{person("ada@acme.example", inactive, linked(acme, "s1"))},
			nil,
			row{ext, invalidToken, invalidToken, invalidToken, invalidToken},
			row{ext, invalidToken, invalidToken, invalidToken, invalidToken},
		},
		{
			"the address was deleted", nil,
			[]identity.Tombstone{{UID: "t", Email: "ada@acme.example"}},
			row{ext, invalidToken, invalidToken, invalidToken, invalidToken},
			row{ext, ext, ext, ext, ext},
		},
		{
			"the identity was deleted", nil,
			[]identity.Tombstone{{UID: "t", Identities: []identity.IdentityKey{{Issuer: acme, Subject: "s1"}}}},
			row{invalidToken, invalidToken, invalidToken, invalidToken, invalidToken},
			row{invalidToken, invalidToken, invalidToken, invalidToken, invalidToken},
		},
	}
	words := []struct {
		name, more string
		verified   any
		trusted    bool
	}{
		{"verified, its domain", `"emailDomains":["acme.example"]`, true, true},
		{"verified, any domain", `"emailDomains":["*"]`, true, true},
		{"assumed, its domain", `"emailVerified":"assumed","emailDomains":["acme.example"]`, nil, true},
		{"verified, another domain", `"emailDomains":["partner.example"]`, true, false},
		{"verified, no domain", `"emailDomains":[]`, true, false},
		{"not verified", `"emailDomains":["acme.example"]`, false, false},
		{"assumed, but not verified", `"emailVerified":"assumed","emailDomains":["acme.example"]`, false, false},
		{"no word on that", `"emailDomains":["acme.example"]`, nil, false},
	}
	for _, st := range states {
		for _, w := range words {
			want := st.not
			if w.trusted {
				want = st.trusted
			}
			for _, mode := range []struct{ users, link, want string }{
				{"never", "email", want.never}, {"existing", "", want.existing}, {"existing", "email", want.existingLink}, {"create", "", want.create}, {"create", "email", want.createLink},
			} {
				t.Run(fmt.Sprintf("%s/%s/users %s linkBy %q", st.name, w.name, mode.users, mode.link), func(t *testing.T) {
					b := newBench(t, idp(t, "acme", acme, jwks("acme=k1"), fmt.Sprintf(`%s,"linkBy":%q,"resolve":{"users":%q}`, w.more, mode.link, mode.users)), everybody(t, "all", "acme"))
					b.change(identity.Rows{Users: st.users, Tombstones: st.tombs})
					b.want(sign(t, "acme", "k1", base(acme).with(claimSet{"email": "Ada@ACME.example", "email_verified": w.verified})), mode.want)
				})
			}
		}
	}
}

func TestSecurityAPartnerThatNamesAnAdministratorGetsNothing(t *testing.T) {
	boss := "boss@acme.example"
	for _, verified := range []any{true, "true", false, nil} {
		for _, more := range []string{`"resolve":{"users":"create"},"linkBy":"email","emailDomains":["partner.example"]`, `"resolve":{"users":"existing"},"linkBy":"email","emailVerified":"assumed","emailDomains":["partner.example"]`, ``} {
			b := newBench(t, idp(t, "acme", acme, jwks("acme=k1"), `"resolve":{"users":"existing"},"linkBy":"email","emailDomains":["acme.example"]`),
				idp(t, "partner", partner, jwks("partner=k1"), more), everybody(t, "partners", "partner"),
				res(t, v1.KindTeam, "ops", `{"members":["`+boss+`"],"identityProviderGroups":[{"identityProvider":"acme","group":"ops"}]}`),
				res(t, v1.KindRoleBinding, "admins", `{"subjects":["user:`+boss+`","team:ops"],"role":"tenant-admin","resources":["tenant"]}`))
			b.users(person(boss, linked(acme, "s1")))
			c, err := b.ask(sign(t, "partner", "k1", base(partner).with(claimSet{"email": boss, "email_verified": verified, "groups": []string{"ops"}})))
			if got := outcome(c, err); got != "external-identity:partners" || c.Principal.Admin || c.Principal.UID != "" || len(c.Principal.Teams) > 0 {
				t.Errorf("verified %v, %s: %s, %+v", verified, more, got, c.Principal)
			}
			b.want(sign(t, "acme", "k1", base(acme)), "team:ops user:"+boss)
		}
	}
}

func TestOneAddressAtTwoIssuers(t *testing.T) {
	b := newBench(t, idp(t, "acme", acme, jwks("acme=k1"), `"resolve":{"users":"create"},"linkBy":"email","emailDomains":["acme.example"]`),
		idp(t, "partner", partner, jwks("partner=k1"), `"resolve":{"users":"create"},"linkBy":"email","emailDomains":["acme.example"]`))
	mail := claimSet{"email": "ada@acme.example", "email_verified": true}
	b.want(sign(t, "acme", "k1", base(acme).with(mail)), "user:ada@acme.example")
	b.want(sign(t, "partner", "k1", base(partner).with(mail)), "user:ada@acme.example")
	b.want(sign(t, "partner", "k1", base(partner).with(mail).with(claimSet{"sub": "s2"})), "identity_conflict")
	if u, _ := b.Load().UserByEmail("ada@acme.example"); len(u.Identities) != 2 {
		t.Errorf("identities: %+v", u.Identities)
	}
}

func TestClaimsAsPointersListsAndTexts(t *testing.T) {
	b := newBench(t, idp(t, "acme", acme, jwks("acme=k1"), `"claims":{"groups":"/realm_access/roles"}`),
		res(t, v1.KindTeam, "research", `{"identityProviderGroups":[{"identityProvider":"acme","group":"dev"}]}`),
		res(t, v1.KindExternalIdentity, "devs", `{"identityProvider":"acme","claims":[{"path":"/realm_access/roles","anyOf":["dev"]}]}`),
		res(t, v1.KindExternalIdentity, "tenants", `{"identityProvider":"acme","claims":[{"path":"org","anyOf":["a-*"]},{"path":"/realm_access/roles","anyOf":["*"]}]}`),
		everybody(t, "all", "acme"))
	for _, tc := range []struct {
		claims claimSet
		want   string
	}{
		{claimSet{}, "external-identity:all"},
		{claimSet{"realm_access": claimSet{"roles": []string{"dev", "x"}}, "org": "a-1"}, "external-identity:all external-identity:devs external-identity:tenants team:research"},
		{claimSet{"realm_access": claimSet{"roles": "dev"}}, "external-identity:all external-identity:devs team:research"},
		{claimSet{"realm_access": claimSet{"roles": []string{"devs"}}, "org": "b-1"}, "external-identity:all"},
		{claimSet{"realm_access": claimSet{"roles": claimSet{"dev": true}}}, "external-identity:all"},
		{claimSet{"realm_access": []any{"roles", "dev"}}, "external-identity:all"},
		{claimSet{"realm_access/roles": "dev", "/realm_access/roles": "dev"}, "external-identity:all"},
	} {
		b.want(sign(t, "acme", "k1", base(acme).with(tc.claims)), tc.want)
	}
}

func TestSecurityAPersonWhoSignsInThroughAClientIsNotTheClient(t *testing.T) {
	const bot, ext = "virtual-account:bot", "external-identity:all"
	for _, tc := range []struct {
		preset, name string
		claims       claimSet
		want         string
	}{
		{"custom", "the client itself", claimSet{"sub": "svc", "azp": "svc"}, bot},
		{"custom", "a person", claimSet{"azp": "svc"}, ext},
		{"custom", "another client", claimSet{"sub": "other", "azp": "other"}, ext},
		{"custom", "client ids that are no text", claimSet{"azp": []string{"svc"}, "sub": "svc"}, ext},
		{"keycloak", "a service account", claimSet{"azp": "svc", "preferred_username": "service-account-svc"}, bot},
		{"keycloak", "a person", claimSet{"azp": "svc", "preferred_username": "ada", "sid": "1"}, ext},
		{"keycloak", "a person with a telling name", claimSet{"azp": "svc", "preferred_username": "service-account-svc", "sid": "1"}, ext},
		{"keycloak", "a person with a telling name and no session", claimSet{"azp": "svc", "preferred_username": "service-account-ada"}, ext},
		{"keycloak", "a person whose subject is the client", claimSet{"azp": "svc", "sub": "svc", "sid": "1"}, ext},
		{"auth0", "a client", claimSet{"azp": "svc", "gty": "client-credentials"}, bot},
		{"auth0", "a person", claimSet{"azp": "svc", "gty": "password"}, ext},
		{"okta", "a client", claimSet{"cid": "svc", "sub": "svc"}, bot},
		{"okta", "a person", claimSet{"cid": "svc", "sub": "ada"}, ext},
		{"entra", "a client", claimSet{"appid": "svc", "idtyp": "app", "oid": "o", "tid": "t"}, bot},
		{"entra", "a client by azp", claimSet{"azp": "svc", "idtyp": "app", "oid": "o", "tid": "t"}, bot},
		{"entra", "a person", claimSet{"appid": "svc", "idtyp": "user", "oid": "o", "tid": "t"}, ext},
		{"entra", "no oid", claimSet{"appid": "svc", "idtyp": "app", "tid": "t"}, invalidToken},
		{"entra", "no tid", claimSet{"appid": "svc", "idtyp": "app", "oid": "o"}, invalidToken},
	} {
		b := newBench(t, idp(t, "acme", acme, jwks("acme=k1"), `"preset":"`+tc.preset+`"`), everybody(t, "all", "acme"),
			res(t, v1.KindVirtualAccount, "bot", `{"identityProviderMappings":[{"identityProvider":"acme","clientId":"svc"}]}`))
		if got := outcome(b.ask(sign(t, "acme", "k1", base(acme).with(tc.claims)))); got != tc.want {
			t.Errorf("%s, %s: %q, want %q", tc.preset, tc.name, got, tc.want)
		}
	}
}

func TestEntraNamesPeopleByTenantAndObject(t *testing.T) {
	b := newBench(t, idp(t, "acme", acme, jwks("acme=k1"), `"preset":"entra"`), everybody(t, "all", "acme"))
	c, err := b.ask(sign(t, "acme", "k1", base(acme).with(claimSet{"oid": "o1", "tid": "t1"})))
	if want := (identity.IdentityKey{Issuer: acme, Subject: "t1/o1"}); err != nil || c.Principal.Key != want {
		t.Errorf("%v, %+v", err, c.Principal)
	}
}

func TestSecurityMappings(t *testing.T) {
	account := func(name, mapping string) v1.Resource {
		return res(t, v1.KindVirtualAccount, name, `{"identityProviderMappings":[{"identityProvider":"acme",`+mapping+`}]}`)
	}
	ci := base(acme).with(claimSet{"repo": "acme/app"})
	b := newBench(t, idp(t, "acme", acme, jwks("acme=k1"), ""), account("ci", `"claims":[{"path":"repo","anyOf":["acme/app"]}]`))
	token := sign(t, "acme", "k1", ci)
	b.want(token, "virtual-account:ci")
	first, _ := b.ask(token)
	b.want(sign(t, "acme", "k1", base(acme)), "identity_not_mapped")
	b.put(account("ci2", `"claims":[{"path":"repo","anyOf":["acme/*"]}]`))
	b.want(token, "identity_ambiguous")
	if _, err := b.a.Recheck(b.Load(), first); identity.CodeOf(err) != identity.CodeIdentityAmbiguous {
		t.Errorf("recheck: %v", err)
	}
	b.change(identity.Rows{RemovedResources: []identity.ResourceKey{{Kind: v1.KindVirtualAccount, Name: "ci2"}}})
	b.put(res(t, v1.KindVirtualAccount, "ci", `{"enabled":false,"identityProviderMappings":[{"identityProvider":"acme","claims":[{"path":"repo","anyOf":["acme/app"]}]}]}`))
	b.want(token, invalidToken)
	b.put(account("ci", `"claims":[{"path":"repo","anyOf":["acme/app"]}]`))
	b.change(identity.Rows{Tombstones: []identity.Tombstone{{UID: "t", Identities: []identity.IdentityKey{{Issuer: acme, Subject: "s1"}}}}})
	b.want(token, invalidToken) // who was deleted is no application either
	b.change(identity.Rows{LiftedTombstones: []string{"t"}})
	b.want(token, "virtual-account:ci")
	b.put(idp(t, "acme", acme, jwks("acme=k1"), `"resolve":{"virtualAccounts":false}`))
	b.want(token, "identity_not_mapped")
}

func TestExternalIdentitiesCanBeSwitchedOff(t *testing.T) {
	b := newBench(t, idp(t, "acme", acme, jwks("acme=k1"), `"resolve":{"externalIdentities":false}`), everybody(t, "all", "acme"))
	b.want(sign(t, "acme", "k1", base(acme)), "identity_not_mapped")
}

func TestSecurityNothingOfAPersonOutlivesAChange(t *testing.T) {
	end := noon.Add(time.Minute)
	ada := func(change ...func(*identity.User)) identity.User {
		return person("ada@acme.example", append([]func(*identity.User){linked(acme, "s1")}, change...)...)
	}
	in := func(team string, until *time.Time) func(*identity.User) {
		return func(u *identity.User) {
			u.Memberships = append(u.Memberships, identity.Membership{Team: team, Source: "manual", ExpiresAt: until})
		}
	}
	for name, tc := range map[string]struct {
		do   func(b *bench)
		want string
	}{
		"deactivated":         {func(b *bench) { b.users(ada(inactive)) }, invalidToken},
		"removed from a team": {func(b *bench) { b.users(ada(in("until", &end))) }, "team:until user:ada@acme.example"},
		"a membership ends":   {func(b *bench) { b.pass(time.Minute) }, "team:ops user:ada@acme.example"},
		"the team is gone": {func(b *bench) {
			b.change(identity.Rows{RemovedResources: []identity.ResourceKey{{Kind: v1.KindTeam, Name: "ops"}}})
		}, "team:until user:ada@acme.example"},
		"unlinked": {func(b *bench) { b.users(person("ada@acme.example")) }, "identity_not_mapped"},
		"deleted":  {func(b *bench) { b.change(identity.Rows{RemovedUsers: []string{"uid-ada@acme.example"}}) }, "identity_not_mapped"},
		"deleted and buried": {func(b *bench) {
			b.change(identity.Rows{RemovedUsers: []string{"uid-ada@acme.example"}, Tombstones: []identity.Tombstone{{UID: "x", Identities: []identity.IdentityKey{{Issuer: acme, Subject: "s1"}}}}})
		}, invalidToken},
		"the identity is eves": {func(b *bench) { b.users(person("ada@acme.example"), person("eve@acme.example", linked(acme, "s1"))) }, "user:eve@acme.example"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, idp(t, "acme", acme, jwks("acme=k1"), `"resolve":{"users":"existing"}`), res(t, v1.KindTeam, "ops", `{}`), res(t, v1.KindTeam, "until", `{}`))
			b.users(ada(in("ops", nil), in("until", &end)))
			token := sign(t, "acme", "k1", base(acme))
			b.want(token, "team:ops team:until user:ada@acme.example")
			caller, _ := b.ask(token)
			old := b.Load()
			tc.do(b)
			b.want(token, tc.want)
			if got := outcome(b.a.Recheck(b.Load(), caller)); got != tc.want {
				t.Errorf("recheck: %q, want %q", got, tc.want)
			}
			if name == "deactivated" { // a slow request with the older snapshot does not spoil the cache
				_, _ = b.a.Authenticate(t.Context(), old, Credential{Authorization: []string{"Bearer " + token}})
				b.want(token, tc.want)
			}
		})
	}
}

func TestSecurityRecheckCreatesAndLinksNobody(t *testing.T) {
	b := newBench(t, idp(t, "acme", acme, jwks("acme=k1"), `"resolve":{"users":"create"},"linkBy":"email","emailDomains":["acme.example"]`))
	caller, err := b.ask(sign(t, "acme", "k1", base(acme).with(claimSet{"email": "ada@acme.example", "email_verified": true})))
	if err != nil || b.dir.count() != 1 {
		t.Fatal(err, b.dir.count())
	}
	b.users(person("ada@acme.example")) // an administrator unlinks
	if got := outcome(b.a.Recheck(b.Load(), caller)); got != invalidToken || b.dir.count() != 1 {
		t.Errorf("unlinked: %q, %d calls", got, b.dir.count())
	}
	b.change(identity.Rows{RemovedUsers: []string{"uid-ada@acme.example"}})
	if got := outcome(b.a.Recheck(b.Load(), caller)); got != invalidToken || b.dir.count() != 1 {
		t.Errorf("removed: %q, %d calls", got, b.dir.count())
	}
}

func TestGroupsOfATokenReplaceWhatItsIssuerSaidBefore(t *testing.T) {
	b := newBench(t, idp(t, "acme", acme, jwks("acme=k1"), `"resolve":{"users":"existing"}`),
		res(t, v1.KindTeam, "old", `{}`), res(t, v1.KindTeam, "other", `{}`), res(t, v1.KindTeam, "new", `{"identityProviderGroups":[{"identityProvider":"acme","group":"n"},{"identityProvider":"partner","group":"p"}]}`))
	u := person("ada@acme.example", linked(acme, "s1"))
	u.Memberships = []identity.Membership{{Team: "old", Source: "sso:" + acme}, {Team: "other", Source: "sso:" + partner}}
	b.users(u)
	b.want(sign(t, "acme", "k1", base(acme)), "team:old team:other user:ada@acme.example")
	b.want(sign(t, "acme", "k1", base(acme).with(claimSet{"groups": []string{"n", "p"}})), "team:new team:other user:ada@acme.example")
	b.want(sign(t, "acme", "k1", base(acme).with(claimSet{"groups": []string{"p"}})), "team:other user:ada@acme.example")
	b.want(sign(t, "acme", "k1", base(acme).with(claimSet{"groups": []string{}})), "team:other user:ada@acme.example")
	b.want(sign(t, "acme", "k1", base(acme).with(claimSet{"groups": claimSet{"n": 1}})), "team:other user:ada@acme.example")
}

const creating = `"resolve":{"users":"create"},"emailDomains":["acme.example"]`

func arriving(sub string) claimSet {
	return base(acme).with(claimSet{"sub": sub, "email": sub + "@acme.example", "email_verified": true})
}

func TestTheAuditLearnsHowAPersonArrived(t *testing.T) {
	b := newBench(t, idp(t, "acme", acme, jwks("acme=k1"), creating))
	credential := FromHeader(http.Header{"Authorization": {"Bearer " + sign(t, "acme", "k1", arriving("ada"))}}, netip.MustParseAddr("192.0.2.7"))
	if _, err := b.a.Authenticate(t.Context(), b.Load(), credential); err != nil {
		t.Fatal(err)
	}
	if a := b.dir.last; a.Via != "jwt" || a.Through != "identity-provider:acme" || a.RemoteAddr != "192.0.2.7" {
		t.Errorf("arrived as %+v", a)
	}
}

func TestFiftyFirstRequestsCreateOnePerson(t *testing.T) {
	b := newBench(t, idp(t, "acme", acme, jwks("acme=k1"), creating))
	b.dir.block = make(chan struct{})
	token := sign(t, "acme", "k1", arriving("ada"))
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { b.want(token, "user:ada@acme.example") })
	}
	b.dir.block <- struct{}{} // somebody is there
	close(b.dir.block)
	wg.Wait()
	if got := b.Load().Stats().Users; got != 1 {
		t.Errorf("%d users", got)
	}
	before := b.dir.count()
	b.want(token, "user:ada@acme.example")
	if b.dir.count() != before {
		t.Error("a person who is known is asked for again")
	}
}

// slowDirectory answers when it is told to.
type slowDirectory struct {
	mu    sync.Mutex
	calls int
	who   map[identity.IdentityKey]bool
	go_   chan struct{}
}

func (d *slowDirectory) Ensure(ctx context.Context, a identity.Arrival) (string, identity.Head, error) {
	d.mu.Lock()
	d.calls++
	d.who[a.Key] = true
	d.mu.Unlock()
	select {
	case <-d.go_:
		return "u", identity.Head{}, nil
	case <-ctx.Done():
		return "", identity.Head{}, ctx.Err()
	}
}

func TestArrivalsAreSingleFlightsLimitedPerIssuerAndInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &slowDirectory{go_: make(chan struct{}), who: map[identity.IdentityKey]bool{}}
		a := newArrivals(d)
		ask := func(issuer, sub string) <-chan error {
			out := make(chan error, 1)
			go func() {
				_, _, err := a.ensure(t.Context(), identity.Arrival{Key: identity.IdentityKey{Issuer: issuer, Subject: sub}})
				out <- err
			}()
			synctest.Wait()
			return out
		}
		var flights []<-chan error
		for i := range arrivalsPerIssuer {
			for range 5 { // of one person
				flights = append(flights, ask(acme, fmt.Sprint(i)))
			}
		}
		if d.calls != arrivalsPerIssuer || len(d.who) != arrivalsPerIssuer {
			t.Errorf("%d calls for %d of %d people", d.calls, len(d.who), arrivalsPerIssuer)
		}
		start := time.Now()
		if err := <-ask(acme, "one too many"); identity.CodeOf(err) != identity.CodeDirectoryUnavailable || time.Since(start) != 0 {
			t.Errorf("one more of the same issuer: %v after %s", err, time.Since(start))
		}
		other := ask(partner, "0") // is not held up
		for _, f := range append(flights, other) {
			if err := <-f; identity.CodeOf(err) != identity.CodeDirectoryUnavailable {
				t.Errorf("a directory that does not answer: %v", err)
			}
		}
		if took := time.Since(start); took != 2*time.Second {
			t.Errorf("after %s", took)
		}
		close(d.go_)
		if err := <-ask(acme, "one too many"); err != nil || len(a.flying)+len(a.issuers) != 0 {
			t.Errorf("afterwards: %v, %v, %v", err, a.flying, a.issuers)
		}
	})
}

func TestWhenTheDirectoryCannotSay(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"away":              {context.DeadlineExceeded, "directory_unavailable"},
		"database":          {identity.Errorf(identity.CodeDatabaseUnavailable, "x"), "database_unavailable"},
		"conflict":          {identity.Errorf(identity.CodeIdentityConflict, "x"), "identity_conflict"},
		"buried meanwhile":  {identity.Errorf(identity.CodeInvalidToken, "x"), invalidToken},
		"removed meanwhile": {identity.Errorf(identity.CodeNotFound, "x"), "directory_unavailable"},
	} {
		b := newBench(t, idp(t, "acme", acme, jwks("acme=k1"), creating))
		b.dir.err = tc.err
		token := sign(t, "acme", "k1", arriving("ada"))
		if got := outcome(b.ask(token)); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
		b.dir.set(func() { b.dir.err = nil })
		b.want(token, "user:ada@acme.example")
	}
	b := newBench(t, idp(t, "acme", acme, jwks("acme=k1"), creating))
	b.a.arrival.directory = nil
	b.want(sign(t, "acme", "k1", arriving("ada")), "directory_unavailable")
}

func TestADirectoryThatPanicsHoldsNobodyUp(t *testing.T) {
	b := newBench(t, idp(t, "acme", acme, jwks("acme=k1"), creating))
	b.dir.panic = true
	token := sign(t, "acme", "k1", arriving("ada"))
	func() {
		defer func() { _ = recover() }()
		_, _ = b.ask(token)
	}()
	b.dir.panic = false
	b.want(token, "user:ada@acme.example")
}
