package jsonpeek

import (
	"errors"
	"strconv"
)

// The codes of this package. Compare with errors.Is; errors.As with *Error
// gives the place. All of them are the caller's fault (HTTP 400), except
// ErrKind, which is the caller's fault only if the endpoint says that the
// member must have that kind.
var (
	// ErrSyntax: the body is not one JSON value.
	ErrSyntax = errors.New("body is not valid JSON")
	// ErrNotObject: the body (or the value given to Members) is valid JSON, but not an object.
	ErrNotObject = errors.New("JSON value is not an object")
	// ErrAmbiguous: a wanted member occurs twice, or in another spelling
	// (case, Unicode case folding) than the documented one.
	ErrAmbiguous = errors.New("JSON member is ambiguous")
	// ErrDepth: objects and arrays are nested deeper than MaxDepth.
	ErrDepth = errors.New("JSON is nested too deeply")
	// ErrEncoding: invalid UTF-8 or half of a surrogate pair in a member name
	// or in a wanted string, which readers replace in different ways.
	ErrEncoding = errors.New("JSON string is not valid Unicode")
	// ErrKind: the value is absent or not of the kind asked for.
	ErrKind = errors.New("JSON value has another type")
)

// Error is one refusal: the code, and where.
type Error struct {
	Code   error  // one of the sentinels above
	Offset int    // bytes from the start of the body
	Member string // the wanted member's documented name, if one is concerned
}

// Error says what is wrong and where. It never repeats bytes of the body.
func (e *Error) Error() string {
	s := e.Code.Error()
	if e.Member != "" {
		s += ": " + strconv.Quote(e.Member)
	}
	return s + " (byte " + strconv.Itoa(e.Offset) + ")"
}

// Unwrap gives the code, for errors.Is.
func (e *Error) Unwrap() error { return e.Code }

// fault is what the lexer reports; it becomes an *Error only on the bad path,
// so that the good path allocates nothing.
type fault uint8

const (
	faultNone fault = iota
	faultSyntax
	faultDepth
)

func (f fault) at(offset int) error {
	switch f {
	case faultNone:
		return nil
	case faultDepth:
		return &Error{Code: ErrDepth, Offset: offset}
	default:
		return &Error{Code: ErrSyntax, Offset: offset}
	}
}
