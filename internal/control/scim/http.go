package scim

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

const mediaType = "application/scim+json"

// call is one request of a directory.
type call struct {
	*Server
	w   http.ResponseWriter
	r   *http.Request
	ctx context.Context
	// directory is the ScimDirectory's name; manager is what owns its people.
	directory, manager string
	tokenID, addr, id  string
	query              url.Values
	body               map[string]any
	dryRun             bool
	view               projection
	teams              map[string]*teamView
	denied             *denial // nil: nothing that the audit must know
}

// answer is what is sent when nothing went wrong.
type answer struct {
	status   int
	body     any // nil: none
	location string
	version  string
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	ans, err := s.serve(w, r)
	if err != nil {
		p := problemOf(err)
		if p.status >= http.StatusInternalServerError && p.status != http.StatusNotImplemented {
			s.opt.Report(r.Context(), err)
		}
		p.write(w)
		return
	}
	if ans.location != "" {
		h.Set("Location", ans.location)
	}
	if ans.version != "" {
		h.Set("ETag", ans.version)
	}
	if ans.body == nil {
		w.WriteHeader(ans.status)
		return
	}
	h.Set("Content-Type", mediaType)
	w.WriteHeader(ans.status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(ans.body) // the caller is gone: nobody is left to be told
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) (*answer, error) {
	c := &call{Server: s, w: w, r: r, ctx: r.Context(), teams: map[string]*teamView{}}
	if err := c.authenticate(); err != nil {
		return nil, err
	}
	op, err := c.route()
	if err != nil {
		return nil, err
	}
	if err := c.prepare(); err != nil {
		return nil, err
	}
	ans, err := op()
	c.auditDenied()
	return ans, err
}

// authenticate takes the one credential that SCIM has.
func (c *call) authenticate() error {
	refused := &problem{status: http.StatusUnauthorized, detail: "send a SCIM token: Authorization: Bearer gts_…"}
	h := c.r.Header
	list := h.Values("Authorization")
	refused.wrong = len(list)+len(h.Values("X-Api-Key")) > 0
	if len(list) != 1 || len(h.Values("X-Api-Key")) > 0 {
		return refused
	}
	scheme, token, _ := strings.Cut(list[0], " ")
	kind, ok := identity.ParseToken(token)
	if !strings.EqualFold(scheme, "Bearer") || !ok || kind != identity.TokenSCIM {
		return refused
	}
	directory, tokenID, err := c.opt.Authenticator.Authenticate(c.ctx, c.r)
	if err != nil {
		if identity.CodeOf(err).Status() >= http.StatusInternalServerError {
			return err // trouble of ours is not a wrong token
		}
		return refused
	}
	if directory == "" || c.directory != "" && c.directory != directory {
		return refused
	}
	c.directory, c.tokenID, c.manager = directory, tokenID, v1.ManagerSCIM(directory)
	return nil
}

// prepare reads what every operation needs. A body comes as slowly as its
// sender likes, so the token must still be good when it is there.
func (c *call) prepare() error {
	if c.id = c.w.Header().Get("X-Request-Id"); c.id == "" {
		c.id = c.opt.RequestID(c.r)
		c.w.Header().Set("X-Request-Id", c.id)
	}
	if a := c.opt.Addr(c.r); a.IsValid() {
		c.addr = a.String()
	}
	q, err := url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		return bad(invalidSyntax, "the query cannot be read")
	}
	c.query = q
	if c.dryRun, err = readDryRun(q, c.writes()); err != nil {
		return err
	}
	switch c.r.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch:
		if err := c.readBody(); err != nil {
			return err
		}
		if err := c.authenticate(); err != nil {
			return err
		}
	}
	c.r.Header.Del("Authorization")
	c.r.Header.Del("Cookie")
	c.view, err = readProjection(q.Get("attributes"), q.Get("excludedAttributes"))
	return err
}

// writes says whether the request is one that changes something: a search is
// sent by POST too (RFC 7644, 3.4.3).
func (c *call) writes() bool {
	return c.r.Method != http.MethodGet && !strings.HasSuffix(c.r.URL.Path, "/.search")
}

func (c *call) readBody() error {
	h := c.r.Header
	if e := h.Get("Content-Encoding"); e != "" && e != "identity" {
		return &problem{status: http.StatusUnsupportedMediaType, detail: "send the body without a Content-Encoding"}
	}
	if t := h.Get("Content-Type"); t != "" {
		media, _, err := mime.ParseMediaType(t)
		if err != nil || media != mediaType && media != "application/json" {
			return &problem{status: http.StatusUnsupportedMediaType, detail: "send " + mediaType}
		}
	}
	data, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, maxBody))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return &problem{status: http.StatusRequestEntityTooLarge, detail: "the body is larger than 1 MiB"}
	}
	if err != nil {
		return bad(invalidSyntax, "the body ended early")
	}
	c.body, err = readObject(data)
	return err
}

// methods are the operations of one address.
type methods map[string]func() (*answer, error)

// route finds the operation; what it returns is run once the body is there.
func (c *call) route() (func() (*answer, error), error) {
	parts, err := segments(c.r.URL)
	if err != nil {
		return nil, err
	}
	m := c.methods(parts)
	if m == nil {
		return nil, &problem{status: http.StatusNotFound, detail: "there is no such endpoint"}
	}
	op, ok := m[c.r.Method]
	if !ok {
		allowed := make([]string, 0, len(m))
		for k := range m {
			allowed = append(allowed, k)
		}
		slices.Sort(allowed)
		return nil, &problem{status: http.StatusMethodNotAllowed, detail: "this method is not for this endpoint", allow: strings.Join(allowed, ", ")}
	}
	return op, nil
}

// segments splits the path after Root; what is encoded in a segment stays in it.
func segments(u *url.URL) ([]string, error) {
	rest, ok := strings.CutPrefix(u.EscapedPath(), Root)
	if !ok || rest != "" && rest[0] != '/' {
		return nil, absent("endpoint")
	}
	parts := strings.Split(strings.Trim(rest, "/"), "/")
	for i, p := range parts {
		plain, err := url.PathUnescape(p)
		if err != nil || strings.ContainsAny(plain, "/\\") || plain == "." || plain == ".." {
			return nil, absent("endpoint")
		}
		parts[i] = plain
	}
	return parts, nil
}

func (c *call) methods(parts []string) methods {
	name, id := parts[0], ""
	if len(parts) > 2 {
		return nil
	}
	if len(parts) == 2 {
		id = parts[1]
	}
	switch {
	case name == "Users" && len(parts) == 1:
		return methods{"GET": c.listUsers, "POST": c.createUser}
	case name == "Users" && id == ".search":
		return methods{"POST": c.searchUsers}
	case name == "Users":
		return methods{
			"GET": with(c.getUser, id), "PUT": with(c.putUser, id), "PATCH": with(c.patchUser, id), "DELETE": with(c.deleteUser, id),
		}
	case name == "Groups" && len(parts) == 1:
		return methods{"GET": c.listGroups, "POST": c.createGroup}
	case name == "Groups" && id == ".search":
		return methods{"POST": c.searchGroups}
	case name == "Groups":
		return methods{
			"GET": with(c.getGroup, id), "PUT": with(c.putGroup, id), "PATCH": with(c.patchGroup, id), "DELETE": with(c.deleteGroup, id),
		}
	case len(parts) == 1:
		return c.otherMethods(name)
	case name == "Schemas":
		return methods{"GET": with(c.getSchema, id)}
	case name == "ResourceTypes":
		return methods{"GET": with(c.getResourceType, id)}
	default:
		return nil
	}
}

func (c *call) otherMethods(name string) methods {
	switch name {
	case ".search":
		return methods{"POST": c.searchAll}
	case "Schemas":
		return methods{"GET": c.listSchemas}
	case "ResourceTypes":
		return methods{"GET": c.listResourceTypes}
	case "ServiceProviderConfig":
		return methods{"GET": c.serviceProviderConfig}
	case "Me":
		return methods{"GET": notImplemented, "POST": notImplemented, "PUT": notImplemented, "PATCH": notImplemented, "DELETE": notImplemented}
	case "Bulk":
		return methods{"POST": notImplemented}
	default:
		return nil
	}
}

func with(op func(string) (*answer, error), id string) func() (*answer, error) {
	return func() (*answer, error) { return op(id) }
}

func notImplemented() (*answer, error) {
	return nil, &problem{status: http.StatusNotImplemented, detail: "this server does not do that; see ServiceProviderConfig"}
}

// location is the URI of a resource.
func (c *call) location(t *resourceType, id string) string {
	return c.opt.BaseURL + Root + t.Endpoint + "/" + url.PathEscape(id)
}

// entry begins an audit entry of the directory.
func (c *call) entry(action, target string, before, after any) record.AuditEntry {
	return record.AuditEntry{
		Actor: c.manager, Via: identity.TokenSCIM.String(), TokenID: c.tokenID, RemoteAddr: c.addr, RequestID: c.id,
		Action: action, Target: target, Before: asJSON(before), After: asJSON(after), Outcome: "done",
	}
}

// asJSON never fails: everything given is data.
func asJSON(v any) json.RawMessage {
	if v == nil {
		return nil
	}
	j, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	return j
}

// commit writes a batch; one that takes something away is live on return.
func (c *call) commit(b *record.Batch, takes bool) error {
	head, err := c.opt.Writer.Commit(c.ctx, b)
	if err == nil && takes {
		c.opt.Await(c.ctx, head)
	}
	return err
}

// ifMatch looks at the request's preconditions (RFC 7644, 3.14); the tags are
// weak, and compared weakly.
func (c *call) ifMatch(version string) error {
	if v := c.r.Header.Values("If-Match"); len(v) > 0 && !matches(v, version) {
		return stale()
	}
	return nil
}

func matches(headers []string, version string) bool {
	for tag := range strings.SplitSeq(strings.Join(headers, ","), ",") {
		tag = strings.TrimSpace(tag)
		if tag == "*" || strings.TrimPrefix(tag, "W/") == strings.TrimPrefix(version, "W/") {
			return true
		}
	}
	return false
}

// show answers with one resource.
func (c *call) show(status int, t *resourceType, doc map[string]any, version string) *answer {
	id, _ := doc["id"].(string)
	return &answer{status: status, body: c.view.apply(t, doc), location: c.location(t, id), version: version}
}

// fresh answers 304 to whoever has the version already.
func (c *call) fresh(version string) (*answer, bool) {
	if v := c.r.Header.Values("If-None-Match"); len(v) > 0 && matches(v, version) {
		return &answer{status: http.StatusNotModified, version: version}, true
	}
	return nil, false
}
