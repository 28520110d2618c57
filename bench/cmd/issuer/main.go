// Command issuer is a local OpenID Connect issuer for benchmarks: discovery,
// JWKS with an RSA-2048, a P-256 and an Ed25519 key, and /mint for tokens.
package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net/http"
	"strconv"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:23401", "loopback address to listen on")
	aud := flag.String("aud", "bench", "audience of minted tokens")
	flag.Parse()
	issuer := "http://" + *addr

	rk, err := rsa.GenerateKey(rand.Reader, 2048)
	check(err)
	ek, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	_, dk, err := ed25519.GenerateKey(rand.Reader)
	check(err)
	keys := map[jose.SignatureAlgorithm]crypto.Signer{jose.RS256: rk, jose.ES256: ek, jose.EdDSA: dk}
	var set jose.JSONWebKeySet
	for alg, k := range keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.Public(), KeyID: string(alg), Algorithm: string(alg), Use: "sig"})
	}

	http.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, map[string]any{
			"issuer": issuer, "jwks_uri": issuer + "/jwks",
			"authorization_endpoint": issuer + "/auth", "token_endpoint": issuer + "/token", "userinfo_endpoint": issuer + "/userinfo",
			"response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"},
			"id_token_signing_alg_values_supported": []string{"RS256", "ES256", "EdDSA"},
		})
	})
	http.HandleFunc("GET /jwks", func(w http.ResponseWriter, _ *http.Request) { reply(w, set) })
	http.HandleFunc("GET /mint", func(w http.ResponseWriter, r *http.Request) {
		alg := jose.SignatureAlgorithm(r.FormValue("alg"))
		k, ok := keys[alg]
		if !ok {
			http.Error(w, "unknown alg", http.StatusBadRequest)
			return
		}
		n, _ := strconv.Atoi(r.FormValue("n"))
		s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: k, KeyID: string(alg)}}, nil)
		check(err)
		// With n, that many different tokens, a line each.
		for i := range max(n, 1) {
			if i > 0 {
				fmt.Fprintln(w)
			}
			fmt.Fprint(w, mint(s, issuer, *aud, i))
		}
	})
	log.Fatal(http.ListenAndServe(*addr, nil))
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	check(json.NewEncoder(w).Encode(v))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func mint(s jose.Signer, issuer, aud string, i int) string {
	now := time.Now()
	// About 1 KB when signed with RS256, as a corporate IdP would send.
	tok, err := jwt.Signed(s).Claims(map[string]any{
		"iss": issuer, "aud": aud, "azp": aud, "sub": "9f0c1d7e-6c1b-4a55-8a43-d0b7c4f5a001",
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(6 * time.Hour).Unix(), "jti": fmt.Sprint(now.UnixNano(), "-", i),
		"email": "alice@example.com", "email_verified": true, "name": "Alice Example", "preferred_username": "alice",
		"groups": []string{"platform-engineering", "ml-research", "gateway-users", "oncall-primary", "emea-all-staff"},
		"scope":  "openid profile email groups", "realm_access": map[string]any{"roles": []string{"offline_access", "uma_authorization"}},
	}).Serialize()
	check(err)
	return tok
}
