package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	gojose "github.com/go-jose/go-jose/v4"
)

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

var testKeys = sync.OnceValue(func() map[string]crypto.Signer {
	r, _ := rsa.GenerateKey(rand.Reader, 2048)
	p256, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	p521, _ := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	return map[string]crypto.Signer{"RS": r, "PS": r, "ES256": p256, "ES384": p384, "ES512": p521, "EdDSA": ed}
})

func signerFor(alg string) crypto.Signer {
	if k, ok := testKeys()[alg]; ok {
		return k
	}
	return testKeys()[alg[:2]]
}

// sign lets go-jose make the token: another implementation than the one under test.
func sign(t testing.TB, alg, kid, payload string) string {
	t.Helper()
	opts := (&gojose.SignerOptions{}).WithType("JWT")
	s, err := gojose.NewSigner(gojose.SigningKey{
		Algorithm: gojose.SignatureAlgorithm(alg),
		Key:       gojose.JSONWebKey{Key: signerFor(alg), KeyID: kid},
	}, opts)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := s.Sign([]byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func publicJWK(t testing.TB, alg, kid string) (gojose.JSONWebKey, []byte) {
	t.Helper()
	k := gojose.JSONWebKey{Key: signerFor(alg).Public(), KeyID: kid}
	raw, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	return k, raw
}

func oneKey(t testing.TB, raw []byte) *Key {
	t.Helper()
	keys, problems, err := ParseKeySet([]byte(`{"keys":[` + string(raw) + `]}`))
	if err != nil || len(keys) != 1 {
		t.Fatalf("%d keys, %v, %v", len(keys), problems, err)
	}
	return &keys[0]
}

func TestEveryAlgorithmVerifiesWhatGoJoseSigned(t *testing.T) {
	for _, alg := range Algorithms() {
		t.Run(alg, func(t *testing.T) {
			token, err := Parse(sign(t, alg, "k1", `{"sub":"a","n":12345678901234567890}`))
			if err != nil {
				t.Fatal(err)
			}
			theirs, raw := publicJWK(t, alg, "k1")
			key := oneKey(t, raw)
			if err := key.Verify(token); err != nil {
				t.Error(err)
			}
			want, _ := theirs.Thumbprint(crypto.SHA256)
			if key.Thumbprint != base64.RawURLEncoding.EncodeToString(want) {
				t.Error("thumbprint differs from go-jose's")
			}
			if token.Claims["n"] != json.Number("12345678901234567890") {
				t.Errorf("number was %v", token.Claims["n"])
			}
			for other := range testKeys() {
				_, raw := publicJWK(t, other, "k1")
				if strings.HasPrefix(alg, other) || strings.HasPrefix(alg, "RS") && other == "PS" || strings.HasPrefix(alg, "PS") && other == "RS" {
					continue
				}
				if err := oneKey(t, raw).Verify(token); !errors.Is(err, &Error{Code: AlgorithmNotAllowed}) {
					t.Errorf("key of %s: %v", other, err)
				}
			}
			broken := *token
			broken.input += "x"
			if err := key.Verify(&broken); !errors.Is(err, &Error{Code: BadSignature}) {
				t.Errorf("changed input: %v", err)
			}
		})
	}
}

// The example of RFC 7638 section 3.1.
func TestThumbprintIsThatOfTheRFC(t *testing.T) {
	raw := `{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}`
	if got := oneKey(t, []byte(raw)).Thumbprint; got != "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs" {
		t.Error(got)
	}
}

func TestSecurityParseRefuses(t *testing.T) {
	good := b64(`{"alg":"RS256"}`)
	sig := b64("signature")
	deep := strings.Repeat(`[`, 40) + strings.Repeat(`]`, 40)
	cases := []struct {
		name, token string
		code        Code
	}{
		{"nothing", "", Malformed},
		{"two parts", "a.b", Malformed},
		{"five parts (JWE)", "a.b.c.d.e", Malformed},
		{"too long", good + "." + strings.Repeat("A", MaxToken) + "." + sig, Malformed},
		{"long header", b64(`{"alg":"RS256","x":"`+strings.Repeat("a", 2000)+`"}`) + "." + b64(`{}`) + "." + sig, Malformed},
		{"padding", good + "." + b64(`{}`) + "=." + sig, Malformed},
		{"newline", good + "." + b64(`{}`) + "\n." + sig, Malformed},
		{"carriage return in header", good[:4] + "\r" + good[4:] + "." + b64(`{}`) + "." + sig, Malformed},
		{"standard alphabet", good + "." + b64(`{}`) + ".ab+/", Malformed},
		{"unused bits", good + "." + b64(`{}`) + ".AB", Malformed},
		{"empty signature", good + "." + b64(`{}`) + ".", Malformed},
		{"no alg", b64(`{}`) + "." + b64(`{}`) + "." + sig, AlgorithmNotAllowed},
		{"none", b64(`{"alg":"none"}`) + "." + b64(`{}`) + "." + sig, AlgorithmNotAllowed},
		{"none without signature", b64(`{"alg":"none"}`) + "." + b64(`{}`) + ".", AlgorithmNotAllowed},
		{"HMAC", b64(`{"alg":"HS256"}`) + "." + b64(`{}`) + "." + sig, AlgorithmNotAllowed},
		{"alg in another case", b64(`{"alg":"rs256"}`) + "." + b64(`{}`) + "." + sig, AlgorithmNotAllowed},
		{"Alg is not alg", b64(`{"Alg":"RS256"}`) + "." + b64(`{}`) + "." + sig, AlgorithmNotAllowed},
		{"alg is a list", b64(`{"alg":["RS256"]}`) + "." + b64(`{}`) + "." + sig, Malformed},
		{"kid is a number", b64(`{"alg":"RS256","kid":1}`) + "." + b64(`{}`) + "." + sig, Malformed},
		{"crit", b64(`{"alg":"RS256","crit":["exp"]}`) + "." + b64(`{}`) + "." + sig, Malformed},
		{"empty crit", b64(`{"alg":"RS256","crit":[]}`) + "." + b64(`{}`) + "." + sig, Malformed},
		{"b64 false", b64(`{"alg":"RS256","b64":false}`) + "." + b64(`{}`) + "." + sig, Malformed},
		{"alg twice", b64(`{"alg":"RS256","alg":"RS256"}`) + "." + b64(`{}`) + "." + sig, Malformed},
		{"alg twice, once escaped", b64(`{"alg":"RS256","\u0061lg":"none"}`) + "." + b64(`{}`) + "." + sig, Malformed},
		{"twice, deep in the header", b64(`{"alg":"RS256","x":{"y":[{"a":1,"a":2}]}}`) + "." + b64(`{}`) + "." + sig, Malformed},
		{"claim twice", good + "." + b64(`{"sub":"a","sub":"b"}`) + "." + sig, Malformed},
		{"claim twice, deep", good + "." + b64(`{"realm_access":{"roles":["a"],"roles":["admin"]}}`) + "." + sig, Malformed},
		{"half a surrogate pair", good + "." + b64(`{"sub":"\ud800"}`) + "." + sig, Malformed},
		{"bytes that are not UTF-8", good + "." + b64("{\"sub\":\"\xff\"}") + "." + sig, Malformed},
		{"too deep", good + "." + b64(`{"a":`+deep+`}`) + "." + sig, Malformed},
		{"payload is a list", good + "." + b64(`[]`) + "." + sig, Malformed},
		{"payload is a word", good + "." + b64(`null`) + "." + sig, Malformed},
		{"payload has a tail", good + "." + b64(`{}{}`) + "." + sig, Malformed},
		{"payload is empty", good + ".." + sig, Malformed},
		{"typ of a logout token", b64(`{"alg":"RS256","typ":"logout+jwt"}`) + "." + b64(`{}`) + "." + sig, WrongTokenKind},
		{"typ of a DPoP proof", b64(`{"alg":"RS256","typ":"dpop+jwt"}`) + "." + b64(`{}`) + "." + sig, WrongTokenKind},
		{"typ application/ alone", b64(`{"alg":"RS256","typ":"application/"}`) + "." + b64(`{}`) + "." + sig, WrongTokenKind},
		{"empty typ", b64(`{"alg":"RS256","typ":""}`) + "." + b64(`{}`) + "." + sig, WrongTokenKind},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse(c.token)
			if !errors.Is(err, &Error{Code: c.code}) {
				t.Errorf("got %v, want %s", err, c.code)
			}
		})
	}
}

func TestParseAcceptsTheTypesOfAccessTokens(t *testing.T) {
	for _, typ := range []string{"JWT", "jwt", "at+jwt", "AT+JWT", "application/jwt", "Application/at+jwt"} {
		token, err := Parse(b64(`{"alg":"ES256","typ":"`+typ+`","kid":"k","b64":true}`) + "." + b64(`{"sub":"a"}`) + "." + b64("s"))
		if err != nil || token.Typ != typ || token.Kid != "k" || token.Alg != "ES256" || token.Claims["sub"] != "a" {
			t.Errorf("%s: %+v, %v", typ, token, err)
		}
	}
}

func TestSecurityEmbeddedKeysAreNeverUsed(t *testing.T) {
	_, raw := publicJWK(t, "ES256", "evil")
	header := b64(`{"alg":"ES256","kid":"good","jku":"https://evil.example","x5u":"https://evil.example","x5c":["AA"],"jwk":` + string(raw) + `}`)
	token, err := Parse(header + "." + b64(`{"sub":"a"}`) + "." + b64(strings.Repeat("s", 64)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := VerifyAny(token, nil); !errors.Is(err, &Error{Code: UnknownKey}) {
		t.Errorf("%v", err)
	}
}

type badKey struct{ name, key, says string }

// badKeys are JWKs made from a good one, each with one thing wrong.
func badKeys(t *testing.T, good []byte) []badKey {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal(good, &fields); err != nil {
		t.Fatal(err)
	}
	with := func(changes map[string]any) string {
		m := map[string]any{}
		for k, v := range fields {
			m[k] = v
		}
		m["kid"] = "bad"
		for k, v := range changes {
			m[k] = v
			if v == nil {
				delete(m, k)
			}
		}
		raw, _ := json.Marshal(m)
		return string(raw)
	}
	small, _ := rsa.GenerateKey(rand.Reader, 1024)
	smallRaw, _ := json.Marshal(gojose.JSONWebKey{Key: small.Public(), KeyID: "bad"})
	privateRaw, _ := json.Marshal(gojose.JSONWebKey{Key: signerFor("RS256"), KeyID: "bad"})
	n := base64.RawURLEncoding.EncodeToString(signerFor("RS256").(*rsa.PrivateKey).N.Bytes())
	rsaWith := func(e string) string { return fmt.Sprintf(`{"kty":"RSA","n":%q,"e":%q,"kid":"bad"}`, n, e) }
	return []badKey{
		{"not an object", `7`, "object"},
		{"duplicate member", `{"kty":"EC","kty":"RSA"}`, "twice"},
		{"symmetric", `{"kty":"oct","k":"AAAA","kid":"bad"}`, "private or symmetric"},
		{"oct without k", `{"kty":"oct","kid":"bad"}`, "symmetric"},
		{"private EC", with(map[string]any{"d": "AAAA"}), "private"},
		{"private RSA", string(privateRaw), "private"},
		{"for encryption", with(map[string]any{"use": "enc"}), "use is not sig"},
		{"use is a number", with(map[string]any{"use": 1}), "use is not sig"},
		{"key_ops without verify", with(map[string]any{"key_ops": []string{"sign"}}), "key_ops"},
		{"key_ops is a string", with(map[string]any{"key_ops": "verify"}), "key_ops"},
		{"alg of another type", with(map[string]any{"alg": "RS256"}), "does not fit"},
		{"alg of another curve", with(map[string]any{"alg": "ES384"}), "does not fit"},
		{"alg HMAC", with(map[string]any{"alg": "HS256"}), "does not fit"},
		{"another curve's name", with(map[string]any{"crv": "P-384"}), "do not fit"},
		{"secp256k1", with(map[string]any{"crv": "secp256k1"}), "not supported"},
		{"point off the curve", with(map[string]any{"y": fields["x"]}), "not on"},
		{"no y", with(map[string]any{"y": nil}), "missing"},
		{"unknown type", with(map[string]any{"kty": "AKP"}), "not supported"},
		{"X25519", `{"kty":"OKP","crv":"X25519","x":"AAAA","kid":"bad"}`, "not supported"},
		{"short Ed25519", `{"kty":"OKP","crv":"Ed25519","x":"AAAA","kid":"bad"}`, "does not fit"},
		{"RSA of 1024 bits", string(smallRaw), "1024 bits"},
		{"exponent 1", rsaWith("AQ"), "exponent"},
		{"even exponent", rsaWith("AQAA"), "exponent"},
		{"exponent of 5 bytes", rsaWith("AQAAAAE"), "exponent"},
		{"padded base64", rsaWith("AQAB="), "canonical"},
	}
}

func TestSecurityKeySetLeavesOutWhatMustNotVerify(t *testing.T) {
	_, good := publicJWK(t, "ES256", "good")
	for _, c := range badKeys(t, good) {
		t.Run(c.name, func(t *testing.T) {
			keys, problems, err := ParseKeySet([]byte(`{"keys":[` + c.key + `,` + string(good) + `]}`))
			if err != nil {
				t.Fatal(err)
			}
			if len(keys) != 1 || keys[0].Kid != "good" {
				t.Errorf("kept %d keys; one bad key must not spoil the set nor stay in it", len(keys))
			}
			if len(problems) != 1 || !strings.Contains(problems[0].Error(), c.says) {
				t.Errorf("problems: %v, want one with %q", problems, c.says)
			}
		})
	}
}

func TestDocumentsThatAreNoKeySet(t *testing.T) {
	many := `{"keys":[` + strings.TrimSuffix(strings.Repeat(`{},`, 101), ",") + `]}`
	for _, c := range []struct{ doc, says string }{
		{"", "not JSON"},
		{"<!DOCTYPE html><html></html>", "HTML"},
		{"[]", "object"},
		{`{"error":"x"}`, "no keys"},
		{`{"keys":{}}`, "not a list"},
		{`{"keys":null}`, "not a list"},
		{`{"keys":[],"keys":[]}`, "two"},
		{`{"keys":[]} x`, "not JSON"},
		{many, "101"},
	} {
		if _, _, err := ParseKeySet([]byte(c.doc)); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%.30s: %v, want %q", c.doc, err, c.says)
		}
	}
	if keys, problems, err := ParseKeySet([]byte(`{"keys":[]}`)); err != nil || len(keys)+len(problems) != 0 {
		t.Errorf("an empty set is a set: %v %v", problems, err)
	}
}

func TestSecurityKeyIsBoundToItsKidAndItsAlg(t *testing.T) {
	token, err := Parse(sign(t, "RS256", "a", `{}`))
	if err != nil {
		t.Fatal(err)
	}
	k, raw := publicJWK(t, "RS256", "b")
	if err := oneKey(t, raw).Verify(token); !errors.Is(err, &Error{Code: UnknownKey}) {
		t.Errorf("another kid: %v", err)
	}
	k.KeyID, k.Algorithm = "a", "PS256"
	raw, _ = json.Marshal(k)
	if err := oneKey(t, raw).Verify(token); !errors.Is(err, &Error{Code: AlgorithmNotAllowed}) {
		t.Errorf("another alg: %v", err)
	}
	if err := CheckAlgorithm(token, []string{"ES256"}); !errors.Is(err, &Error{Code: AlgorithmNotAllowed}) {
		t.Errorf("not in the list: %v", err)
	}
	if err := CheckAlgorithm(token, nil); !errors.Is(err, &Error{Code: AlgorithmNotAllowed}) {
		t.Errorf("an empty list allows nothing: %v", err)
	}
	if err := CheckAlgorithm(token, []string{"RS256"}); err != nil {
		t.Error(err)
	}
}

func TestATokenWithoutKidTriesEveryKeyThatFits(t *testing.T) {
	token, err := Parse(sign(t, "ES256", "", `{}`))
	if err != nil || token.Kid != "" {
		t.Fatal(err, token)
	}
	_, r := publicJWK(t, "RS256", "r")
	_, e := publicJWK(t, "ES256", "e")
	other, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	o, _ := json.Marshal(gojose.JSONWebKey{Key: other.Public(), KeyID: "o"})
	keys := []*Key{oneKey(t, r), oneKey(t, o), oneKey(t, e)}
	if k, err := VerifyAny(token, keys); err != nil || k.Kid != "e" {
		t.Error(k, err)
	}
	if _, err := VerifyAny(token, []*Key{oneKey(t, o), oneKey(t, r)}); !errors.Is(err, &Error{Code: BadSignature}) {
		t.Errorf("the reason is the key that fitted: %v", err)
	}
}

func TestSecurityECDSASignaturesHaveOneLength(t *testing.T) {
	token, err := Parse(sign(t, "ES256", "k", `{}`))
	if err != nil {
		t.Fatal(err)
	}
	_, raw := publicJWK(t, "ES256", "k")
	key := oneKey(t, raw)
	good := token.signature
	if err := key.Verify(token); err != nil {
		t.Fatal(err)
	}
	for name, sig := range map[string][]byte{
		"a zero before S": slices.Concat(good[:32], []byte{0}, good[32:]),
		"a byte after S":  append(slices.Clone(good), 0),
		"short":           good[:63],
		"empty":           {},
		"zeros":           make([]byte, 64),
	} {
		token.signature = sig
		if err := key.Verify(token); !errors.Is(err, &Error{Code: BadSignature}) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(sign(f, "ES256", "k", `{"sub":"a","exp":1e9,"aud":["x"]}`))
	f.Add(b64(`{"alg":"RS256","typ":"at+jwt"}`) + "." + b64(`{"a":{"a":[1,{"b":"\u0000"}]}}`) + "." + b64("s"))
	f.Add("a.b.c")
	f.Add("..")
	f.Fuzz(func(t *testing.T, s string) {
		token, err := Parse(s)
		if err != nil {
			var coded *Error
			if !errors.As(err, &coded) {
				t.Fatalf("uncoded: %v", err)
			}
			return
		}
		// Canonical: what was decoded encodes to exactly what came in, so that one token has one digest.
		i := strings.LastIndexByte(s, '.')
		if base64.RawURLEncoding.EncodeToString(token.signature) != s[i+1:] || token.input != s[:i] {
			t.Fatal("not canonical")
		}
		if !strings.HasSuffix(token.input, "."+base64.RawURLEncoding.EncodeToString([]byte(token.payload))) {
			t.Fatal("payload not canonical")
		}
		_ = CheckTimes(token, exampleNow, 0, 0)
		_ = CheckKind(token, Access)
		_ = Audience(token)
	})
}
