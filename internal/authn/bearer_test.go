package authn

import (
	"net/http"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

func TestSecurityHowACredentialIsRead(t *testing.T) {
	for _, tc := range []struct {
		name   string
		auth   []string
		apiKey []string
		token  string
		code   identity.Code
	}{
		{"none", nil, nil, "", identity.CodeNoCredential},
		{"bearer", []string{"Bearer abc"}, nil, "abc", ""},
		{"the scheme in any case", []string{"bEARER abc"}, nil, "abc", ""},
		{"x-api-key", nil, []string{"abc"}, "abc", ""},
		{"two that agree", []string{"Bearer abc"}, []string{"abc"}, "abc", ""},
		{"two that disagree", []string{"Bearer abc"}, []string{"abd"}, "", identity.CodeCredentialsDisagree},
		{"two headers that disagree", []string{"Bearer abc", "Bearer abd"}, nil, "", identity.CodeCredentialsDisagree},
		{"two keys that disagree", nil, []string{"abc", "abd"}, "", identity.CodeCredentialsDisagree},
		{"a prefix is not the same", []string{"Bearer abc"}, []string{"abcd"}, "", identity.CodeCredentialsDisagree},
		{"a bare token", []string{"abc"}, nil, "", identity.CodeInvalidToken},
		{"a bare token beside a key", []string{"abc"}, []string{"abc"}, "", identity.CodeInvalidToken},
		{"two spaces", []string{"Bearer  abc"}, nil, "", identity.CodeInvalidToken},
		{"a tab", []string{"Bearer\tabc"}, nil, "", identity.CodeInvalidToken},
		{"a space at the end", []string{"Bearer abc "}, nil, "", identity.CodeInvalidToken},
		{"two words", []string{"Bearer abc def"}, nil, "", identity.CodeInvalidToken},
		{"a list", []string{"Bearer abc, Bearer abc"}, nil, "", identity.CodeInvalidToken},
		{"nothing after the scheme", []string{"Bearer "}, nil, "", identity.CodeInvalidToken},
		{"the scheme alone", []string{"Bearer"}, nil, "", identity.CodeInvalidToken},
		{"an empty header", []string{""}, nil, "", identity.CodeInvalidToken},
		{"an empty key", nil, []string{""}, "", identity.CodeInvalidToken},
		{"an empty key beside a token", []string{"Bearer abc"}, []string{""}, "", identity.CodeInvalidToken},
		{"basic", []string{"Basic abc"}, nil, "", identity.CodeInvalidToken},
		{"dpop", []string{"DPoP abc"}, nil, "", identity.CodeInvalidToken},
		{"basic beside a key", []string{"Basic abc"}, []string{"abc"}, "", identity.CodeInvalidToken},
		{"what is no token68", nil, []string{"abc\x00"}, "", identity.CodeInvalidToken},
		{"other letters", nil, []string{"äbc"}, "", identity.CodeInvalidToken},
	} {
		token, err := bearer(Credential{Authorization: tc.auth, APIKey: tc.apiKey})
		if token != tc.token || (tc.code == "") != (err == nil) || err != nil && identity.CodeOf(err) != tc.code {
			t.Errorf("%s: %q, %v", tc.name, token, err)
		}
	}
}

func TestSecurityTheHeaderHasNoCredentialAfterwards(t *testing.T) {
	h := http.Header{}
	h.Add("authorization", "Bearer a")
	h.Add("x-api-key", "a")
	h.Add("Accept", "*/*")
	c := FromHeader(h, netip.MustParseAddr("192.0.2.1"))
	if token, err := bearer(c); token != "a" || err != nil {
		t.Errorf("%q, %v", token, err)
	}
	if diff := cmp.Diff(http.Header{"Accept": {"*/*"}}, h); diff != "" {
		t.Error(diff)
	}
}

func FuzzBearer(f *testing.F) {
	for _, s := range []string{"", "Bearer abc", "bearer  x", "Basic Zm9v", "Bearer \x00", "DPoP x.y.z"} {
		f.Add(s, "")
		f.Add("", s)
		f.Add("Bearer "+s, s)
	}
	f.Fuzz(func(t *testing.T, auth, key string) {
		token, err := bearer(Credential{Authorization: []string{auth}, APIKey: []string{key}})
		if (token == "") != (err != nil) {
			t.Fatalf("%q, %v", token, err)
		}
		if err == nil && (token != key || auth[7:] != token || !isToken68(token)) {
			t.Fatalf("%q and %q give %q", auth, key, token)
		}
	})
}
