package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatehouse-ai/gatehouse/internal/safehttp"
)

const (
	defaultURL   = "http://127.0.0.1:8080"
	maxAnswer    = 64 << 20 // bytes
	callTimeout  = 60 * time.Second
	mediaJSON    = "application/json"
	mediaYAML    = "application/yaml"
	contentType  = "Content-Type"
	maxTokenFile = 64 << 10
)

// remote is a Gatehouse that the command line talks to.
type remote struct {
	p         process
	url       string
	tokenFile string
	insecure  bool
	// own is the caller's token where a command has it otherwise.
	own string
}

// addRemote gives a command the flags that say where the server is and who asks.
func addRemote(c *cobra.Command, p process) *remote {
	r := &remote{p: p}
	c.Flags().StringVar(&r.url, "url", "", "the server (GATEHOUSE_URL, default "+defaultURL+")")
	if c.Name() == "explain" { // there --token-file is the token to explain
		c.Flags().StringVar(&r.tokenFile, "as-token-file", "", "file with your own token (GATEHOUSE_TOKEN)")
	} else {
		c.Flags().StringVar(&r.tokenFile, "token-file", "", "file with your token, - for standard input (GATEHOUSE_TOKEN)")
	}
	c.Flags().BoolVar(&r.insecure, "insecure-http", false, "send the token over plain http to another machine")
	return r
}

// base returns the server's URL.
func (r *remote) base() (string, error) {
	raw, form := r.url, "--url"
	if raw == "" {
		raw, form = r.p.env("GATEHOUSE_URL"), "GATEHOUSE_URL"
	}
	if raw == "" {
		return defaultURL, nil
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return "", usagef("%s: is not a URL like https://gatehouse.example.com", form)
	case u.Scheme == "http" && !safehttp.IsLoopbackHost(u.Hostname()) && !r.insecure:
		return "", usagef("%s: plain http would show your token to the network; use https, or --insecure-http", form)
	}
	return strings.TrimRight(raw, "/"), nil
}

// token returns the caller's token.
func (r *remote) token() (string, error) {
	if r.own != "" {
		return r.own, nil
	}
	if r.tokenFile == "" {
		if t := strings.TrimSpace(r.p.env("GATEHOUSE_TOKEN")); t != "" {
			return t, nil
		}
		return "", usagef("GATEHOUSE_TOKEN: is not set; set it to a token, or use --token-file")
	}
	return readToken(r.p, r.tokenFile)
}

// readToken reads a token from a file, or from standard input for "-".
func readToken(p process, name string) (string, error) {
	in := p.in
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return "", usagef("--token-file: %v", err)
		}
		defer f.Close() //nolint:errcheck // read only
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, maxTokenFile))
	if err != nil {
		return "", usagef("--token-file: %v", err)
	}
	token := strings.TrimSpace(string(b))
	if token == "" || strings.ContainsAny(token, " \t\r\n") {
		return "", usagef("--token-file: %s holds no token", name)
	}
	return token, nil
}

// request is one call of the control API.
type request struct {
	method, path string
	query        url.Values
	body         []byte
	media        string
	header       http.Header
}

// response is what it answered.
type response struct {
	status int
	header http.Header
	body   []byte
}

// call sends a request with the caller's token. An answer of 400 and above is
// an error.
func (r *remote) call(ctx context.Context, q request) (response, error) {
	base, err := r.base()
	if err != nil {
		return response{}, err
	}
	token, err := r.token()
	if err != nil {
		return response{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	target := base + q.path
	if len(q.query) > 0 {
		target += "?" + q.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, q.method, target, bytes.NewReader(q.body))
	if err != nil {
		return response{}, err
	}
	for k, v := range q.header {
		req.Header[k] = v
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept", mediaJSON)
	req.Header.Set("User-Agent", "gatehouse/"+version())
	if q.media != "" {
		req.Header.Set(contentType, q.media)
	}
	// A redirect would send the token, or the secrets in the body, elsewhere.
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	if err != nil {
		return response{}, unreachable(base, err)
	}
	defer res.Body.Close() //nolint:errcheck // read only
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return response{}, unreachable(base, err)
	}
	for _, warning := range res.Header.Values("X-Gatehouse-Warning") {
		_, _ = fmt.Fprintln(r.p.err, "gatehouse: warning: "+warning)
	}
	if res.StatusCode >= 300 {
		return response{}, problem(res.StatusCode, res.Header, body)
	}
	return response{status: res.StatusCode, header: res.Header, body: body}, nil
}

func unreachable(base string, err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	return fmt.Errorf("%s cannot be reached: %w", base, err)
}

// apiError is what the control API refused (RFC 9457).
type apiError struct {
	Status     int    `json:"-"`
	Code       string `json:"code"`
	Detail     string `json:"detail"`
	Title      string `json:"title"`
	Permission string `json:"permission"`
	RequestID  string `json:"requestId"`
	Errors     []struct {
		File    string `json:"file"`
		Path    string `json:"path"`
		Line    int    `json:"line"`
		Column  int    `json:"column"`
		Message string `json:"message"`
	} `json:"errors"`
}

func problem(status int, header http.Header, body []byte) error {
	e := &apiError{Status: status}
	if strings.Contains(header.Get(contentType), "json") {
		_ = json.Unmarshal(body, e) // what cannot be read is missing in the message
	}
	return e
}

func (e *apiError) Error() string {
	var b strings.Builder
	for _, one := range e.Errors {
		if one.Path != "" {
			b.WriteString(one.Path + ": ")
		}
		b.WriteString(one.Message + "\n")
	}
	if len(e.Errors) > 0 {
		return strings.TrimSpace(b.String())
	}
	text := e.Detail
	if text == "" {
		text = e.Title
	}
	if text == "" {
		text = http.StatusText(e.Status)
	}
	fmt.Fprintf(&b, "%s (%d", text, e.Status)
	if e.Code != "" {
		b.WriteString(" " + e.Code)
	}
	if e.Permission != "" {
		b.WriteString(", needs " + e.Permission)
	}
	if e.Status >= 500 && e.RequestID != "" {
		b.WriteString(", request " + e.RequestID)
	}
	return b.String() + ")"
}
