package jose

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var exampleNow = time.Unix(1_700_000_000, 0)

func claims(t testing.TB, payload string) *Token {
	t.Helper()
	c, err := decodeObject(payload)
	if err != nil {
		t.Fatal(err)
	}
	return &Token{Alg: "RS256", Claims: c}
}

func TestSecurityTimes(t *testing.T) {
	const skew = 30 * time.Second
	cases := []struct {
		name, payload string
		maxAge        time.Duration
		want          Code // "" is accepted
		by            time.Duration
	}{
		{"valid", `{"exp":1700000001}`, 0, "", 0},
		{"no exp", `{"sub":"a"}`, 0, Malformed, 0},
		{"exp is null", `{"exp":null}`, 0, Malformed, 0},
		{"exp is a string", `{"exp":"1800000000"}`, 0, Malformed, 0},
		{"exp is a string NaN", `{"exp":"NaN"}`, 0, Malformed, 0},
		{"exp is true", `{"exp":true}`, 0, Malformed, 0},
		{"exp is a list", `{"exp":[1800000000]}`, 0, Malformed, 0},
		{"exp within the skew", `{"exp":1699999971}`, 0, "", 0},
		{"exp exactly at the skew", `{"exp":1699999970}`, 0, TokenExpired, 30 * time.Second},
		{"expired by 41 s", `{"exp":1699999959}`, 0, TokenExpired, 41 * time.Second},
		{"exp with a fraction, just alive", `{"exp":1699999970.000000001}`, 0, "", 0},
		{"exp with a fraction below a nanosecond is dead", `{"exp":1699999970.0000000009}`, 0, TokenExpired, 30 * time.Second},
		{"exp that a float would round up", `{"exp":1699999969.99999999999999999999}`, 0, TokenExpired, 30*time.Second + 1},
		{"exp with an exponent", `{"exp":1.8e9}`, 0, "", 0},
		{"exp with a capital exponent", `{"exp":18E+8}`, 0, "", 0},
		{"exp in milliseconds", `{"exp":1800000000000}`, 0, Malformed, 0},
		{"exp in year 9999", `{"exp":253402300799}`, 0, "", 0},
		{"exp beyond float", `{"exp":1e400}`, 0, Malformed, 0},
		{"exp with a huge exponent", `{"exp":1e999999999}`, 0, Malformed, 0},
		{"exp with an exponent beyond int", `{"exp":1e99999999999999999999}`, 0, Malformed, 0},
		{"exp nearly zero", `{"exp":1e-999999999}`, 0, TokenExpired, 1_700_000_000 * time.Second},
		{"exp zero with a huge exponent", `{"exp":0e999999999}`, 0, TokenExpired, 1_700_000_000 * time.Second},
		{"exp of many digits", `{"exp":` + strings.Repeat("9", 70) + `}`, 0, Malformed, 0},
		{"exp negative", `{"exp":-1}`, 0, TokenExpired, 1_700_000_000 * time.Second},
		{"exp negative and huge", `{"exp":-1e50}`, 0, TokenExpired, 1_700_000_000 * time.Second},
		{"nbf within the skew", `{"exp":1800000000,"nbf":1700000030}`, 0, "", 0},
		{"nbf beyond the skew", `{"exp":1800000000,"nbf":1700000031}`, 0, TokenNotYetValid, 31 * time.Second},
		{"nbf a hair beyond the skew", `{"exp":1800000000,"nbf":1700000030.0000000001}`, 0, TokenNotYetValid, 30*time.Second + 1},
		{"nbf is a string", `{"exp":1800000000,"nbf":"0"}`, 0, Malformed, 0},
		{"iat in the future", `{"exp":1800000000,"iat":1700000095}`, 0, TokenNotYetValid, 95 * time.Second},
		{"iat is an object", `{"exp":1800000000,"iat":{}}`, 0, Malformed, 0},
		{"maxAge without iat", `{"exp":1800000000}`, time.Hour, Malformed, 0},
		{"young enough", `{"exp":1800000000,"iat":1699996401}`, time.Hour, "", 0},
		{"within the skew of maxAge", `{"exp":1800000000,"iat":1699996371}`, time.Hour, "", 0},
		{"too old", `{"exp":1800000000,"iat":1699996300}`, time.Hour, TokenExpired, 100 * time.Second},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			err := CheckTimes(claims(t, c.payload), exampleNow, skew, c.maxAge)
			if c.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var e *Error
			if !errors.As(err, &e) || e.Code != c.want || e.By != c.by {
				t.Errorf("got %v (by %v), want %s by %v", err, e, c.want, c.by)
			}
		})
	}
}

func TestExpiryDetailSaysByHowMuch(t *testing.T) {
	err := CheckTimes(claims(t, `{"exp":1699999900}`), exampleNow, 30*time.Second, 0)
	if err == nil || !strings.Contains(err.Error(), "1m40s ago") {
		t.Error(err)
	}
	if at, ok := ExpiresAt(claims(t, `{"exp":1700000000.5}`)); !ok || !at.Equal(exampleNow.Add(time.Second/2)) {
		t.Error(at, ok)
	}
	if _, ok := ExpiresAt(claims(t, `{"exp":"x"}`)); ok {
		t.Error("a string is no date")
	}
}

func TestSecurityTokenKinds(t *testing.T) {
	cases := []struct {
		name, header, payload string
		access, id            bool
	}{
		{"plain", "", `{}`, true, true},
		{"RFC 9068", "at+jwt", `{"scope":"a"}`, true, false},
		{"application/at+jwt", "application/AT+JWT", `{}`, true, false},
		{"Keycloak access", "JWT", `{"typ":"Bearer","scope":"openid"}`, true, false},
		{"Keycloak ID", "JWT", `{"typ":"ID","at_hash":"x"}`, false, true},
		{"Keycloak ID with a scope", "JWT", `{"typ":"ID","scope":"x"}`, false, true},
		{"Keycloak refresh", "JWT", `{"typ":"Refresh","scope":"openid"}`, false, false},
		{"Keycloak offline", "JWT", `{"typ":"Offline","scope":"openid"}`, false, false},
		{"Keycloak logout", "JWT", `{"typ":"Logout"}`, false, false},
		{"nonce", "", `{"nonce":"x"}`, false, true},
		{"at_hash", "", `{"at_hash":"x"}`, false, true},
		{"c_hash", "", `{"c_hash":"x"}`, false, true},
		{"nonce with scope", "", `{"nonce":"x","scope":"a"}`, true, true},
		{"nonce with scp", "", `{"nonce":"x","scp":["a"]}`, true, true},
		{"security event", "", `{"events":{},"scope":"a"}`, false, false},
		{"events null", "", `{"events":null,"scope":"a"}`, false, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			token := claims(t, c.payload)
			token.Typ = c.header
			for want, pass := range map[Kind]bool{Access: c.access, ID: c.id, "": false} {
				err := CheckKind(token, want)
				if pass && err != nil || !pass && !errors.Is(err, &Error{Code: WrongTokenKind}) {
					t.Errorf("%s: %v", want, err)
				}
			}
		})
	}
}

func TestAudienceIsAStringOrStrings(t *testing.T) {
	for payload, want := range map[string][]string{
		`{"aud":"a"}`: {"a"}, `{"aud":["a","b"]}`: {"a", "b"}, `{"aud":[]}`: {}, `{}`: nil,
		`{"aud":null}`: nil, `{"aud":1}`: nil, `{"aud":["a",1]}`: nil, `{"aud":{"a":1}}`: nil,
	} {
		if d := cmp.Diff(want, Audience(claims(t, payload))); d != "" {
			t.Errorf("%s: %s", payload, d)
		}
	}
}
