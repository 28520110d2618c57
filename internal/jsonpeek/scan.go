package jsonpeek

// Kind is the type of a JSON value.
type Kind uint8

// The kinds. Absent is the zero value: the body has no such member, which is
// not the same as null.
const (
	Absent Kind = iota
	Null
	Bool
	Number
	String
	Array
	Object
)

// String names the kind as an error message to the caller would.
func (k Kind) String() string {
	names := [...]string{"absent", "null", "boolean", "number", "string", "array", "object"}
	if int(k) < len(names) {
		return names[k]
	}
	return "unknown"
}

// Value is where a value stands: body[Start:End] are its raw bytes, quotes and
// brackets included, space around it not.
type Value struct {
	Kind       Kind
	Start, End int
}

// Scan checks that the whole body is one JSON object and puts the value of the
// top-level member names[i] into out[i] (Absent if there is none). out must be
// as long as names. Names are matched after unescaping: "mod\u0065l" is model.
//
// Errors: ErrSyntax, ErrNotObject, ErrDepth; ErrAmbiguous if a member equals a
// wanted name under the case folding of encoding/json and is a second one or
// is not spelled exactly so; ErrEncoding for invalid UTF-8 or a lone surrogate
// in any top-level name or in a wanted string. After an error every element of
// out is Absent. Members that are not wanted may repeat.
func Scan(body []byte, names []string, out []Value) error {
	out = out[:len(names)]
	clear(out)
	i := skipSpace(body, 0)
	var err error
	object := i < len(body) && body[i] == '{'
	if object {
		i, err = scanObject(body, i, names, out)
	} else {
		var f fault
		i, f = skipValue(body, i, 0)
		err = f.at(i)
	}
	if err == nil {
		if end := skipSpace(body, i); end < len(body) {
			err = &Error{Code: ErrSyntax, Offset: end}
		} else if !object {
			err = &Error{Code: ErrNotObject}
		}
	}
	if err != nil {
		clear(out)
	}
	return err
}

// Members is Scan for an object inside the body: obj is a value that Scan,
// Members or Elements gave for the same body, and out holds ranges of the body.
// A value that is not an object, or absent, is ErrNotObject.
func Members(body []byte, obj Value, names []string, out []Value) error {
	out = out[:len(names)]
	clear(out)
	if obj.Kind != Object || !obj.within(body) {
		return &Error{Code: ErrNotObject, Offset: obj.Start}
	}
	end, err := scanObject(body[:obj.End], obj.Start, names, out)
	if err == nil && end != obj.End {
		err = &Error{Code: ErrSyntax, Offset: end}
	}
	if err != nil {
		clear(out)
	}
	return err
}

// Elements calls yield for each element of an array inside the body, in
// order, until yield returns false. A value that is not an array, or absent,
// is ErrKind.
func Elements(body []byte, v Value, yield func(elem Value) bool) error {
	if v.Kind != Array || !v.within(body) {
		return &Error{Code: ErrKind, Offset: v.Start}
	}
	b := body[:v.End]
	i := skipSpace(b, v.Start+1)
	if i < len(b) && b[i] == ']' {
		return nil
	}
	for {
		end, f := skipValue(b, i, 1)
		if f != faultNone {
			return f.at(end)
		}
		if !yield(Value{Kind: kindOf(b[i]), Start: i, End: end}) {
			return nil
		}
		var more bool
		if i, more, f = skipSeparator(b, end, ']'); f != faultNone || !more {
			return f.at(i)
		}
	}
}

// scanObject is skipObject that looks at the names on the way.
func scanObject(b []byte, i int, names []string, out []Value) (int, error) {
	i = skipSpace(b, i+1)
	if i < len(b) && b[i] == '}' {
		return i + 1, nil
	}
	for {
		nameEnd, start, f := skipName(b, i)
		if f != faultNone {
			return start, f.at(start)
		}
		which, err := findName(b, i, nameEnd, names)
		if err != nil {
			return i, err
		}
		end, f := skipValue(b, start, 1)
		if f != faultNone {
			return end, f.at(end)
		}
		if which >= 0 {
			v := Value{Kind: kindOf(b[start]), Start: start, End: end}
			if out[which].Kind != Absent {
				return i, &Error{Code: ErrAmbiguous, Offset: i, Member: names[which]}
			}
			if v.Kind == String && !validText(b[start+1:end-1]) {
				return i, &Error{Code: ErrEncoding, Offset: start, Member: names[which]}
			}
			out[which] = v
		}
		var more bool
		if i, more, f = skipSeparator(b, end, '}'); f != faultNone || !more {
			return i, f.at(i)
		}
	}
}

// findName says which wanted name the member name b[start:end] (quotes
// included) is, or -1.
func findName(b []byte, start, end int, names []string) (int, error) {
	var space [64]byte // escaped names longer than this cost an allocation
	name, ok := unescape(space[:0], b[start+1:end-1])
	if !ok {
		return -1, &Error{Code: ErrEncoding, Offset: start}
	}
	which := -1
	for i, want := range names {
		if !foldEqual(name, want) {
			continue
		}
		if string(name) != want {
			return -1, &Error{Code: ErrAmbiguous, Offset: start, Member: want}
		}
		which = i
	}
	return which, nil
}

// kindOf tells the kind of a valid value by its first byte.
func kindOf(c byte) Kind {
	switch c {
	case '"':
		return String
	case '{':
		return Object
	case '[':
		return Array
	case 't', 'f':
		return Bool
	case 'n':
		return Null
	default:
		return Number
	}
}

// within guards against a Value that belongs to another body.
func (v Value) within(body []byte) bool {
	return v.Start >= 0 && v.Start < v.End && v.End <= len(body)
}
