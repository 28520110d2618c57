package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf8"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
)

// DecodeJSON reads one resource of a kind from the body of a request, by the
// rules of JSON and of manifests: unknown fields, a member twice and wrong
// types are errors. apiVersion and kind may be left out. Defaults are filled
// in and the result is validated; metadata that Gatehouse sets is dropped,
// except resourceVersion. An error is an Errors, whose Fields are for the answer.
func DecodeJSON(kind v1.Kind, body []byte) (v1.Resource, error) {
	d, errs := decodeBody(body, kind)
	if len(errs) > 0 {
		return nil, errs.sorted().limited()
	}
	return d.Resource, nil
}

// Decode is DecodeJSON for a body that says itself what it is.
func Decode(body []byte) (v1.Resource, error) {
	d, errs := decodeBody(body, "")
	if len(errs) > 0 {
		return nil, errs.sorted().limited()
	}
	return d.Resource, nil
}

func decodeBody(body []byte, kind v1.Kind) (Document, Errors) {
	if len(body) > maxFile {
		return Document{}, Errors{position{1, 1}.errorf("the body is larger than 1 MiB")}
	}
	root, errs := parseJSON(body)
	if len(errs) > 0 {
		return Document{}, errs
	}
	return build("", root, kind)
}

// looksLikeJSON reports whether a file is JSON: by its name, or because it is.
func looksLikeJSON(file, text string) bool {
	if strings.HasSuffix(file, ".json") {
		return true
	}
	t := strings.TrimLeft(text, " \t\n")
	return (strings.HasPrefix(t, "{") || strings.HasPrefix(t, "[")) && json.Valid([]byte(t))
}

type jsonParser struct {
	data []byte
	dec  *json.Decoder
	errs Errors

	values int
	seen   int // bytes of data that at has counted
	at     position
}

// parseJSON makes a tree of one JSON text (RFC 8259).
func parseJSON(data []byte) (*node, Errors) {
	p := &jsonParser{data: data, at: position{1, 1}}
	if i := invalidUTF8(data); i >= 0 {
		return nil, Errors{p.position(i).errorf("this is not UTF-8")}
	}
	// The decoder below reads token by token and lets some mistakes pass, so
	// the whole is checked first.
	var raw json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil {
		offset := int64(len(data))
		if se, ok := errors.AsType[*json.SyntaxError](err); ok && !strings.HasPrefix(se.Error(), "unexpected end") {
			offset = max(0, se.Offset-1)
		}
		return nil, Errors{p.position(int(offset)).errorf("this is not JSON: %s", jsonMessage(err))}
	}
	p.dec = json.NewDecoder(bytes.NewReader(data))
	p.dec.UseNumber()
	n, e := p.value(0)
	if e != nil {
		return nil, append(p.errs, *e)
	}
	return n, p.errs
}

func jsonMessage(err error) string {
	if strings.HasPrefix(err.Error(), "unexpected end") {
		return "it ends too early"
	}
	return err.Error()
}

func invalidUTF8(data []byte) int {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return -1
}

// position returns the place of a byte. Calls must not go backwards.
func (p *jsonParser) position(offset int) position {
	for p.seen < offset && p.seen < len(p.data) {
		r, size := utf8.DecodeRune(p.data[p.seen:])
		p.seen += size
		p.at.column++
		if r == '\n' {
			p.at = position{p.at.line + 1, 1}
		}
	}
	return p.at
}

// token returns the next token, its place and its bytes.
func (p *jsonParser) token() (json.Token, position, []byte) {
	start := int(p.dec.InputOffset())
	for start < len(p.data) && strings.IndexByte(" \t\r\n:,", p.data[start]) >= 0 {
		start++
	}
	t, err := p.dec.Token()
	if err != nil {
		t = nil // the text is valid, as was checked; null is the closest thing
	}
	return t, p.position(start), p.data[start:p.dec.InputOffset()]
}

func (p *jsonParser) value(depth int) (*node, *Error) {
	t, at, raw := p.token()
	if p.values++; p.values > maxValues {
		e := at.errorf("there are more than %d values; send less at once", maxValues)
		return nil, &e
	}
	n := &node{pos: at}
	switch v := t.(type) {
	case nil:
	case bool:
		n.kind, n.text = boolNode, string(raw)
	case json.Number:
		n.kind, n.text = intNode, v.String()
		if strings.ContainsAny(n.text, ".eE") {
			n.kind = floatNode
		}
	case string:
		n.kind, n.text = stringNode, v
		if loneSurrogate(v, raw) {
			e := at.errorf("the string holds half of a surrogate pair")
			return nil, &e
		}
	case json.Delim:
		if depth++; depth > maxDepth {
			e := at.errorf("nested more than %d levels deep", maxDepth)
			return nil, &e
		}
		if v == '{' {
			n.kind = mapNode
			return n, p.members(n, depth)
		}
		n.kind = listNode
		for p.dec.More() {
			item, e := p.value(depth)
			if e != nil {
				return nil, e
			}
			n.items = append(n.items, item)
		}
		p.token()
	}
	return n, nil
}

func (p *jsonParser) members(n *node, depth int) *Error {
	for p.dec.More() {
		t, at, raw := p.token()
		key, _ := t.(string)
		if loneSurrogate(key, raw) {
			e := at.errorf("the key holds half of a surrogate pair")
			return &e
		}
		if len(key) > maxKey {
			e := at.errorf("a key has more than %d bytes", maxKey)
			return &e
		}
		value, e := p.value(depth)
		if e != nil {
			return e
		}
		before, twice := n.add(member{key: key, pos: at, value: value})
		if twice && !p.errs.full() {
			p.errs = append(p.errs, at.errorf("the key %q stands here twice, first at %s", key, before))
		}
	}
	p.token()
	return nil
}

// loneSurrogate reports whether a string was written with half of a surrogate
// pair, which encoding/json replaces: two different keys would become equal.
func loneSurrogate(s string, raw []byte) bool {
	return strings.ContainsRune(s, utf8.RuneError) && bytes.Contains(bytes.ToLower(raw), []byte(`\ud`))
}
