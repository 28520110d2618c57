package jose

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

const maxDepth = 32

// decodeObject reads one JSON object strictly: valid UTF-8, no member twice at any level (after unescaping: RFC 7515
// section 4 and RFC 7519 section 4 leave a choice, and two readers choosing differently is an attack), no trailing
// data, no string that a decoder had to repair, numbers kept as they were written.
//
// encoding/json says first whether it is JSON at all; what follows relies on that. Its own decoder would be asked
// token by token to see members that stand twice, which costs several times the verification of a signature.
func decodeObject(data []byte) (map[string]any, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("not UTF-8")
	}
	if !json.Valid(data) {
		return nil, errors.New("not JSON")
	}
	r := reader{text: string(data)}
	if r.skip(); r.text[r.at] != '{' {
		return nil, errors.New("not a JSON object")
	}
	return r.object(1)
}

// reader walks over text that is known to be valid JSON.
type reader struct {
	text string
	at   int
}

// skip goes on to the next byte that is no white space.
func (r *reader) skip() {
	for r.at < len(r.text) && strings.IndexByte(" \t\r\n", r.text[r.at]) >= 0 {
		r.at++
	}
}

// more passes the comma before the next entry, or what closes the collection.
func (r *reader) more(closing byte) bool {
	r.skip()
	switch r.text[r.at] {
	case closing:
		r.at++
		return false
	case ',':
		r.at++
		r.skip()
	}
	return true
}

func (r *reader) object(depth int) (map[string]any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nested deeper than %d", maxDepth)
	}
	r.at++ // the brace
	object := map[string]any{}
	for r.more('}') {
		name, err := r.str()
		if err != nil {
			return nil, errors.New("a member name is not valid Unicode")
		}
		if _, twice := object[name]; twice {
			return nil, fmt.Errorf("member %.40q stands twice", name)
		}
		r.skip()
		r.at++ // the colon
		if object[name], err = r.value(depth); err != nil {
			return nil, err
		}
	}
	return object, nil
}

func (r *reader) list(depth int) ([]any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nested deeper than %d", maxDepth)
	}
	r.at++ // the bracket
	list := []any{}
	for r.more(']') {
		v, err := r.value(depth)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

func (r *reader) value(depth int) (any, error) {
	r.skip()
	switch r.text[r.at] {
	case '{':
		return r.object(depth + 1)
	case '[':
		return r.list(depth + 1)
	case '"':
		return r.str()
	}
	from := r.at
	for r.at < len(r.text) && strings.IndexByte(",]} \t\r\n", r.text[r.at]) < 0 {
		r.at++
	}
	switch literal := r.text[from:r.at]; literal {
	case "true":
		return true, nil
	case "false":
		return false, nil
	case "null":
		return nil, nil
	default:
		return json.Number(literal), nil
	}
}

// str reads a string. encoding/json puts U+FFFD for half a surrogate pair, which would make two different subjects one.
func (r *reader) str() (string, error) {
	from := r.at
	escaped := false
	for r.at++; r.text[r.at] != '"'; r.at++ {
		if r.text[r.at] == '\\' {
			escaped = true
			r.at++
		}
	}
	r.at++
	s := r.text[from+1 : r.at-1]
	if escaped {
		if err := json.Unmarshal([]byte(r.text[from:r.at]), &s); err != nil {
			return "", err
		}
	}
	if strings.ContainsRune(s, utf8.RuneError) {
		return "", errors.New("a string is not valid Unicode")
	}
	return s, nil
}
