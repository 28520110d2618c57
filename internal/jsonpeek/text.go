package jsonpeek

import (
	"bytes"
	"strconv"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Raw gives the bytes of v as they stand in the body, or nil if v is absent.
// They are the body's own: do not change them.
func Raw(body []byte, v Value) []byte {
	if v.Kind == Absent || !v.within(body) {
		return nil
	}
	return body[v.Start:v.End:v.End]
}

// Text gives the contents of the string v, unescaped. Without escapes they are
// the body's own bytes and nothing is allocated, which serves a lookup such as
// models[string(text)]. Errors: ErrKind, ErrEncoding.
func Text(body []byte, v Value) ([]byte, error) {
	if v.Kind != String || !v.within(body) || v.End-v.Start < 2 {
		return nil, &Error{Code: ErrKind, Offset: v.Start}
	}
	text, ok := unescape(nil, body[v.Start+1:v.End-1:v.End-1])
	if !ok {
		return nil, &Error{Code: ErrEncoding, Offset: v.Start}
	}
	return text, nil
}

// Str is Text as a string of its own. Errors: ErrKind, ErrEncoding.
func Str(body []byte, v Value) (string, error) {
	text, err := Text(body, v)
	return string(text), err
}

// Boolean gives the value of true or false. Error: ErrKind, also for null and
// for an absent member, so that a default is the endpoint's decision.
func Boolean(body []byte, v Value) (bool, error) {
	if v.Kind != Bool || !v.within(body) {
		return false, &Error{Code: ErrKind, Offset: v.Start}
	}
	return body[v.Start] == 't', nil
}

// Int gives the value of a number without fraction and exponent that fits
// 64 bits, which is what encoding/json takes for an int64. Error: ErrKind.
func Int(body []byte, v Value) (int64, error) {
	if v.Kind != Number || !v.within(body) {
		return 0, &Error{Code: ErrKind, Offset: v.Start}
	}
	n, err := strconv.ParseInt(string(body[v.Start:v.End]), 10, 64)
	if err != nil {
		return 0, &Error{Code: ErrKind, Offset: v.Start}
	}
	return n, nil
}

// Splice gives a copy of body in which v is replaced by replacement, encoded
// as a JSON string; every other byte stays. It returns nil if v is absent or
// does not lie in the body: better no body than a half-changed one.
func Splice(body []byte, v Value, replacement string) []byte {
	return AppendSplice(nil, body, v, replacement)
}

// AppendSplice is Splice into a buffer of the caller's. dst must not overlap
// body. It returns nil where Splice does.
func AppendSplice(dst, body []byte, v Value, replacement string) []byte {
	if v.Kind == Absent || !v.within(body) {
		return nil
	}
	if dst == nil {
		dst = make([]byte, 0, len(body)-(v.End-v.Start)+len(replacement)+2)
	}
	dst = append(dst, body[:v.Start]...)
	dst = appendQuoted(dst, replacement)
	return append(dst, body[v.End:]...)
}

// appendQuoted writes s as a JSON string (RFC 8259 section 7). Bytes that are
// not UTF-8 become U+FFFD, as in encoding/json.
func appendQuoted(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for _, r := range s { // a bad byte ranges as U+FFFD
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return append(dst, '"')
}

// validText says whether the inside of a syntactically valid string has one
// meaning only.
func validText(raw []byte) bool {
	if !utf8.Valid(raw) {
		return false
	}
	for {
		k := bytes.IndexByte(raw, '\\')
		if k < 0 {
			return true
		}
		_, n := escaped(raw[k:])
		if n == 0 {
			return false
		}
		raw = raw[k+n:]
	}
}

// unescape gives the meaning of the inside of a string: raw itself if it has
// no escapes, otherwise appended to dst. It is false for invalid UTF-8 and
// lone surrogates.
func unescape(dst, raw []byte) ([]byte, bool) {
	if !utf8.Valid(raw) {
		return nil, false
	}
	k := bytes.IndexByte(raw, '\\')
	if k < 0 {
		return raw, true
	}
	if dst == nil {
		dst = make([]byte, 0, len(raw))
	}
	for k >= 0 {
		dst = append(dst, raw[:k]...)
		r, n := escaped(raw[k:])
		if n == 0 {
			return nil, false
		}
		dst = utf8.AppendRune(dst, r)
		raw = raw[k+n:]
		k = bytes.IndexByte(raw, '\\')
	}
	return append(dst, raw...), true
}

// escaped reads the escape at the start of b and its length; a surrogate pair
// is one escape of twelve bytes. The length is 0 for a lone surrogate.
func escaped(b []byte) (rune, int) {
	n := escapeLen(b, 0)
	if n == 6 {
		r, _ := hex4(b, 2)
		if !utf16.IsSurrogate(r) {
			return r, 6
		}
		if escapeLen(b, 6) != 6 {
			return 0, 0
		}
		low, _ := hex4(b, 8)
		if r = utf16.DecodeRune(r, low); r == unicode.ReplacementChar {
			return 0, 0
		}
		return r, 12
	}
	if n == 0 {
		return 0, 0
	}
	switch c := b[1]; c {
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	default:
		return rune(c), 2
	}
}

// foldEqual compares as encoding/json compares a name with a struct's field:
// by simple Unicode case folding, so that the Kelvin sign is a k and the long
// s is an s. name is valid UTF-8.
func foldEqual(name []byte, want string) bool {
	for len(name) > 0 && want != "" {
		a, b := rune(name[0]), rune(want[0])
		n, m := 1, 1
		if a >= utf8.RuneSelf {
			a, n = utf8.DecodeRune(name)
		}
		if b >= utf8.RuneSelf {
			b, m = utf8.DecodeRuneInString(want)
		}
		if a != b && !foldsTo(a, b) {
			return false
		}
		name, want = name[n:], want[m:]
	}
	return len(name) == 0 && want == ""
}

// foldsTo says whether b is another rune of a's case folding orbit.
func foldsTo(a, b rune) bool {
	if a < utf8.RuneSelf && b < utf8.RuneSelf {
		lower := a | 0x20
		return lower == b|0x20 && lower >= 'a' && lower <= 'z'
	}
	for r := unicode.SimpleFold(a); r != a; r = unicode.SimpleFold(r) {
		if r == b {
			return true
		}
	}
	return false
}
