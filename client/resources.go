package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
)

const (
	formJSON = "application/json"
	formYAML = "application/yaml"
)

// ApplyOptions say how a set of manifests is written.
type ApplyOptions struct {
	// Manager names the set: its resources belong to apply:NAME. Default default.
	Manager string
	DryRun  bool
	// Prune removes what the manager wrote before and the set no longer has.
	Prune bool
	// TakeOver makes another manager's resources the set's.
	TakeOver bool
}

// Outcome is what became of one resource.
type Outcome struct {
	Kind v1.Kind `json:"kind"`
	Name string  `json:"name"`
	// Action is created, configured, unchanged or pruned.
	Action string `json:"action"`
	Diff   string `json:"diff"`
}

// ApplyResult is what became of a set.
type ApplyResult struct {
	DryRun   bool      `json:"dryRun"`
	Results  []Outcome `json:"results"`
	Warnings []string  `json:"warnings"`
}

// ApplyYAML writes manifests, all or nothing.
func (c *Client) ApplyYAML(ctx context.Context, manifests []byte, opt ApplyOptions) (*ApplyResult, error) {
	q := url.Values{}
	if opt.Manager != "" {
		q.Set("manager", opt.Manager)
	}
	for name, on := range map[string]bool{"dryRun": opt.DryRun, "prune": opt.Prune, "takeOver": opt.TakeOver} {
		if on {
			q.Set(name, "true")
		}
	}
	if manifests == nil {
		manifests = []byte{}
	}
	out := &ApplyResult{}
	err := c.do(ctx, request{method: http.MethodPost, segments: []string{"apply"}, query: q, form: formYAML, body: manifests}, out)
	return out, err
}

// Apply writes documents that are JSON already, all or nothing.
func (c *Client) Apply(ctx context.Context, documents []json.RawMessage, opt ApplyOptions) (*ApplyResult, error) {
	if documents == nil {
		documents = []json.RawMessage{}
	}
	body, err := asJSON(map[string]any{
		"manager": opt.Manager, "documents": documents, "dryRun": opt.DryRun, "prune": opt.Prune, "takeOver": opt.TakeOver,
	})
	if err != nil {
		return nil, err
	}
	out := &ApplyResult{}
	err = c.do(ctx, request{method: http.MethodPost, segments: []string{"apply"}, form: formJSON, body: body}, out)
	return out, err
}

// Get reads one resource.
func (c *Client) Get(ctx context.Context, kind v1.Kind, name string) (v1.Resource, error) {
	r := v1.New(kind)
	if r == nil {
		return nil, fmt.Errorf("client: this version does not know the kind %q", kind)
	}
	err := c.do(ctx, request{method: http.MethodGet, segments: []string{kind.Plural(), name}}, r)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// PutOptions say how one resource is written.
type PutOptions struct {
	// IfMatch is the resource version that was read; "*" is any. Required for
	// what exists.
	IfMatch string
	// Create: the resource must not exist.
	Create   bool
	TakeOver bool
}

// Put writes one resource, given as JSON: a resource of api/v1 would show its
// secret values as [redacted]. It returns what is stored now.
func (c *Client) Put(ctx context.Context, kind v1.Kind, name string, document json.RawMessage, opt PutOptions) (v1.Resource, error) {
	r := v1.New(kind)
	if r == nil {
		return nil, fmt.Errorf("client: this version does not know the kind %q", kind)
	}
	h := conditions(opt.IfMatch)
	if opt.Create {
		h.Set("If-None-Match", "*")
	}
	err := c.do(ctx, request{
		method: http.MethodPut, segments: []string{kind.Plural(), name}, query: takeOver(opt.TakeOver), header: h, form: formJSON, body: document,
	}, r)
	if err != nil {
		return nil, err
	}
	return r, nil
}

func conditions(ifMatch string) http.Header {
	h := http.Header{}
	switch ifMatch {
	case "":
	case "*":
		h.Set("If-Match", "*")
	default:
		h.Set("If-Match", strconv.Quote(ifMatch))
	}
	return h
}

func takeOver(on bool) url.Values {
	if !on {
		return nil
	}
	return url.Values{"takeOver": {"true"}}
}

// DeleteOptions say how one resource is removed.
type DeleteOptions struct {
	// IfMatch may be empty.
	IfMatch  string
	TakeOver bool
}

// Delete removes one resource.
func (c *Client) Delete(ctx context.Context, kind v1.Kind, name string, opt DeleteOptions) error {
	return c.do(ctx, request{
		method: http.MethodDelete, segments: []string{kind.Plural(), name}, query: takeOver(opt.TakeOver), header: conditions(opt.IfMatch),
	}, nil)
}

// ListOptions choose a page.
type ListOptions struct {
	// Filter is in SCIM's grammar (RFC 7644, 3.4.2.2).
	Filter string
	// Limit is 50 by default, at most 500.
	Limit  int
	Cursor string
}

func (o ListOptions) query() url.Values {
	q := url.Values{}
	if o.Filter != "" {
		q.Set("filter", o.Filter)
	}
	if o.Limit > 0 {
		q.Set("limit", strconv.Itoa(o.Limit))
	}
	if o.Cursor != "" {
		q.Set("cursor", o.Cursor)
	}
	return q
}

// Page is one page of a list.
type Page struct {
	Items []v1.Resource
	// Total counts everything that the filter matches and the caller may read.
	Total int
	// NextCursor is empty at the end.
	NextCursor string
}

// ListPage reads one page of the resources of a kind.
func (c *Client) ListPage(ctx context.Context, kind v1.Kind, opt ListOptions) (*Page, error) {
	var raw struct {
		Items      []json.RawMessage `json:"items"`
		Total      int               `json:"total"`
		NextCursor string            `json:"nextCursor"`
	}
	if v1.New(kind) == nil {
		return nil, fmt.Errorf("client: this version does not know the kind %q", kind)
	}
	if err := c.do(ctx, request{method: http.MethodGet, segments: []string{kind.Plural()}, query: opt.query()}, &raw); err != nil {
		return nil, err
	}
	p := &Page{Total: raw.Total, NextCursor: raw.NextCursor}
	for _, item := range raw.Items {
		r := v1.New(kind)
		if err := json.Unmarshal(item, r); err != nil {
			return nil, fmt.Errorf("client: a %s in the answer is not what was expected: %w", kind, err)
		}
		p.Items = append(p.Items, r)
	}
	return p, nil
}

// List reads all resources of a kind that a filter matches ("" is all).
func (c *Client) List(ctx context.Context, kind v1.Kind, filter string) ([]v1.Resource, error) {
	var list []v1.Resource
	opt := ListOptions{Filter: filter, Limit: 500}
	for {
		p, err := c.ListPage(ctx, kind, opt)
		if err != nil {
			return nil, err
		}
		list = append(list, p.Items...)
		if opt.Cursor = p.NextCursor; opt.Cursor == "" {
			return list, nil
		}
	}
}

// Export reads everything that the caller may read, in the order in which it
// is best applied, without what Gatehouse sets: what is exported can be
// applied, here while secrets are stored, or elsewhere with secrets added.
func (c *Client) Export(ctx context.Context) ([]v1.Resource, error) {
	var all []v1.Resource
	for _, k := range v1.Kinds() {
		list, err := c.List(ctx, k, "")
		if err != nil {
			return nil, err
		}
		for _, r := range list {
			m := r.Meta()
			m.UID, m.ResourceVersion, m.Generation, m.CreationTimestamp, m.Manager = "", "", 0, nil, ""
		}
		all = append(all, list...)
	}
	return all, nil
}
