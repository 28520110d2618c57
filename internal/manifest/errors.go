package manifest

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
)

// Error is one thing that is wrong with a manifest, and where. It never holds
// a secret value.
type Error struct {
	// File is the file's name as it was given; empty for the body of a request.
	File string
	// Line and Column count from 1; columns count characters.
	Line, Column int
	// Path is the field, as in spec.models[0].name; empty for a syntax error.
	Path string
	// Message says what is wrong and what to do.
	Message string
}

// Error returns FILE:LINE:COLUMN: PATH: MESSAGE, without the parts that are empty.
func (e Error) Error() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(e.File + ":")
	}
	fmt.Fprintf(&b, "%d:%d: ", e.Line, e.Column)
	if e.Path != "" {
		b.WriteString(e.Path + ": ")
	}
	b.WriteString(e.Message)
	return b.String()
}

// Errors is everything that is wrong, in the order of files and lines.
type Errors []Error

// Error returns one line an error.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.As find the single errors.
func (e Errors) Unwrap() []error {
	list := make([]error, len(e))
	for i := range e {
		list[i] = e[i]
	}
	return list
}

// Fields returns the errors as api/v1 has them, for answers of the control
// API. A syntax error has the path "".
func (e Errors) Fields() v1.FieldErrors {
	list := make(v1.FieldErrors, len(e))
	for i, one := range e {
		list[i] = v1.FieldError{Path: one.Path, Message: one.Message}
	}
	return list
}

// maxErrors is how many errors of one file are told. Whoever has made more of
// them learns nothing from the rest, and a stranger could make a million.
const maxErrors = 100

// limited leaves out what is more than maxErrors, and says so.
func (e Errors) limited() Errors {
	if len(e) <= maxErrors {
		return e
	}
	last := e[maxErrors-1]
	return append(slices.Clone(e[:maxErrors]), Error{
		File: last.File, Line: last.Line, Column: last.Column,
		Message: "there is more that is wrong, which is left out here",
	})
}

// full reports whether collecting more errors is of no use.
func (e Errors) full() bool { return len(e) > maxErrors }

// maxShown is the longest path and the longest message, in bytes.
const maxShown = 1024

func shorten(s string) string {
	if len(s) <= maxShown {
		return s
	}
	return strings.ToValidUTF8(s[:maxShown], "") + "…"
}

// sorted returns the errors by line and column, keeping the order of equals,
// or nil where there are none.
func (e Errors) sorted() Errors {
	slices.SortStableFunc(e, func(a, b Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return e
}

// asError keeps an empty list from becoming an error that is not nil.
func (e Errors) asError() error {
	if len(e) == 0 {
		return nil
	}
	return e
}

// position is a place in a file; both count from 1.
type position struct{ line, column int }

func (p position) String() string { return strconv.Itoa(p.line) + ":" + strconv.Itoa(p.column) }

func (p position) errorf(format string, args ...any) Error {
	return Error{Line: p.line, Column: p.column, Message: fmt.Sprintf(format, args...)}
}
