package claims

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrPath is wrapped by every error of Parse.
var ErrPath = errors.New("invalid claim path")

// Path says where in the claims a value stands. The zero Path finds nothing.
type Path struct {
	text   string
	tokens []string // the members and indexes to go through
}

// Parse reads a path as it is written in a manifest.
//
// Without a leading slash it is the name of a top-level claim, taken literally:
// "groups", "https://acme.example/roles", "a.b". With one it is a JSON Pointer
// (RFC 6901): "/realm_access/roles", "/groups/0", "/https:~1~1acme.example~1roles".
// The empty path, which as a pointer would be all claims at once, and a "~"
// that is neither "~0" nor "~1" are errors (ErrPath).
func Parse(path string) (Path, error) {
	if path == "" {
		return Path{}, fmt.Errorf("%w: it is empty", ErrPath)
	}
	if path[0] != '/' {
		return Path{text: path, tokens: []string{path}}, nil
	}
	tokens := strings.Split(path[1:], "/")
	for i, token := range tokens {
		plain, err := unescape(token)
		if err != nil {
			return Path{}, fmt.Errorf("%w: %q: %w", ErrPath, path, err)
		}
		tokens[i] = plain
	}
	return Path{text: path, tokens: tokens}, nil
}

var errTilde = errors.New(`"~" must be followed by 0 or 1 (RFC 6901 section 3)`)

// unescape reads one reference token in a single pass, so that "~01" is "~1"
// and not "/" (RFC 6901 section 4).
func unescape(token string) (string, error) {
	if !strings.Contains(token, "~") {
		return token, nil
	}
	var b strings.Builder
	for i := 0; i < len(token); i++ {
		c := token[i]
		if c == '~' {
			i++
			switch {
			case i < len(token) && token[i] == '0':
				c = '~'
			case i < len(token) && token[i] == '1':
				c = '/'
			default:
				return "", errTilde
			}
		}
		b.WriteByte(c)
	}
	return b.String(), nil
}

// String gives the path as it was written.
func (p Path) String() string { return p.text }

// Lookup gives the value at the path. It is false where there is none; a claim
// that is null is there, with the value nil. claims is what encoding/json
// decodes into a map, best with UseNumber: a plain float64 has lost the last
// digits of a large number.
func (p Path) Lookup(claims map[string]any) (any, bool) {
	if len(p.tokens) == 0 {
		return nil, false
	}
	var at any = claims
	for _, token := range p.tokens {
		switch in := at.(type) {
		case map[string]any:
			v, ok := in[token]
			if !ok {
				return nil, false
			}
			at = v
		case []any:
			i, ok := index(token)
			if !ok || i >= len(in) {
				return nil, false
			}
			at = in[i]
		default:
			return nil, false
		}
	}
	return at, true
}

// index reads an array index: digits without leading zeros (RFC 6901 section
// 4). "-", the element after the last, never exists in a token.
func index(token string) (int, bool) {
	if token == "" || len(token) > 9 || token[0] == '0' && token != "0" {
		return 0, false
	}
	n := 0
	for _, c := range []byte(token) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}

// Strings gives the claim's values as text: one for a string, number or
// boolean, one per such element for a list, in its order. Numbers and booleans
// are written as in JSON. Null, objects and lists inside a list are left out,
// and an object has no values. A text with spaces is one value.
//
// found is false where nothing is at the path, or null, which an issuer that
// has nothing to say may send (OpenID Connect Core section 5.3.2); an empty
// list is found and has no values. At most limit values are given, none for a
// limit below 1; truncated says that there were more.
func (p Path) Strings(claims map[string]any, limit int) (values []string, truncated, found bool) {
	v, ok := p.Lookup(claims)
	if !ok || v == nil {
		return nil, false, false
	}
	each(v, func(s string) bool {
		if len(values) >= limit {
			truncated = true
			return false
		}
		values = append(values, s)
		return true
	})
	return values, truncated, true
}

// First gives the value at the first path that is present (and not null), and
// the position of that path; -1 if none is. What is present wins, even if it
// is empty: an empty list of groups is an answer, not a reason to look on.
func First(paths []Path, claims map[string]any) (value any, which int) {
	for i, p := range paths {
		if v, ok := p.Lookup(claims); ok && v != nil {
			return v, i
		}
	}
	return nil, -1
}

// FirstStrings is Strings of the path that First chooses.
func FirstStrings(paths []Path, claims map[string]any, limit int) (values []string, truncated, found bool) {
	_, i := First(paths, claims)
	if i < 0 {
		return nil, false, false
	}
	return paths[i].Strings(claims, limit)
}

// each calls yield with the text values of v until it returns false.
func each(v any, yield func(string) bool) {
	list, ok := v.([]any)
	if !ok {
		if s, ok := scalar(v); ok {
			yield(s)
		}
		return
	}
	for _, elem := range list {
		if s, ok := scalar(elem); ok && !yield(s) {
			return
		}
	}
}

// scalar writes a string, number or boolean as text.
func scalar(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		return strconv.FormatBool(v), true
	case float64:
		text, err := json.Marshal(v)
		return string(text), err == nil
	default:
		return "", false
	}
}
