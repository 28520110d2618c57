package store

import (
	"database/sql"
	"strconv"
	"strings"
	"time"
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
	// FaultRetry: the transaction lost against another and left nothing; the
	// same again may succeed.
	FaultRetry
	// FaultText: a text holds something that the database cannot keep.
	FaultText
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
	// Stale says of a failure to begin that a kept connection had died, so that
	// another may do; nil is never.
	Stale func(error) bool
	// Exclusive begins a transaction in which there must be no other writer; it
	// takes the number of what is written (configuration or records) and holds
	// until the end. Empty where the database has one writer anyway.
	Exclusive string
	// Notify tells other processes, at the commit, which head there is; it takes
	// the text of the head. Empty where there are none, or where they poll.
	Notify string
	// Text makes a stranger's text one that the database can keep; nil leaves it.
	Text func(string) string
	// Unprepared says that the driver itself remembers parsed statements.
	Unprepared bool
	// Reading and Writing are the isolation of transactions. A reading one must
	// see one state of the database from its beginning to its end.
	Reading, Writing sql.IsolationLevel
	// Patience is how long the database may take to begin a transaction, and
	// StatementPatience to answer a statement or to commit, before it counts as
	// away. 0 is for ever.
	Patience, StatementPatience time.Duration
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
