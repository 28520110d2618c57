package safehttp

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

const maxRedirects = 5

// Fetch GETs a URL and returns the whole body and the answer's header. The body is at most maxBytes long after
// decompression, and everything together takes at most timeout. Redirects are followed up to five times, to https only
// (a fetch that starts at http on loopback may also go on to http on loopback) and never from elsewhere to loopback; no
// cookies are kept. Errors: ErrStatus for anything but 200, ErrTooLarge, ErrRedirect, ErrInvalidURL, and what the
// transport reports, ErrBlockedAddress among it.
func Fetch(ctx context.Context, client *http.Client, rawURL string, maxBytes int64, timeout time.Duration) ([]byte, http.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, rawURL, nil)
	if err != nil {
		return nil, nil, refuse(ErrInvalidURL, "the URL cannot be parsed")
	}
	req.Header.Set("Accept", "application/json, application/jwk-set+json;q=0.9, */*;q=0.1")
	req.Header.Set("User-Agent", "gatehouse")
	own := http.Client{Transport: client.Transport, CheckRedirect: redirects}
	resp, err := own.Do(req)
	if err != nil {
		return nil, nil, fmt.Errorf("fetch: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, resp.Header, refuse(ErrStatus, "%s answered %d", resp.Request.URL.Redacted(), resp.StatusCode)
	}
	if resp.ContentLength > maxBytes {
		return nil, resp.Header, refuse(ErrTooLarge, "%s answered %d bytes, at most %d are read", resp.Request.URL.Redacted(), resp.ContentLength, maxBytes)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBytes+1))
	if err != nil {
		return nil, resp.Header, fmt.Errorf("fetch: reading the body: %w", err)
	}
	if int64(len(body)) > maxBytes {
		return nil, resp.Header, refuse(ErrTooLarge, "%s answered more than %d bytes", resp.Request.URL.Redacted(), maxBytes)
	}
	return body, resp.Header, nil
}

func redirects(next *http.Request, via []*http.Request) error {
	start := via[0].URL
	fromLoopback := IsLoopbackHost(start.Hostname())
	toLoopback := IsLoopbackHost(next.URL.Hostname())
	switch {
	case len(via) > maxRedirects:
		return refuse(ErrRedirect, "more than %d redirects", maxRedirects)
	case next.URL.User != nil:
		return refuse(ErrRedirect, "redirect to a URL with a user name")
	case toLoopback && !fromLoopback:
		return refuse(ErrRedirect, "redirect from %s to loopback", start.Host)
	case next.URL.Scheme == "https":
		return nil
	case next.URL.Scheme == "http" && toLoopback && start.Scheme == "http":
		return nil
	}
	return refuse(ErrRedirect, "redirect to %s://%s; only https is followed", next.URL.Scheme, next.URL.Host)
}
