// Package testcert makes the certificate authorities and certificates of tests,
// as tests of TLS and of SAML need them.
//
// It owns no certificate of the product: control/sso/saml makes a service
// provider's own. Only tests, and what tests are made of, import it.
package testcert
