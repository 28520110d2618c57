package authn

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

func TestSecurityHowAnAddressIsRead(t *testing.T) {
	for in, want := range map[string]string{
		"ada@acme.example":                         "ada@acme.example",
		"Ada.L+x@ACME.Example":                     "ada.l+x@acme.example",
		"ada@bücher.example":                       "ada@xn--bcher-kva.example",
		"ada@BÜCHER.example":                       "ada@xn--bcher-kva.example",
		"ada@xn--bcher-kva.example":                "ada@xn--bcher-kva.example",
		"":                                         "",
		"@":                                        "",
		"ada":                                      "",
		"@acme.example":                            "",
		"ada@":                                     "",
		"ada@acme.example.":                        "",
		"ada@.acme.example":                        "",
		"ada@evil.example@acme.example":            "",
		`"ada@evil.example"@acme.example`:          "",
		`"ada"@acme.example`:                       "",
		"ada@acme.example@":                        "",
		"Ada <ada@acme.example>":                   "",
		"<ada@acme.example>":                       "",
		"ada@acme.example (x)":                     "",
		"ada(x)@acme.example":                      "",
		"ada@acme.example,b@b.example":             "",
		" ada@acme.example":                        "",
		"ada@acme.example ":                        "",
		"ada@acme.example\u00a0":                   "",
		"ada@acme.example\n":                       "",
		"ada\x00@acme.example":                     "",
		"ada @acme.example":                        "",
		"\u212aate@acme.example":                   "", // the Kelvin sign, whose lower case is k
		"\u0130da@acme.example":                    "", // I with a dot
		"аda@acme.example":                         "", // a Cyrillic а
		"ada\u200b@acme.example":                   "",
		"ada@acme.example\u200b":                   "",
		"ada@[192.0.2.1]":                          "",
		"ada@acme_.example/../x":                   "",
		strings.Repeat("a", 250) + "@acme.example": "",
	} {
		got := NormalizeEmail(in)
		if want == "" && in == "ada@acme.example\u200b" && got == "ada@acme.example" {
			continue // IDNA takes the invisible away: it is the same domain
		}
		if got != want {
			t.Errorf("%q is read as %q, want %q", in, got, want)
		}
	}
}

func TestSecurityForWhomAProviderMaySpeak(t *testing.T) {
	assumed := `"emailVerified":"assumed"`
	for _, tc := range []struct {
		name    string
		more    string
		claims  claimSet
		trusted bool
	}{
		{"verified", "", claimSet{"email_verified": true}, true},
		{"verified as a text", "", claimSet{"email_verified": "true"}, true},
		{"no word", "", claimSet{}, false},
		{"null", "", claimSet{"email_verified": json.RawMessage("null")}, false},
		{"false", "", claimSet{"email_verified": false}, false},
		{"a list", "", claimSet{"email_verified": []any{true}}, false},
		{"a list that says both", "", claimSet{"email_verified": []any{true, false}}, false},
		{"an object", "", claimSet{"email_verified": claimSet{"x": true}}, false},
		{"some other text", "", claimSet{"email_verified": "yes"}, false},
		{"capitals", "", claimSet{"email_verified": "TRUE"}, false},
		{"another number", "", claimSet{"email_verified": 2}, false},
		{"assumed, no word", assumed, claimSet{}, true},
		{"assumed, null", assumed, claimSet{"email_verified": json.RawMessage("null")}, true},
		{"assumed, but false", assumed, claimSet{"email_verified": false}, false},
		{"assumed, but an object", assumed, claimSet{"email_verified": claimSet{}}, false},
		{"assumed, but an empty list", assumed, claimSet{"email_verified": []any{}}, false},
		{"another domain", "", claimSet{"email_verified": true, "email": "ada@other.example"}, false},
		{"a domain below", "", claimSet{"email_verified": true, "email": "ada@x.acme.example"}, false},
		{"a domain that ends so", "", claimSet{"email_verified": true, "email": "ada@evilacme.example"}, false},
		{"a domain with a dot behind", "", claimSet{"email_verified": true, "email": "ada@acme.example."}, false},
		{"a domain in capitals", "", claimSet{"email_verified": true, "email": "ada@ACME.EXAMPLE"}, true},
		{"two at signs", "", claimSet{"email_verified": true, "email": `"ada@other.example"@acme.example`}, false},
		{"a list of addresses", "", claimSet{"email_verified": true, "email": []any{"ada@acme.example"}}, false},
		{"an address within an object", "", claimSet{"email_verified": true, "email": claimSet{"x": "ada@acme.example"}}, false},
		{"entra without a word", `"preset":"entra"`, claimSet{}, false},
		{"entra assumed against the rules", `"preset":"entra",` + assumed, claimSet{}, false},
		{"entra xms_edov", `"preset":"entra"`, claimSet{"xms_edov": true}, true},
		{"entra xms_edov as 1", `"preset":"entra"`, claimSet{"xms_edov": "1"}, true},
		{"entra xms_edov as the number 1", `"preset":"entra"`, claimSet{"xms_edov": 1}, true},
		{"entra xms_edov false over email_verified", `"preset":"entra"`, claimSet{"xms_edov": false, "email_verified": true}, false},
	} {
		more := `"linkBy":"email","emailDomains":["acme.example"]`
		if tc.more != "" {
			more += "," + tc.more
		}
		b := newBench(t, idp(t, "acme", acme, jwks("acme=k1"), more))
		p, _ := b.Load().Provider("acme")
		f := readFacts(b.Load(), p, decoded(t, base(acme).with(claimSet{"email": "ada@acme.example", "oid": "o", "tid": "t"}).with(tc.claims)))
		if f.emailTrusted != tc.trusted {
			t.Errorf("%s: trusted %t (%q)", tc.name, f.emailTrusted, f.email)
		}
	}
}

func decoded(t testing.TB, c claimSet) map[string]any {
	t.Helper()
	raw, err := json.Marshal(map[string]any(c))
	if err != nil {
		t.Fatal(err)
	}
	return decode(raw)
}

func decode(raw []byte) map[string]any {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var out map[string]any
	_ = d.Decode(&out)
	return out
}

func TestDomainsAreComparedInIDNA(t *testing.T) {
	for _, d := range []string{"bücher.example", "xn--bcher-kva.example"} {
		if !domainListed([]string{"other.example", d}, NormalizeEmail("ada@bücher.example")) {
			t.Errorf("%s does not name its own domain", d)
		}
	}
}

func TestSecuritySubjectsWithinSomethingStayApart(t *testing.T) {
	b := newBench(t, idp(t, "acme", acme, jwks("acme=k1"), `"claims":{"subjectWithin":"org"}`))
	p, _ := b.Load().Provider("acme")
	seen := map[string]string{}
	for _, c := range [][2]string{{"a", "b/c"}, {"a/b", "c"}, {"a~1b", "c"}, {"a~b", "c"}, {"a", "b~1c"}} {
		sub, ok := readSubject(p, map[string]any{"org": c[0], "sub": c[1]})
		if !ok || seen[sub] != "" {
			t.Errorf("%v is %q, as is %s", c, sub, seen[sub])
		}
		seen[sub] = fmt.Sprint(c)
	}
	for _, c := range []map[string]any{{"sub": "s"}, {"sub": "s", "org": ""}, {"sub": "s", "org": 1}, {"sub": "s", "org": []any{"a"}}, {"org": "a"}} {
		if sub, ok := readSubject(p, c); ok {
			t.Errorf("%v has the subject %q", c, sub)
		}
	}
}

func TestSecurityAtMost256GroupsAreRead(t *testing.T) {
	var groups []string
	for i := range 300 {
		groups = append(groups, fmt.Sprint("g", i))
	}
	b := newBench(t, idp(t, "acme", acme, jwks("acme=k1"), ""), everybody(t, "all", "acme"),
		res(t, v1.KindTeam, "first", `{"identityProviderGroups":[{"identityProvider":"acme","group":"g255"}]}`),
		res(t, v1.KindTeam, "late", `{"identityProviderGroups":[{"identityProvider":"acme","group":"g256"}]}`))
	token := sign(t, "acme", "k1", base(acme).with(claimSet{"groups": groups}))
	b.want(token, "external-identity:all team:first")
	if text, _ := b.explain(token); !strings.Contains(text, "more than 256 groups") {
		t.Errorf("explain does not say so:\n%s", text)
	}
}

func FuzzFacts(f *testing.F) {
	for _, s := range []string{
		`{"sub":"s","email":"a@acme.example","email_verified":true,"groups":["g"],"azp":"c"}`, `{"sub":{"a":1},"groups":{"a":[1]},"email":["x"]}`,
		`{"groups":[[["g"]]],"oid":1,"tid":null,"realm_access":{"roles":"admin"}}`, `{"realm_access":[0,{"roles":[true,null,1e400]}]}`, `{}`, `null`, `[]`,
	} {
		f.Add([]byte(s))
	}
	b := newBench(f,
		idp(f, "acme", acme, jwks("acme=k1"), `"linkBy":"email","emailDomains":["acme.example"],"claims":{"groups":["/realm_access/roles","/groups/0","groups"],"subjectWithin":"tid"},"clientTokenWhen":[{"path":"/gty","anyOf":["x*"]}],"clientTokenUnless":["/sid"]`),
		res(f, v1.KindExternalIdentity, "x", `{"identityProvider":"acme","claims":[{"path":"/realm_access/roles","anyOf":["admin","a*"]}]}`),
		res(f, v1.KindVirtualAccount, "v", `{"identityProviderMappings":[{"identityProvider":"acme","clientId":"c"}]}`))
	s := b.Load()
	p, _ := s.Provider("acme")
	f.Fuzz(func(t *testing.T, raw []byte) {
		c := decode(raw)
		facts := readFacts(s, p, c)
		if facts.emailTrusted && (!strings.HasSuffix(facts.email, "@acme.example") || strings.Count(facts.email, "@") != 1 || !v1.ValidEmail(facts.email)) {
			t.Fatalf("%q is trusted", facts.email)
		}
		if facts.email != NormalizeEmail(facts.email) {
			t.Fatalf("%q is not in its normal form", facts.email)
		}
		if facts.ownToken && facts.clientID == "" {
			_, marked := c["gty"]
			if !marked {
				t.Fatal("a token without a client is the client's own")
			}
		}
		if len(facts.groups) > identity.MaxGroups {
			t.Fatalf("%d groups", len(facts.groups))
		}
	})
}
