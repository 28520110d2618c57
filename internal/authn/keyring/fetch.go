package keyring

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/authn/jose"
	"github.com/gatehouse-ai/gatehouse/internal/safehttp"
)

// fetchAll asks every address of a provider at once and returns the parts that count now: the new ones, and the old
// one where an address failed. Any failure makes err, so that an unknown kid is then nobody's fault but ours.
// quick leaves out discovery where its answer is known, so that what tokens cause costs the provider one request.
func (p *provider) fetchAll(ctx context.Context, s Source, quick bool) ([]part, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	client, err := p.httpClient(s)
	if err != nil {
		return p.parts, err
	}
	urls := s.JWKSURLs
	if len(urls) == 0 {
		if p.jwksURL == "" || !quick {
			found, err := discover(ctx, client, s)
			if err != nil {
				return p.parts, p.explain(err, s)
			}
			p.jwksURL = found
		}
		urls = []string{p.jwksURL}
	}
	fresh, errs := make([]part, len(urls)), make([]error, len(urls))
	var wg sync.WaitGroup
	for i, url := range urls {
		wg.Go(func() { fresh[i], errs[i] = fetchPart(ctx, client, s, url, p.ring.clock) })
	}
	wg.Wait()
	var parts []part
	if len(s.Inline) > 0 {
		parts = append(parts, p.old("")...)
	}
	for i, url := range urls {
		if errs[i] == nil {
			parts = append(parts, fresh[i])
			continue
		}
		errs[i] = p.explain(errs[i], s)
		kept := p.old(url)
		if len(s.JWKSURLs) == 0 && len(kept) == 0 {
			// Discovery names a new address that does not answer: what the old address gave goes on.
			kept = p.parts
		}
		parts = append(parts, kept...)
	}
	return parts, errors.Join(errs...)
}

func (p *provider) old(url string) []part {
	for _, one := range p.parts {
		if one.url == url {
			return []part{one}
		}
	}
	return nil
}

func fetchPart(ctx context.Context, client *http.Client, s Source, url string, clock func() time.Time) (part, error) {
	if err := safehttp.CheckURL(url, s.policy()); err != nil {
		return part{}, fmt.Errorf("key set: %w", err)
	}
	// The set is as old as the question, not the answer.
	asked := clock()
	body, header, err := safehttp.Fetch(ctx, client, url, fetchLimit, fetchTimeout)
	if err != nil {
		return part{}, fmt.Errorf("key set %s: %w", url, err)
	}
	keys, problems, err := jose.ParseKeySet(body)
	if err != nil {
		return part{}, fmt.Errorf("key set %s: %w", url, err)
	}
	return part{url: url, fetched: asked, document: body, keys: keys, problems: problems, maxAge: maxAge(header)}, nil
}

// discover reads the issuer's document (OpenID Connect Discovery 1.0 section 4) and returns its jwks_uri.
func discover(ctx context.Context, client *http.Client, s Source) (string, error) {
	url := discoveryURL(s.Issuer)
	policy := s.policy()
	if err := safehttp.CheckURL(url, policy); err != nil {
		return "", fmt.Errorf("discovery: %w", err)
	}
	body, _, err := safehttp.Fetch(ctx, client, url, fetchLimit, fetchTimeout)
	if err != nil {
		return "", fmt.Errorf("discovery %s: %w", url, err)
	}
	// A map, because encoding/json would also take ISSUER for issuer.
	var doc map[string]json.RawMessage
	if err := json.Unmarshal(body, &doc); err != nil {
		return "", fmt.Errorf("discovery %s: the answer is not a JSON object", url)
	}
	var issuer, jwksURL string
	if json.Unmarshal(doc["issuer"], &issuer) != nil || json.Unmarshal(doc["jwks_uri"], &jwksURL) != nil {
		return "", fmt.Errorf("discovery %s: issuer or jwks_uri is missing", url)
	}
	if issuer != s.Issuer { // section 4.3: exactly
		hint := ""
		if strings.TrimSuffix(issuer, "/") == strings.TrimSuffix(s.Issuer, "/") {
			hint = "; they differ by a slash at the end only"
		}
		return "", fmt.Errorf("discovery %s: the document's issuer is %q, configured is %q%s", url, issuer, s.Issuer, hint)
	}
	if err := safehttp.CheckURL(jwksURL, policy); err != nil {
		return "", fmt.Errorf("discovery %s: jwks_uri: %w", url, err)
	}
	if !policy.AllowLoopback && safehttp.PolicyFor(jwksURL, false, false).AllowLoopback {
		return "", fmt.Errorf("discovery %s: jwks_uri %s is on loopback and the issuer is not: %w", url, jwksURL, safehttp.ErrBlockedAddress)
	}
	return jwksURL, nil
}

// maxAge of Cache-Control (RFC 9111 section 5.2.2.1), 0 where it says nothing that counts. no-cache and no-store are
// not read as zero: Keycloak sends them with every key set.
func maxAge(h http.Header) time.Duration {
	for _, directive := range strings.Split(strings.Join(h.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		if !strings.EqualFold(name, "max-age") {
			continue
		}
		seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31)
		if err != nil {
			return 0
		}
		return max(time.Duration(seconds)*time.Second, minRefresh)
	}
	return 0
}

// httpClient is the provider's own, made again when its CA file has changed. Connections are not kept: a fetch is rare,
// and a CA that is trusted no longer must not live on in an open connection.
func (p *provider) httpClient(s Source) (*http.Client, error) {
	if p.ring.transport != nil {
		if p.client == nil {
			p.client = &http.Client{Transport: p.ring.transport(s)}
		}
		return p.client, nil
	}
	pem := s.CAPEM
	if s.CAFile != "" {
		fromFile, err := readCapped(s.CAFile)
		if err != nil {
			return nil, fmt.Errorf("CA file: %w", err)
		}
		pem = append(append(bytes.Clone(pem), '\n'), fromFile...)
	}
	digest := sha256.Sum256(pem)
	if p.client != nil && p.caDigest == digest {
		return p.client, nil
	}
	policy := s.policy()
	trusted := "the system's authorities"
	if len(pem) > 0 {
		policy.RootCAs = x509.NewCertPool()
		if !policy.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("CA of this provider (%s) holds no PEM certificate", caName(s))
		}
		trusted = caName(s)
	}
	p.closeClient()
	p.client = &http.Client{Transport: safehttp.NewTransport(policy, safehttp.Options{DisableKeepAlives: true})}
	p.caDigest = digest
	p.mu.Lock()
	p.trustedCA = trusted
	p.mu.Unlock()
	return p.client, nil
}

func (p *provider) closeClient() {
	if p.client != nil {
		p.client.CloseIdleConnections()
	}
}

func caName(s Source) string {
	switch {
	case s.CAFile != "" && len(s.CAPEM) > 0:
		return "caCert in the manifest and " + s.CAFile
	case s.CAFile != "":
		return s.CAFile
	}
	return "caCert in the manifest"
}

func readCapped(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, fetchLimit))
}

// explain adds to a TLS failure who signed the certificate and whom this provider trusts.
func (p *provider) explain(err error, s Source) error {
	var bad *tls.CertificateVerificationError
	if !errors.As(err, &bad) {
		return err
	}
	trusted := "the system's authorities (SSL_CERT_FILE, or caCert of this provider, adds one)"
	if s.CAFile != "" || len(s.CAPEM) > 0 {
		trusted = "only " + caName(s)
	}
	issuer := "unknown"
	if n := len(bad.UnverifiedCertificates); n > 0 {
		issuer = bad.UnverifiedCertificates[n-1].Issuer.String()
	}
	return fmt.Errorf("TLS not trusted: the certificate was issued by %q; trusted here: %s: %w", issuer, trusted, err)
}
