package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// The forms of a body.
const (
	formJSON = "application/json"
	formYAML = "application/yaml"
)

// sent is what a body was, or why it cannot be read.
type sent struct {
	data []byte
	form string
	err  error
}

// bodyTime is how long a body may take: maxBody over a slow line.
const bodyTime = time.Minute

// receive reads the body. What is wrong with it is said when it is asked for,
// so that it is not said to somebody who may do nothing here.
func (c *call) receive() {
	if c.sent.form, c.sent.err = bodyForm(c.r.Header); c.sent.err != nil {
		return
	}
	// Not every kind of connection has deadlines; the limit of size remains.
	conn := http.NewResponseController(c.w)
	_ = conn.SetReadDeadline(time.Now().Add(bodyTime))
	data, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, maxBody))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		c.sent.err = identity.Errorf(identity.CodeBodyTooLarge, "the body is larger than %d MiB", maxBody>>20)
		return
	}
	if err != nil {
		c.sent.err = identity.Wrap(identity.CodeInvalidRequest, err, "the body could not be read")
		return
	}
	_ = conn.SetReadDeadline(time.Time{})
	c.sent.data = data
}

// body returns the body, and in which form it is.
func (c *call) body() (data []byte, form string, err error) {
	return c.sent.data, c.sent.form, c.sent.err
}

func bodyForm(h http.Header) (string, error) {
	if e := h.Get("Content-Encoding"); e != "" && e != "identity" {
		return "", identity.Errorf(identity.CodeUnsupportedMediaType, "send the body without a Content-Encoding")
	}
	if h.Get("Content-Type") == "" {
		return formJSON, nil
	}
	media, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	switch {
	case err != nil:
	case media == formJSON:
		return formJSON, nil
	case media == formYAML, media == "application/x-yaml", media == "text/yaml", media == "text/x-yaml":
		return formYAML, nil
	}
	return "", identity.Errorf(identity.CodeUnsupportedMediaType, "send application/json, or application/yaml where manifests are meant")
}

// decode reads a JSON body strictly: nothing unknown, nothing twice, nothing after it.
func (c *call) decode(into any) error {
	data, form, err := c.body()
	if err != nil {
		return err
	}
	if form != formJSON {
		return identity.Errorf(identity.CodeUnsupportedMediaType, "send application/json")
	}
	return strictJSON(data, into)
}

func strictJSON(data []byte, into any) error {
	if !utf8.Valid(data) { // RFC 8259, 8.1; encoding/json would put U+FFFD in its place
		return identity.Errorf(identity.CodeInvalidRequest, "the body is not UTF-8")
	}
	if err := unambiguous(json.NewDecoder(bytes.NewReader(data)), 0); err != nil {
		return err
	}
	if text := bytes.TrimLeft(data, " \t\r\n"); len(text) == 0 || text[0] != '{' {
		return identity.Errorf(identity.CodeInvalidRequest, "the body must be a JSON object")
	}
	if err := exactMembers(data, reflect.TypeOf(into)); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return notJSON(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return identity.Errorf(identity.CodeInvalidRequest, "there is something after the JSON text")
	}
	return nil
}

// exactMembers refuses members that encoding/json would take for a field
// because it differs in case only, and null, which it would take for a field
// that was left out.
func exactMembers(data []byte, t reflect.Type) error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	var members map[string]json.RawMessage
	if err := json.NewDecoder(bytes.NewReader(data)).Decode(&members); err != nil {
		return notJSON(err)
	}
	known := map[string]bool{}
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		known[name] = true
	}
	for name, v := range members {
		switch {
		case !known[name]:
			return identity.Errorf(identity.CodeInvalidRequest, "there is no field %q", shorten(name))
		case string(v) == "null":
			return identity.Errorf(identity.CodeInvalidRequest, "the field %s is null; leave it out", name)
		}
	}
	return nil
}

// notJSON says what is wrong without repeating what was sent.
func notJSON(err error) error {
	e := identity.Wrap(identity.CodeInvalidRequest, err, "the body is not the JSON that is expected here")
	if t, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		e.Message = "the field " + t.Field + " must be " + jsonType(t.Type)
	} else if rest, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		e.Message = "there is no field " + rest
	}
	return e
}

// jsonType names what a Go type is in JSON.
func jsonType(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a string"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "an object"
	default:
		return "a number"
	}
}

// unambiguous refuses an object with two members that encoding/json would take
// for one another.
func unambiguous(d *json.Decoder, depth int) error {
	t, err := d.Token()
	if err != nil {
		return notJSON(err)
	}
	open, ok := t.(json.Delim)
	if !ok {
		return nil
	}
	if depth > 64 {
		return identity.Errorf(identity.CodeInvalidRequest, "the body is nested too deep")
	}
	seen := map[string]bool{}
	for d.More() {
		if open == '{' {
			k, err := d.Token()
			if err != nil {
				return notJSON(err)
			}
			key, _ := k.(string)
			// Upper, then lower: the folding of encoding/json knows ſ and K (kelvin).
			folded := strings.ToLower(strings.ToUpper(key))
			if seen[folded] {
				return identity.Errorf(identity.CodeAmbiguousBody, "a field stands in the body twice")
			}
			seen[folded] = true
		}
		if err := unambiguous(d, depth+1); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return notJSON(err)
	}
	return nil
}
