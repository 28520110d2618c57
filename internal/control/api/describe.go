package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
)

// The description is what generated clients and testers hold us to: every
// status that an operation can answer with stands in it, and nothing that the
// server refuses passes its schemas where JSON Schema can say so.

func (a *API) description() *huma.OpenAPI {
	return &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info:    &huma.Info{Title: "Gatehouse control API", Version: "1"},
		Components: &huma.Components{
			Schemas: huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
			SecuritySchemes: map[string]*huma.SecurityScheme{
				"session": {Type: "apiKey", In: "cookie", Name: "__Host-gatehouse-session", Description: "A signed-in browser; what changes something must come from the same origin."},
				"bearer":  {Type: "http", Scheme: "bearer", Description: "A token of ours or of an identity provider."},
			},
		},
		Security: []map[string][]string{{"bearer": {}}, {"session": {}}},
	}
}

var pathParam = regexp.MustCompile(`\{([a-z]+)\}`)

const (
	namePattern  = `^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`
	emailPattern = `^[A-Za-z0-9_+-]+(\.[A-Za-z0-9_+-]+)*@[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$`
	// addressPattern is an address as sign-in takes it, whose labels are right by
	// IDNA (RFC 5891, 4.2.3.1), or a uid.
	addressPattern = `^([A-Za-z0-9_+-]+(\.[A-Za-z0-9_+-]+)*@[A-Za-z0-9]+(-[A-Za-z0-9]+)*(\.[A-Za-z0-9]+(-[A-Za-z0-9]+)*)*|[A-Za-z0-9-]{1,64})$`
	userPattern    = `^[A-Za-z0-9_+@-][A-Za-z0-9._+@-]{0,253}$`
	// tagPattern is one strong ETag of ours (RFC 9110, 8.8.3).
	tagPattern = `^"[0-9A-Za-z._:-]{1,128}"$`
)

func tagSchema() *huma.Schema {
	star := text()
	star.Enum = []any{"*"}
	return &huma.Schema{AnyOf: []*huma.Schema{star, patterned(tagPattern)}}
}

// paramSchema says what can stand in a path.
func paramSchema(op *operation, name string) *huma.Schema {
	s := text()
	switch name {
	case "name":
		if s.Pattern = namePattern; op.Kind != "" {
			return nameSchema(op.Kind)
		}
	case "id":
		s.Format = "uuid"
	case "user":
		s.Description = "An e-mail address or a uid."
		s.Pattern = userPattern
		if op.ID == "put-user" {
			most := 254
			s.Description, s.Pattern, s.MaxLength = "An e-mail address, or the uid of somebody who exists.", addressPattern, &most
		}
	}
	return s
}

func (a *API) schema(v any) *huma.Schema {
	return a.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeOf(v), true, "")
}

// asksFor says in words which permissions an operation asks for, and what
// stands in the audit.
func (op *operation) asksFor() string {
	s := fmt.Sprintf("Permission: %s (%s). Audit: %s.", op.Permission, op.On, op.AuditAction)
	for _, also := range op.Also {
		s += fmt.Sprintf(" Where it %s: %s; %s.", also.where, also.permission, also.auditAction)
	}
	return s
}

func (a *API) describeOperation(op *operation) *huma.Operation {
	h := &huma.Operation{
		OperationID: op.ID, Method: op.Method, Path: op.Path, Summary: op.Summary,
		Description: op.asksFor(),
		Parameters:  parameters(op), Responses: map[string]*huma.Response{},
	}
	if op.Body != nil {
		content := map[string]*huma.MediaType{formJSON: {Schema: a.schema(op.Body)}}
		if op.YAML {
			content[formYAML] = &huma.MediaType{Schema: manifestSchema(op.Kind)}
		}
		h.RequestBody = &huma.RequestBody{Required: true, Content: content}
	}
	done := &huma.Response{Description: http.StatusText(op.Status), Headers: headersOf(op.Status), Content: a.answerContent(op)}
	h.Responses[strconv.Itoa(op.Status)] = done
	if op.IfNoneMatch {
		h.Responses["201"] = &huma.Response{Description: "Created", Headers: headersOf(http.StatusCreated), Content: done.Content}
	}
	problem := map[string]*huma.MediaType{"application/problem+json": {Schema: a.schema(Problem{})}}
	for status, why := range refusalsOf(op) {
		h.Responses[strconv.Itoa(status)] = &huma.Response{Description: why, Headers: headersOf(status), Content: problem}
	}
	return h
}

func (a *API) answerContent(op *operation) map[string]*huma.MediaType {
	switch {
	case op.Form == formLines:
		return map[string]*huma.MediaType{formLines: {Schema: text()}}
	case op.Item != nil:
		return map[string]*huma.MediaType{formJSON: {Schema: a.listSchema(op.Item)}}
	case op.Answer == nil && op.Status == http.StatusOK:
		return map[string]*huma.MediaType{formJSON: {Schema: &huma.Schema{Type: huma.TypeObject}}}
	case op.Answer == nil:
		return nil
	}
	content := map[string]*huma.MediaType{formJSON: {Schema: a.answerSchema(op.Answer)}}
	if op.Manifest {
		content[formYAML] = &huma.MediaType{Schema: text()}
	}
	return content
}

// listSchema is a page of one kind.
func (a *API) listSchema(item any) *huma.Schema {
	least := 0.0
	name := reflect.TypeOf(item).Name() + "List"
	all := a.huma.OpenAPI().Components.Schemas
	all.Map()[name] = &huma.Schema{
		Type: huma.TypeObject, AdditionalProperties: false, Required: []string{"items", "total"},
		Properties: map[string]*huma.Schema{
			"items":      {Type: huma.TypeArray, Items: a.answerSchema(item)},
			"total":      {Type: huma.TypeInteger, Minimum: &least, Description: "Counts what the caller may read and the filter matches."},
			"nextCursor": {Type: huma.TypeString, Description: "Leads to the next page; absent at the end."},
		},
	}
	return &huma.Schema{Ref: "#/components/schemas/" + name}
}

func parameters(op *operation) []*huma.Param {
	var list []*huma.Param
	for _, m := range pathParam.FindAllStringSubmatch(op.Path, -1) {
		list = append(list, &huma.Param{Name: m[1], In: "path", Required: true, Schema: paramSchema(op, m[1])})
	}
	for _, q := range op.Query {
		list = append(list, &huma.Param{Name: q.name, In: "query", Description: q.description, Schema: q.schema})
	}
	if op.IfMatch {
		list = append(list, &huma.Param{
			Name: "If-Match", In: "header", Schema: tagSchema(),
			Description: "The ETag of what is meant, or * for any.",
		})
	}
	if op.IfNoneMatch {
		star := text()
		star.Enum = []any{"*"}
		list = append(list, &huma.Param{Name: "If-None-Match", In: "header", Schema: star, Description: "Only create. Not with If-Match."})
	}
	return list
}

// refusalsOf says why an operation may be refused, by status. 405 is of a
// path's other methods, and 500 would be a mistake of ours.
func refusalsOf(op *operation) map[int]string {
	out := map[int]string{
		http.StatusBadRequest:         "The request is not right.",
		http.StatusUnauthorized:       "We do not know who is asking (RFC 6750).",
		http.StatusForbidden:          "We know who is asking, and the answer is no.",
		http.StatusServiceUnavailable: "Something that we depend on is away.",
	}
	_, aboutUser := op.parameter("user")
	if strings.Contains(op.Path, "{") || aboutUser || op.YAML {
		out[http.StatusNotFound] = "It is not there, or the caller may not see it."
	}
	if op.Method != http.MethodGet || op.ID == "export-audit" {
		out[http.StatusConflict] = "It contradicts what is there, or belongs to another manager."
	}
	if op.IfMatch || op.IfNoneMatch || op.YAML { // a manifest says which version it is based on
		out[http.StatusPreconditionFailed] = "It is not as the precondition says."
	}
	if op.IfNoneMatch && op.YAML {
		out[http.StatusPreconditionRequired] = "It exists: say with If-Match which version is replaced."
	}
	if op.Body != nil {
		out[http.StatusRequestEntityTooLarge] = "The body is too large."
		out[http.StatusUnsupportedMediaType] = "The body has a media type that is not read here."
	}
	return out
}

func (op *operation) parameter(name string) (query, bool) {
	for _, q := range op.Query {
		if q.name == name {
			return q, true
		}
	}
	return query{}, false
}

// headersOf are the headers of answers with a status.
func headersOf(status int) map[string]*huma.Param {
	out := map[string]*huma.Param{
		"X-Request-Id":  {Description: "Leads to the log and the audit.", Required: true, Schema: word(128)},
		"Cache-Control": {Required: true, Schema: &huma.Schema{Type: huma.TypeString, Enum: []any{"no-store"}}},
	}
	switch {
	case status == http.StatusBadRequest:
		// What is not HTTP as we want it may be refused at the door.
		out["X-Request-Id"].Required, out["Cache-Control"].Required = false, false
	case status < 300:
		out["ETag"] = &huma.Param{Description: "The version, where one thing is answered.", Schema: patterned(tagPattern)}
		out["X-Gatehouse-Warning"] = &huma.Param{Description: "Something means less than it seems.", Schema: text()}
	case status == http.StatusUnauthorized:
		out["WWW-Authenticate"] = &huma.Param{Required: true, Schema: patterned(`^Bearer `)}
	case status == http.StatusServiceUnavailable:
		out["Retry-After"] = &huma.Param{Description: "Seconds.", Schema: patterned(`^[0-9]+$`)}
	}
	return out
}

// describe writes the description once every operation is there.
func (a *API) describe() error {
	schemas := a.huma.OpenAPI().Components.Schemas
	r := refiner{all: schemas.Map(), done: map[string]bool{}}
	for _, op := range a.ops {
		for _, v := range []any{op.Body, op.Answer, op.Item} {
			if v != nil {
				r.refine(reflect.TypeOf(v))
			}
		}
	}
	r.refine(reflect.TypeFor[Problem]())
	for _, k := range v1.Kinds() {
		r.kind(k)
	}
	if err := r.exact(); err != nil {
		return err
	}
	var err error
	if a.openapi, err = json.Marshal(a.huma.OpenAPI()); err != nil {
		return fmt.Errorf("control API: describe: %w", err)
	}
	return nil
}
