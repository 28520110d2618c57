package h1

import (
	"errors"
	"net/http"
	"net/url"
)

var errPolicy = errors.New("the policy says no")

// httpsOnly refuses as safehttp does: where net/http asks for a proxy.
func httpsOnly(r *http.Request) (*url.URL, error) {
	if r.URL.Scheme != "https" {
		return nil, errPolicy
	}
	return nil, nil
}
