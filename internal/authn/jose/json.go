package jose

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

const (
	maxDepth = 32
	// mostMembers is for how many members room is made beforehand.
	mostMembers = 32
)

// decodeObject reads one JSON object strictly: valid UTF-8, no member twice at any level (after unescaping: RFC 7515
// section 4 and RFC 7519 section 4 leave a choice, and two readers choosing differently is an attack), no trailing
// data, no string that a decoder had to repair, numbers kept as they were written.
//
// It is a reader of its own, since encoding/json would have to be asked token by token to see members that stand
// twice, which costs more than the verification of a signature. FuzzDecodeObject holds it to encoding/json: it reads
// what that reads, and refuses nothing else than what is named here. The strings of the result lie in text.
func decodeObject(text string) (map[string]any, error) {
	if !utf8.ValidString(text) {
		return nil, errors.New("not UTF-8")
	}
	r := reader{text: text}
	if r.skip() != '{' {
		return nil, errors.New("not a JSON object")
	}
	object, err := r.object(1)
	if err != nil {
		return nil, err
	}
	r.skip()
	if r.at < len(r.text) {
		return nil, errNotJSON
	}
	return object, nil
}

var (
	errNotJSON = errors.New("not JSON")
	errUnicode = errors.New("a string is not valid Unicode")
)

// reader walks over JSON text (RFC 8259) that is valid UTF-8.
type reader struct {
	text string
	at   int
}

// peek is the next byte; 0, which no JSON has outside of what is skipped over, at the end.
func (r *reader) peek() byte {
	if r.at < len(r.text) {
		return r.text[r.at]
	}
	return 0
}

// skip goes on to the next byte that is no white space, and returns it as peek does.
func (r *reader) skip() byte {
	for r.at < len(r.text) {
		switch c := r.text[r.at]; c {
		case ' ', '\t', '\r', '\n':
			r.at++
		default:
			return c
		}
	}
	return 0
}

// first enters a collection: it passes the bracket and, where nothing is in the collection, the closing one.
func (r *reader) first(closing byte) (more bool) {
	r.at++
	if r.skip() == closing {
		r.at++
		return false
	}
	return true
}

// more passes the comma before the next entry, or what closes the collection.
func (r *reader) more(closing byte) (bool, error) {
	switch r.skip() {
	case closing:
		r.at++
		return false, nil
	case ',':
		r.at++
		r.skip()
		return true, nil
	}
	return false, errNotJSON
}

func (r *reader) object(depth int) (map[string]any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nested deeper than %d", maxDepth)
	}
	size := 0
	if depth == 1 { // what grows step by step is made several times
		size = min(strings.Count(r.text, ":"), mostMembers)
	}
	object := make(map[string]any, size)
	for more := r.first('}'); more; {
		if r.peek() != '"' {
			return nil, errNotJSON
		}
		name, err := r.str()
		if err != nil {
			return nil, err
		}
		if r.skip() != ':' {
			return nil, errNotJSON
		}
		r.at++
		v, err := r.value(depth)
		if err != nil {
			return nil, err
		}
		before := len(object)
		if object[name] = v; len(object) == before {
			return nil, fmt.Errorf("member %.40q stands twice", name)
		}
		if more, err = r.more('}'); err != nil {
			return nil, err
		}
	}
	return object, nil
}

func (r *reader) list(depth int) ([]any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nested deeper than %d", maxDepth)
	}
	list := []any{}
	for more := r.first(']'); more; {
		v, err := r.value(depth)
		if err != nil {
			return nil, err
		}
		if len(list) == 0 {
			list = make([]any, 0, 4)
		}
		list = append(list, v)
		if more, err = r.more(']'); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func (r *reader) value(depth int) (any, error) {
	switch r.skip() {
	case '{':
		return r.object(depth + 1)
	case '[':
		return r.list(depth + 1)
	case '"':
		return r.str()
	case 't':
		return true, r.word("true")
	case 'f':
		return false, r.word("false")
	case 'n':
		return nil, r.word("null")
	}
	return r.number()
}

func (r *reader) word(w string) error {
	if !strings.HasPrefix(r.text[r.at:], w) {
		return errNotJSON
	}
	r.at += len(w)
	return nil
}

// number is RFC 8259 section 6.
func (r *reader) number() (json.Number, error) {
	from := r.at
	if r.peek() == '-' {
		r.at++
	}
	if r.peek() == '0' {
		r.at++
	} else if !r.digits() {
		return "", errNotJSON
	}
	if r.peek() == '.' {
		r.at++
		if !r.digits() {
			return "", errNotJSON
		}
	}
	if c := r.peek(); c == 'e' || c == 'E' {
		r.at++
		if c := r.peek(); c == '+' || c == '-' {
			r.at++
		}
		if !r.digits() {
			return "", errNotJSON
		}
	}
	return json.Number(r.text[from:r.at]), nil
}

// digits passes one digit or more.
func (r *reader) digits() bool {
	from := r.at
	for r.at < len(r.text) && r.text[r.at] >= '0' && r.text[r.at] <= '9' {
		r.at++
	}
	return r.at > from
}

// str reads a string from its opening quote. encoding/json puts U+FFFD for half a surrogate pair, which would make two
// different subjects one.
func (r *reader) str() (string, error) {
	text, from := r.text, r.at
	i, escaped, high := from+1, false, byte(0)
	for ; i < len(text) && text[i] != '"'; i++ {
		c := text[i]
		if c < ' ' {
			return "", errNotJSON
		}
		if c == '\\' { // whatever follows is no end of the string; encoding/json judges it
			escaped = true
			i++
		}
		high |= c
	}
	if i >= len(text) {
		return "", errNotJSON
	}
	r.at = i + 1
	s := text[from+1 : i]
	if escaped {
		var err error
		if s, err = unquote(text[from:r.at]); err != nil {
			return "", err
		}
	}
	if (escaped || high >= utf8.RuneSelf) && strings.ContainsRune(s, utf8.RuneError) {
		return "", errUnicode
	}
	return s, nil
}

// unquote is by itself so that only a string with escapes costs an allocation.
func unquote(quoted string) (s string, err error) {
	if json.Unmarshal([]byte(quoted), &s) != nil {
		return "", errNotJSON
	}
	return s, nil
}
