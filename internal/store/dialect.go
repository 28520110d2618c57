package store

import (
	"strconv"
	"strings"
)

// Fault is what kind of trouble a database reports.
type Fault int

// The faults.
const (
	// FaultOther is everything else: a bug or a broken file.
	FaultOther Fault = iota
	// FaultUnavailable: the database cannot be used now; trying again may help.
	FaultUnavailable
	// FaultUnique: another row has this value already.
	FaultUnique
)

// Dialect is what differs between databases in the statements of this
// package. Schemas differ more; they are each database's own.
type Dialect struct {
	// Name stands in messages: "sqlite".
	Name string
	// Rebind rewrites question marks into the database's placeholders; nil
	// leaves them.
	Rebind func(query string) string
	// Classify says what an error of the driver means.
	Classify func(error) Fault
}

func (d *Dialect) rebind(query string) string {
	if d.Rebind == nil {
		return query
	}
	return d.Rebind(query)
}

// DollarPlaceholders rewrites question marks as $1, $2 and so on, leaving
// those in quoted text alone.
func DollarPlaceholders(query string) string {
	var b strings.Builder
	b.Grow(len(query) + 16)
	n, quoted := 0, false
	for i := 0; i < len(query); i++ {
		switch c := query[i]; {
		case c == '\'':
			quoted = !quoted
			b.WriteByte(c)
		case c == '?' && !quoted:
			n++
			b.WriteByte('$')
			b.WriteString(strconv.Itoa(n))
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// rowsOfValues returns "(?,?),(?,?)" for so many columns and rows.
func rowsOfValues(columns, rows int) string {
	row := "(" + strings.TrimSuffix(strings.Repeat("?,", columns), ",") + ")"
	return strings.TrimSuffix(strings.Repeat(row+",", rows), ",")
}
