package api

import (
	"errors"
	"mime"
	"net/http"
	"reflect"
	"sort"
	"strings"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/authz"
	"github.com/gatehouse-ai/gatehouse/internal/control/api/apply"
	"github.com/gatehouse-ai/gatehouse/internal/control/filter"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/manifest"
)

// ResourceList is one page of the resources of a kind that the caller may read.
type ResourceList struct {
	Items []any `json:"items"`
	// Total counts what the caller may read and the filter matches.
	Total int `json:"total"`
	// NextCursor leads to the next page; absent at the end.
	NextCursor string `json:"nextCursor,omitempty"`
}

func (a *API) resourceOperations() []operation {
	var ops []operation
	for _, k := range v1.Kinds() {
		ops = append(ops, kindOperations(k)...)
	}
	return ops
}

// kindOperations are the verbs that every kind has.
func kindOperations(k v1.Kind) []operation {
	path := base + "/" + k.Plural()
	perm := func(verb string) identity.Permission { return identity.KindPermission(k, verb) }
	example := reflect.New(reflect.TypeOf(v1.New(k)).Elem()).Elem().Interface()
	takeOver := query{"takeOver", "Make another manager's resource yours.", flag()}
	return []operation{
		{
			ID: "list-" + k.Plural(), Method: http.MethodGet, Path: path, Summary: "List the " + k.Plural() + " that you may read",
			Permission: perm("read"), On: onResource, AuditAction: notAudited, Answer: ResourceList{}, Item: example, Status: http.StatusOK,
			Query: append(paging(), query{"filter", "A filter in SCIM's grammar over kind and metadata.", filterSchema()}),
			run:   func(c *call) (*answer, error) { return c.list(k) },
		},
		{
			ID: "get-" + k.Slug(), Method: http.MethodGet, Path: path + "/{name}", Kind: k, Summary: "Read one " + k.Slug(),
			Permission: perm("read"), On: onResource, AuditAction: notAudited, Answer: example, Manifest: true, Status: http.StatusOK,
			run: func(c *call) (*answer, error) { return c.get(k) },
		},
		{
			ID: "put-" + k.Slug(), Method: http.MethodPut, Path: path + "/{name}", Kind: k, Summary: "Create or replace one " + k.Slug(),
			Permission: perm("update"), On: onResource, AuditAction: k.Slug() + ".update", Query: []query{takeOver},
			Also: []special{creating(perm("create"), k.Slug()+".create")},
			Body: example, YAML: true, Answer: example, Manifest: true, IfMatch: true, IfNoneMatch: true, Status: http.StatusOK,
			run: func(c *call) (*answer, error) { return c.put(k) },
		},
		{
			ID: "delete-" + k.Slug(), Method: http.MethodDelete, Path: path + "/{name}", Kind: k, Summary: "Delete one " + k.Slug(),
			Permission: perm("delete"), On: onResource, AuditAction: k.Slug() + ".delete", Query: []query{takeOver}, IfMatch: true, Status: http.StatusNoContent,
			run: func(c *call) (*answer, error) { return c.remove(k) },
		},
	}
}

// list decides for each resource before the filter sees it, so that neither
// the filter nor the count tells of what is hidden.
func (c *call) list(k v1.Kind) (*answer, error) {
	limit, err := c.limit()
	if err != nil {
		return nil, err
	}
	expr := c.r.URL.Query().Get("filter")
	f, err := filter.Parse(expr)
	if err != nil {
		return nil, badFilter(err)
	}
	context := k.Plural() + "\x00" + expr
	after, err := c.after(context)
	if err != nil {
		return nil, err
	}
	var found []v1.Resource
	for r := range c.snap.Resources {
		if r.Type().Kind != k {
			continue
		}
		if seen := c.visible(r); seen != nil && f.Match(seen) {
			found = append(found, seen)
		}
	}
	sort.Slice(found, func(i, j int) bool { return found[i].Meta().Name < found[j].Meta().Name })
	page := ResourceList{Items: []any{}, Total: len(found)}
	from := sort.Search(len(found), func(i int) bool { return found[i].Meta().Name > after })
	for _, r := range found[from:min(from+limit, len(found))] {
		page.Items = append(page.Items, c.withStatus(r))
	}
	if end := from + limit; end < len(found) {
		if page.NextCursor, err = c.cursor(context, found[end-1].Meta().Name); err != nil {
			return nil, err
		}
	}
	return &answer{body: page}, nil
}

func badFilter(err error) error {
	e := identity.Errorf(identity.CodeInvalidRequest, "filter: %v", err)
	e.Err = err
	return e
}

func (c *call) mayRead(r v1.Resource) bool {
	q := authz.Request{
		Principal: c.caller.Principal, Grant: c.caller.Grant, Action: identity.KindPermission(r.Type().Kind, "read"),
		Resource: apply.Target(c.snap, r), Context: authz.Context{Now: c.now},
	}
	return authz.Decide(&q).Allowed
}

// key reads the name out of the path.
func (c *call) key(k v1.Kind) identity.ResourceKey {
	name := c.r.PathValue("name")
	c.about = string(identity.KindRef(k, name))
	return identity.ResourceKey{Kind: k, Name: name}
}

// existing finds the resource of the path, where the permission on the tenant was
// asked for already.
func (c *call) existing(k v1.Kind) (v1.Resource, error) {
	r, err := c.opt.Resources.Resource(c.r.Context(), c.key(k))
	if identity.IsCode(err, identity.CodeNotFound) {
		return nil, identity.Errorf(identity.CodeNotFound, "there is no %s", c.about)
	}
	return r, err
}

// readable returns a resource that the caller may read. One that they may not
// is as absent as one that is not there.
func (c *call) readable(k v1.Kind) (v1.Resource, error) {
	key := c.key(k)
	hidden := identity.Errorf(identity.CodeNotFound, "there is no %s that you may see", identity.KindRef(k, key.Name))
	if !v1.ValidName(key.Name) {
		return nil, hidden
	}
	r, err := c.opt.Resources.Resource(c.r.Context(), key)
	switch {
	case identity.IsCode(err, identity.CodeNotFound):
		return nil, hidden
	case err != nil:
		return nil, err
	}
	if r = c.visible(r); r == nil {
		return nil, hidden
	}
	return r, nil
}

func (c *call) get(k v1.Kind) (*answer, error) {
	r, err := c.readable(k)
	if err != nil {
		return nil, err
	}
	return c.resource(r)
}

// resource answers with a resource, as YAML where that is what is asked for.
func (c *call) resource(r v1.Resource) (*answer, error) {
	r = c.withStatus(r)
	ans := &answer{body: r, etag: r.Meta().ResourceVersion}
	if !wantsYAML(c.r.Header.Get("Accept")) {
		return ans, nil
	}
	var err error
	ans.form = formYAML
	ans.text, err = manifest.Marshal(r)
	return ans, err
}

func wantsYAML(accept string) bool {
	for part := range strings.SplitSeq(accept, ",") {
		media, _, err := mime.ParseMediaType(strings.TrimSpace(part))
		if err != nil {
			continue
		}
		switch media {
		case formYAML, "application/x-yaml", "text/yaml":
			return true
		case formJSON:
			return false
		}
	}
	return false
}

func (c *call) put(k v1.Kind) (*answer, error) {
	key := c.key(k)
	put := apply.Put{}
	var err error
	if put.IfMatch, put.IfNoneMatch, err = c.preconditions(); err != nil {
		return nil, err
	}
	if put.TakeOver, err = c.flag("takeOver"); err != nil {
		return nil, err
	}
	if put.Document, err = c.document(key); err != nil {
		return nil, err
	}
	written, err := c.applier.Put(c.r.Context(), c.actor(apply.ManagerAPI), put)
	if err != nil {
		return nil, err
	}
	for _, w := range append(written.Warnings, put.Document.Notes...) {
		c.warn(w)
	}
	ans, err := c.resource(written.Resource)
	if err == nil && written.Action == apply.Created {
		ans.status = http.StatusCreated
	}
	return ans, err
}

// document reads the one resource of a PUT.
func (c *call) document(key identity.ResourceKey) (manifest.Document, error) {
	data, form, err := c.body()
	if err != nil {
		return manifest.Document{}, err
	}
	d := manifest.Document{Line: 1}
	if form == formJSON {
		d.Resource, err = manifest.DecodeJSON(key.Kind, data)
	} else {
		var docs []manifest.Document
		if docs, err = manifest.Parse("", data); err == nil {
			if len(docs) != 1 {
				return d, identity.Errorf(identity.CodeInvalidManifest, "send one resource; POST %s/apply takes several", base)
			}
			d = docs[0]
		}
	}
	if err != nil {
		return d, manifestError(err)
	}
	if got := (identity.ResourceKey{Kind: d.Resource.Type().Kind, Name: d.Resource.Meta().Name}); got != key {
		return d, identity.Errorf(identity.CodeInvalidManifest, "the body is another resource than the path names")
	}
	return d, nil
}

// manifestError gives what the manifest package says its code.
func manifestError(err error) error {
	if _, ok := errors.AsType[manifest.Errors](err); ok {
		return identity.Wrap(identity.CodeInvalidManifest, err, "the manifest is not right")
	}
	return err
}

// preconditions reads If-Match and If-None-Match (RFC 9110, 13.1).
func (c *call) preconditions() (match string, none bool, err error) {
	if v := c.r.Header.Values("If-None-Match"); len(v) > 0 {
		if len(v) > 1 || v[0] != "*" {
			return "", false, identity.Errorf(identity.CodeInvalidRequest, "If-None-Match can only be *")
		}
		none = true
	}
	v := c.r.Header.Values("If-Match")
	switch {
	case len(v) == 0:
		return "", none, nil
	case len(v) > 1 || none:
		return "", false, identity.Errorf(identity.CodeInvalidRequest, "send one precondition")
	case v[0] == "*":
		return "*", false, nil
	}
	tag, quoted := strings.CutPrefix(v[0], `"`)
	tag, closed := strings.CutSuffix(tag, `"`)
	if !quoted || !closed || tag == "" || tag == "*" || strings.Contains(tag, `"`) {
		return "", false, identity.Errorf(identity.CodeInvalidRequest, `If-Match must be * or one strong ETag in double quotes, as it was read`)
	}
	return tag, false, nil
}

func (c *call) remove(k v1.Kind) (*answer, error) {
	del := apply.Delete{Key: c.key(k)}
	none := false
	var err error
	if del.IfMatch, none, err = c.preconditions(); err != nil {
		return nil, err
	}
	if none {
		return nil, identity.Errorf(identity.CodeInvalidRequest, "If-None-Match makes no sense here")
	}
	if del.TakeOver, err = c.flag("takeOver"); err != nil {
		return nil, err
	}
	return nil, c.applier.Delete(c.r.Context(), c.actor(apply.ManagerAPI), del)
}
