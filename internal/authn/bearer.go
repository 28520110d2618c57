package authn

import (
	"strings"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// bearer reads the credential of a request (RFC 6750, section 2.1): the scheme
// Bearer in any case and one space, or x-api-key as the vendors' SDKs send it.
// Two that say the same are one; two that disagree are none.
func bearer(c Credential) (string, error) {
	token := ""
	for _, v := range c.Authorization {
		scheme, rest, found := strings.Cut(v, " ")
		if !found || !strings.EqualFold(scheme, "Bearer") {
			return "", invalid("the Authorization header must be Bearer, one space, and the token")
		}
		if err := take(&token, rest); err != nil {
			return "", err
		}
	}
	for _, v := range c.APIKey {
		if err := take(&token, v); err != nil {
			return "", err
		}
	}
	if token == "" {
		return "", identity.Errorf(identity.CodeNoCredential, "send a token: Authorization: Bearer TOKEN")
	}
	return token, nil
}

func take(token *string, v string) error {
	if v == "" || !isToken68(v) {
		return invalid("a token is one word of letters, digits and -._~+/=")
	}
	if *token != "" && *token != v {
		return identity.Errorf(identity.CodeCredentialsDisagree, "Authorization and x-api-key carry different credentials; send one")
	}
	*token = v
	return nil
}

// isToken68 is RFC 6750's b64token. It runs over a kilobyte on every request.
func isToken68(s string) bool {
	for i := 0; i < len(s); i++ {
		if !token68[s[i]] {
			return false
		}
	}
	return true
}

// token68 are the bytes that a token may have.
var token68 = func() (t [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/=") {
		t[c] = true
	}
	return t
}()
