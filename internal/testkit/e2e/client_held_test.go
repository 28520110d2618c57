package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
)

// exchange is one request of the client's, and the whole answer.
type exchange struct {
	method, path, form string
	query              url.Values
	sent               []byte
	status             int
	answerForm         string
	answer             []byte
}

// overhearing keeps what the client and the server said to each other last.
type overhearing struct{ last exchange }

func (o *overhearing) RoundTrip(r *http.Request) (*http.Response, error) {
	sent, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Body = io.NopCloser(bytes.NewReader(sent))
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	answer, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if err != nil {
		return nil, err
	}
	res.Body = io.NopCloser(bytes.NewReader(answer))
	o.last = exchange{r.Method, r.URL.Path, mediaOf(r.Header), r.URL.Query(), sent, res.StatusCode, mediaOf(res.Header), answer}
	return res, nil
}

func mediaOf(h http.Header) string {
	media, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
	return media
}

// described is as much of an OpenAPI description as a client is held to.
type described struct {
	Paths      map[string]map[string]*operation `json:"paths"`
	Components struct {
		Schemas map[string]schema `json:"schemas"`
	} `json:"components"`
}

type operation struct {
	Parameters  []struct{ Name, In string }
	RequestBody struct{ Content content }
	Responses   map[string]struct{ Content content }

	asked, told map[string]bool // the query's and the body's names that were sent
}

type content map[string]struct{ Schema schema }

type schema struct {
	Ref        string            `json:"$ref"`
	Properties map[string]schema `json:"properties"`
	Items      *schema           `json:"items"`
}

// operation finds what was called. A path without a parameter goes before one
// with.
func (d *described) operation(method, path string) *operation {
	var found *operation
	for template, methods := range d.Paths {
		op := methods[strings.ToLower(method)]
		if op == nil {
			continue
		}
		if template == path {
			return op
		}
		parts, segments := strings.Split(template, "/"), strings.Split(path, "/")
		if slices.EqualFunc(parts, segments, func(a, b string) bool { return a == b || strings.HasPrefix(a, "{") }) {
			found = op
		}
	}
	return found
}

func (d *described) resolve(s schema) schema {
	for s.Ref != "" {
		s = d.Components.Schemas[strings.TrimPrefix(s.Ref, "#/components/schemas/")]
	}
	return s
}

// hold holds one call to its description and to its answer: nothing is sent
// that is not described, and everything that was answered has come out.
func (d *described) hold(t *testing.T, x exchange, got any) {
	t.Helper()
	op := d.operation(x.method, x.path)
	if op == nil {
		t.Errorf("%s %s is not described", x.method, x.path)
		return
	}
	d.holdRequest(t, op, &x)
	if got == nil {
		if len(x.answer) > 0 || x.status != http.StatusNoContent {
			t.Errorf("%d %s is handed to nobody", x.status, x.answer)
		}
		return
	}
	var answer any
	if err := json.Unmarshal(x.answer, &answer); err != nil {
		t.Fatalf("%v: %s", err, x.answer)
	}
	s := d.resolve(op.Responses[strconv.Itoa(x.status)].Content["application/json"].Schema)
	if list := reflect.ValueOf(got); list.Kind() == reflect.Slice {
		page := answer.(map[string]any)
		answer, s = page["items"], s.Properties["items"]
		for _, known := range []string{"items", "total", "nextCursor"} {
			delete(page, known)
		}
		if len(page) > 0 || list.Len() == 0 {
			t.Errorf("a page with %v, and %d items", page, list.Len())
		}
	}
	within(t, x.path, answer, asAny(t, got))
	if kind := reflect.TypeOf(got); !kind.Implements(reflect.TypeFor[v1.Resource]()) && kind != reflect.TypeFor[[]v1.Resource]() {
		d.same(t, x.path, s, kind)
	}
}

func (d *described) holdRequest(t *testing.T, op *operation, x *exchange) {
	t.Helper()
	if op.asked == nil {
		op.asked, op.told = map[string]bool{}, map[string]bool{}
	}
	for name := range x.query {
		op.asked[name] = true
	}
	if x.form == "application/json" {
		var sent map[string]any
		if err := json.Unmarshal(x.sent, &sent); err != nil {
			t.Fatal(err)
		}
		for name := range sent {
			op.told[name] = true
		}
	}
}

// holdAll holds all calls together to what can be sent: each parameter and each
// member of a body was sent once at least.
func (d *described) holdAll(t *testing.T) {
	t.Helper()
	for path, methods := range d.Paths {
		for method, op := range methods {
			if op.asked == nil {
				continue
			}
			queries := map[string]bool{}
			for _, p := range op.Parameters {
				// The next page is asked for in the client's own tests.
				if p.In == "query" && (p.Name != "cursor" || op.asked["cursor"]) {
					queries[p.Name] = true
				}
			}
			sameNames(t, method+" "+path+": the query", op.asked, queries)
			if len(op.told) == 0 || op.told["apiVersion"] { // a manifest is api/v1's
				continue
			}
			members := map[string]bool{}
			for name := range d.resolve(op.RequestBody.Content["application/json"].Schema).Properties {
				members[name] = true
			}
			sameNames(t, method+" "+path+": the body", op.told, members)
		}
	}
}

func sameNames(t *testing.T, where string, got, want map[string]bool) {
	t.Helper()
	if !maps.Equal(got, want) {
		t.Errorf("%s has %v, and is described with %v", where, slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
}

// within asks that everything that was answered stands in what came out.
func within(t *testing.T, where string, answer, got any) {
	t.Helper()
	switch want := answer.(type) {
	case map[string]any:
		have, _ := got.(map[string]any)
		for name, v := range want {
			if _, ok := have[name]; !ok {
				t.Errorf("%s: %s (%v) is lost", where, name, v)
				continue
			}
			within(t, where+" "+name, v, have[name])
		}
	case []any:
		have, _ := got.([]any)
		if len(have) != len(want) {
			t.Errorf("%s: %d of %d come out", where, len(have), len(want))
			return
		}
		for i := range want {
			within(t, where, want[i], have[i])
		}
	default:
		if got != answer && got != "[redacted]" {
			t.Errorf("%s: %v came out as %v", where, answer, got)
		}
	}
}

func asAny(t *testing.T, v any) (out any) {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// same asks that a type of the client's has the fields that are described, no
// more and no fewer, however seldom one is sent.
func (d *described) same(t *testing.T, where string, s schema, typ reflect.Type) {
	t.Helper()
	s = d.resolve(s)
	switch {
	case typ.Kind() == reflect.Pointer:
		d.same(t, where, s, typ.Elem())
	case typ.Kind() == reflect.Slice && s.Items != nil:
		d.same(t, where, *s.Items, typ.Elem())
	case typ.Kind() == reflect.Struct && typ != reflect.TypeFor[time.Time]():
		have, want := map[string]bool{}, map[string]bool{}
		for _, f := range reflect.VisibleFields(typ) {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if f.Anonymous || name == "-" {
				continue
			}
			have[name] = true
			d.same(t, where+" "+name, s.Properties[name], f.Type)
		}
		for name := range s.Properties {
			want[name] = true
		}
		sameNames(t, where+": "+typ.String(), have, want)
	}
}
