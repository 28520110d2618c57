package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 64 << 20

// maxProblem bounds what is read of the refusal of a stream, in bytes.
const maxProblem = 64 << 10

// Options are the settings of a Client.
type Options struct {
	// Token is sent as Authorization: Bearer.
	Token string
	// TokenSource is asked for a token before every request, where it is set;
	// it stands in for Token.
	TokenSource func(context.Context) (string, error)
	// HTTPClient sends the requests. Default: one with a timeout of 60 s that
	// follows no redirects, so that the token goes nowhere else.
	HTTPClient *http.Client
	// UserAgent is sent where it is not empty.
	UserAgent string
}

// Client talks to one Gatehouse. It may be used by several goroutines.
type Client struct {
	base *url.URL
	opt  Options
}

// New returns a client for a Gatehouse at a URL such as
// https://gateway.example.com. Plain http is for loopback only.
func New(baseURL string, opt Options) (*Client, error) {
	u, err := url.Parse(strings.TrimRight(baseURL, "/"))
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("client: %q is not the URL of a Gatehouse", baseURL)
	case u.Scheme == "https":
	case u.Scheme == "http" && isLoopback(u.Hostname()):
	default:
		return nil, fmt.Errorf("client: %q: a token is sent over https only, or to loopback", baseURL)
	}
	if opt.HTTPClient == nil {
		opt.HTTPClient = &http.Client{
			Timeout:       time.Minute,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	return &Client{base: u, opt: opt}, nil
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// Problem is an error that Gatehouse answered with (RFC 9457).
type Problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	// Code is for programs: permission_denied, managed_by, invalid_manifest, …
	Code   string `json:"code"`
	Detail string `json:"detail"`
	// Permission is the one that is missing.
	Permission string         `json:"permission"`
	Errors     []ProblemError `json:"errors"`
	RequestID  string         `json:"requestId"`
	// RetryAfter is zero where the answer does not say.
	RetryAfter time.Duration `json:"-"`
}

// ProblemError is one thing that is wrong with a manifest.
type ProblemError struct {
	File    string `json:"file"`
	Path    string `json:"path"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Message string `json:"message"`
}

// Error returns the detail, and a line for each thing that is wrong.
func (p *Problem) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s (%d %s)", p.Detail, p.Status, p.Code)
	for _, e := range p.Errors {
		b.WriteString("\n")
		if e.File != "" {
			b.WriteString(e.File + ":")
		}
		if e.Line > 0 {
			fmt.Fprintf(&b, "%d:%d: ", e.Line, e.Column)
		}
		if e.Path != "" {
			b.WriteString(e.Path + ": ")
		}
		b.WriteString(e.Message)
	}
	return b.String()
}

// IsCode reports whether an error is a Problem with a code.
func IsCode(err error, code string) bool {
	p, ok := errors.AsType[*Problem](err)
	return ok && p.Code == code
}

// request is one call of the API.
type request struct {
	method string
	// segments are put below /api/v1, each escaped.
	segments []string
	query    url.Values
	header   http.Header
	form     string
	body     []byte
}

func (c *Client) do(ctx context.Context, q request, into any) error {
	req, err := c.request(ctx, &q)
	if err != nil {
		return err
	}
	res, err := c.opt.HTTPClient.Do(req)
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("client: read the answer: %w", err)
	}
	if len(data) > maxAnswer {
		return errors.New("client: the answer is too large")
	}
	if res.StatusCode/100 != 2 {
		return problem(res, data)
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("client: the answer is not what was expected: %w", err)
	}
	return nil
}

// all reads a list to its last page.
func all[T any](ctx context.Context, c *Client, filter string, segments ...string) ([]T, error) {
	var list []T
	opt := ListOptions{Filter: filter, Limit: 500}
	for {
		var page struct {
			Items      []T    `json:"items"`
			NextCursor string `json:"nextCursor"`
		}
		if err := c.do(ctx, request{method: http.MethodGet, segments: segments, query: opt.query()}, &page); err != nil {
			return nil, err
		}
		list = append(list, page.Items...)
		if opt.Cursor = page.NextCursor; opt.Cursor == "" {
			return list, nil
		}
	}
}

func (c *Client) remove(ctx context.Context, query url.Values, segments ...string) error {
	return c.do(ctx, request{method: http.MethodDelete, segments: segments, query: query}, nil)
}

// stream begins an answer of a media type that may be of any length.
func (c *Client) stream(ctx context.Context, q request, form string) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	req, err := c.request(ctx, &q)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	req.Header.Set("Accept", form+", application/problem+json")
	// http.Client's own timeout would end the answer too.
	web := *c.opt.HTTPClient
	if web.Timeout > 0 {
		late := fmt.Errorf("client: the server has not begun to answer within %s", web.Timeout)
		defer time.AfterFunc(web.Timeout, func() { cancel(late) }).Stop()
		web.Timeout = 0
	}
	res, err := web.Do(req)
	if err != nil {
		cancel(nil)
		return nil, fmt.Errorf("client: %w", err)
	}
	body := &streamed{res.Body, cancel}
	if media, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); res.StatusCode == http.StatusOK && media == form {
		return body, nil
	}
	defer func() { _ = body.Close() }()
	data, _ := io.ReadAll(io.LimitReader(res.Body, maxProblem)) // what is cut short is no problem+json
	return nil, problem(res, data)
}

// streamed lets go of its request with the last of the answer.
type streamed struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
}

// Close ends the answer, whole or not.
func (s *streamed) Close() error {
	defer s.cancel(nil)
	return s.ReadCloser.Close()
}

func (c *Client) request(ctx context.Context, q *request) (*http.Request, error) {
	path := "/api/v1"
	for _, s := range q.segments {
		if s == "" || s == "." || s == ".." || strings.ContainsAny(s, `/\`) {
			return nil, fmt.Errorf("client: %q cannot be part of a path", s)
		}
		path += "/" + url.PathEscape(s)
	}
	target := c.base.String() + path
	if len(q.query) > 0 {
		target += "?" + q.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, q.method, target, bytes.NewReader(q.body))
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	for k, v := range q.header {
		req.Header[k] = v
	}
	if q.body != nil {
		req.Header.Set("Content-Type", q.form)
	}
	if c.opt.UserAgent != "" {
		req.Header.Set("User-Agent", c.opt.UserAgent)
	}
	token := c.opt.Token
	if c.opt.TokenSource != nil {
		if token, err = c.opt.TokenSource(ctx); err != nil {
			return nil, fmt.Errorf("client: get a token: %w", err)
		}
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return req, nil
}

// problem reads an error. What is not a problem+json, a proxy's page perhaps,
// is told by its status alone.
func problem(res *http.Response, data []byte) error {
	p := &Problem{}
	media, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if media != "application/problem+json" || json.Unmarshal(data, p) != nil || p.Code == "" {
		*p = Problem{Code: "unexpected_answer", Detail: "the server answered " + res.Status + ", which is not an answer of Gatehouse's control API"}
	}
	p.Status = res.StatusCode
	if d, err := time.ParseDuration(res.Header.Get("Retry-After") + "s"); err == nil {
		p.RetryAfter = d
	}
	return p
}

func asJSON(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	return b, nil
}
