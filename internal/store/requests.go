package store

import (
	"cmp"
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

// A record costs processor time on every call through the gateway, so its
// table has no index but the order of writing. What a query filters by or adds
// up has a column; the rest is packed in one (see requestpack.go). In place of
// an index on the principal there is one line for each principal of each stretch
// of rows that says that they are in it: with a few callers it costs nothing,
// with many a part of what the index would, and to list somebody's records
// takes reading the stretches that they are in.

const (
	requestColumns = `seq, at, uid, team, account, model, status, input_tokens, output_tokens, cached_tokens, duration, detail`
	requestWidth   = 12
	principalWidth = 3
	// rowsAtOnce are the rows of one INSERT; measured, more gains nothing.
	rowsAtOnce = 32
	// requestsInBatch are the rows of one transaction and of one span.
	requestsInBatch = 4096
	// stretch is how many rows one line of a principal may cover. It bounds what
	// is read for one principal, and what is kept in memory of lines.
	stretch = 32768
)

// appendQueries are the statements of AppendRequests.
type appendQueries struct{ last, many, one, batch, manyPrincipals, onePrincipal string }

func newAppendQueries() appendQueries {
	insert := `INSERT INTO requests (` + requestColumns + `) VALUES `
	principal, known := `INSERT INTO request_principals (uid, hi, lo) VALUES `, ` ON CONFLICT DO NOTHING`
	return appendQueries{
		last:           `SELECT coalesce(max(hi), 0) FROM request_batches`,
		many:           insert + rowsOfValues(requestWidth, rowsAtOnce),
		one:            insert + rowsOfValues(requestWidth, 1),
		batch:          `INSERT INTO request_batches (hi, lo, min_at, max_at) VALUES (?, ?, ?, ?)`,
		manyPrincipals: principal + rowsOfValues(principalWidth, rowsAtOnce) + known,
		onePrincipal:   principal + rowsOfValues(principalWidth, 1) + known,
	}
}

func (q *appendQueries) list() []string {
	return []string{q.last, q.many, q.one, q.batch, q.manyPrincipals, q.onePrincipal}
}

// AppendRequests writes records, in their order. Times are kept to the
// microsecond. Hundreds at once cost the least a record. A power cut may lose
// the last ones; a killed process does not.
// Errors: database_unavailable.
func (db *Database) AppendRequests(ctx context.Context, list []record.Request) error {
	queries := newAppendQueries()
	parsed, err := db.appending.parse(ctx, &db.dialect, db.records.Write, queries.list())
	if err != nil {
		return db.coded(ctx, err)
	}
	for part := range slices.Chunk(list, requestsInBatch) {
		if err := ctx.Err(); err != nil {
			return db.coded(ctx, err)
		}
		// Looking for a cancelled context costs something for every
		// statement; between batches is often enough.
		var fresh []principalLine
		writing := job{pool: db.records.Write, exclusive: exclusiveRecords, parsed: parsed}
		err := db.run(context.WithoutCancel(ctx), writing, func(t *tx) (err error) {
			fresh, err = t.appendRequests(&queries, db.keepable(part), &db.lines)
			return err
		})
		if err != nil {
			return err
		}
		db.lines.add(fresh)
	}
	return nil
}

// keepable are records whose columns the database can keep: models are named by
// strangers, and one of them must not keep the others' records from being
// written. Nothing else of them changes.
func (db *Database) keepable(list []record.Request) []record.Request {
	text := db.dialect.Text
	if text == nil {
		return list
	}
	list = slices.Clone(list)
	for i := range list {
		r := &list[i]
		r.UID, r.Team, r.Account, r.Model = text(r.UID), text(r.Team), text(r.Account), text(r.Model)
	}
	return list
}

// principalLine says that rows of a principal are between lo and hi, the end of
// a stretch.
type principalLine struct {
	uid    string
	hi, lo int64
}

// principalLines remembers whose line of the newest stretch is written. To
// forget one costs a statement that changes nothing: the line of an earlier
// writer begins earlier, and stays.
type principalLines struct {
	mu    sync.Mutex
	hi    int64
	known map[string]struct{}
}

func (l *principalLines) has(uid string, hi int64) bool {
	_, known := l.known[uid]
	return known && hi == l.hi
}

// add takes lines that are committed.
func (l *principalLines) add(lines []principalLine) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range lines {
		if p.hi > l.hi {
			l.hi, l.known = p.hi, map[string]struct{}{}
		}
		if p.hi == l.hi {
			l.known[p.uid] = struct{}{}
		}
	}
}

// missing are the lines that a list of records, from a seq on, needs and that
// are not known to be there; sorted, as the table is. External identities have
// no uid and are not looked for by one.
func (l *principalLines) missing(list []record.Request, first int64) []principalLine {
	l.mu.Lock()
	defer l.mu.Unlock()
	type key struct {
		uid string
		hi  int64
	}
	var lines []principalLine
	seen := map[key]struct{}{}
	for i := range list {
		seq := first + int64(i)
		k := key{list[i].UID, (seq + stretch - 1) / stretch * stretch}
		if k.uid == "" || l.has(k.uid, k.hi) {
			continue
		}
		if _, ok := seen[k]; !ok {
			seen[k] = struct{}{}
			lines = append(lines, principalLine{k.uid, k.hi, seq})
		}
	}
	slices.SortFunc(lines, func(a, b principalLine) int { return cmp.Or(cmp.Compare(a.uid, b.uid), cmp.Compare(a.hi, b.hi)) })
	return lines
}

// appendRequests returns the principals' lines that it wrote.
func (t *tx) appendRequests(q *appendQueries, list []record.Request, known *principalLines) ([]principalLine, error) {
	var last int64
	if _, err := t.one(q.last, nil, &last); err != nil {
		return nil, err
	}
	lines := known.missing(list, last+1)
	span := requestSpan{lo: last + 1, hi: last + int64(len(list)), minAt: math.MaxInt64, maxAt: math.MinInt64}
	args := make([]any, 0, requestWidth*rowsAtOnce)
	packed := make([]byte, 0, 512*rowsAtOnce)
	for rest := list; len(rest) > 0; {
		n, query := 1, q.one
		if len(rest) >= rowsAtOnce {
			n, query = rowsAtOnce, q.many
		}
		args, packed = args[:0], packed[:0]
		for i := range rest[:n] {
			r := &rest[i]
			last++
			span.add(r.At.UnixMicro())
			from := len(packed)
			packed = packRequest(packed, r)
			args = append(args, last, r.At.UnixMicro(), r.UID, r.Team, r.Account, r.Model, int64(r.Status), r.Usage.InputTokens,
				r.Usage.OutputTokens, r.Usage.CachedTokens, r.Duration.Microseconds(), packed[from:len(packed):len(packed)])
		}
		if _, err := t.exec(query, args...); err != nil {
			return nil, err
		}
		rest = rest[n:]
	}
	if _, err := t.exec(q.batch, span.hi, span.lo, span.minAt, span.maxAt); err != nil {
		return nil, err
	}
	return lines, t.putPrincipals(q, lines)
}

func (t *tx) putPrincipals(q *appendQueries, lines []principalLine) error {
	args := make([]any, 0, principalWidth*rowsAtOnce)
	for len(lines) > 0 {
		n, query := 1, q.onePrincipal
		if len(lines) >= rowsAtOnce {
			n, query = rowsAtOnce, q.manyPrincipals
		}
		args = args[:0]
		for _, p := range lines[:n] {
			args = append(args, p.uid, p.hi, p.lo)
		}
		if _, err := t.exec(query, args...); err != nil {
			return err
		}
		lines = lines[n:]
	}
	return nil
}

// requestSpan is a run of rows, by seq, and between which times they are.
type requestSpan struct{ lo, hi, minAt, maxAt int64 }

func (s *requestSpan) add(at int64) { s.minAt, s.maxAt = min(s.minAt, at), max(s.maxAt, at) }

func scanRequest(r row, out *record.Request) error {
	var seq, at, status, duration int64
	var detail []byte
	err := r.Scan(&seq, &at, &out.UID, &out.Team, &out.Account, &out.Model, &status, &out.Usage.InputTokens, &out.Usage.OutputTokens,
		&out.Usage.CachedTokens, &duration, &detail)
	if err != nil {
		return err
	}
	out.At, out.Status, out.Duration = time.UnixMicro(at).UTC(), int(status), time.Duration(duration)*time.Microsecond
	return unpackRequest(detail, out)
}

// Requests lists the records of one principal by uid, the last written first.
// A limit of 0 is 500; 10 000 is the most. External identities have no uid:
// asking for "" is an error, not everybody.
// Errors: invalid_request, database_unavailable.
func (db *Database) Requests(ctx context.Context, principalUID string, limit int) ([]record.Request, error) {
	if principalUID == "" {
		return nil, identity.Errorf(identity.CodeInvalidRequest, "whose requests?")
	}
	var list []record.Request
	err := db.view(ctx, db.records, func(t *tx) error {
		before, want := int64(math.MaxInt64), pageSize(limit)
		for len(list) < want {
			var lo, hi int64
			found, err := t.one(`SELECT lo, hi FROM request_principals WHERE uid = ? AND hi < ? ORDER BY hi DESC LIMIT 1`, []any{principalUID, before}, &lo, &hi)
			if err != nil || !found {
				return err
			}
			list, err = t.requests(list, `uid = ? AND seq >= ? AND seq <= ?`, principalUID, lo, hi, want-len(list))
			if err != nil {
				return err
			}
			before = hi
		}
		return nil
	})
	return list, err
}

// AllRequests lists everybody's records, the last written first. A limit of 0
// is 500; 10 000 is the most.
// Errors: database_unavailable.
func (db *Database) AllRequests(ctx context.Context, limit int) ([]record.Request, error) {
	var list []record.Request
	err := db.view(ctx, db.records, func(t *tx) (err error) {
		list, err = t.requests(nil, `seq > 0`, pageSize(limit))
		return err
	})
	return list, err
}

func (t *tx) requests(list []record.Request, where string, args ...any) ([]record.Request, error) {
	err := t.each(`SELECT `+requestColumns+` FROM requests WHERE `+where+` ORDER BY seq DESC LIMIT ?`, args, func(r row) error {
		var out record.Request
		err := scanRequest(r, &out)
		list = append(list, out)
		return err
	})
	return list, err
}

// CountRequests returns how many records are kept.
// Errors: database_unavailable.
func (db *Database) CountRequests(ctx context.Context) (n int64, err error) {
	err = db.view(ctx, db.records, func(t *tx) error {
		_, err := t.one(`SELECT count(*) FROM requests`, nil, &n)
		return err
	})
	return n, err
}

// RemoveRequestsBefore removes the records of requests that arrived before a time.
// Errors: database_unavailable.
func (db *Database) RemoveRequestsBefore(ctx context.Context, before time.Time) error {
	return db.update(ctx, db.records, func(t *tx) error {
		at := before.UnixMicro()
		var spans []requestSpan
		err := t.each(`SELECT lo, hi, min_at, max_at FROM request_batches WHERE min_at < ? ORDER BY lo`, []any{at}, func(r row) error {
			var s requestSpan
			err := r.Scan(&s.lo, &s.hi, &s.minAt, &s.maxAt)
			spans = append(spans, s)
			return err
		})
		if err != nil {
			return err
		}
		for _, s := range spans {
			if err := t.removeSpan(s, at); err != nil {
				return err
			}
		}
		if len(spans) == 0 {
			return nil
		}
		// The one place that reads all lines of principals: an index for it
		// would cost more with every record than this costs now and then.
		_, err = t.exec(`DELETE FROM request_principals WHERE hi < (SELECT min(lo) FROM request_batches)`)
		return err
	})
}

func (t *tx) removeSpan(s requestSpan, before int64) error {
	if _, err := t.exec(`DELETE FROM requests WHERE seq >= ? AND seq <= ? AND at < ?`, s.lo, s.hi, before); err != nil {
		return err
	}
	if s.maxAt >= before {
		_, err := t.exec(`UPDATE request_batches SET min_at = ? WHERE hi = ?`, before, s.hi)
		return err
	}
	// The newest line stays: it says which seq comes next, so that none is used
	// twice.
	_, err := t.exec(`DELETE FROM request_batches WHERE hi = ? AND hi < (SELECT max(hi) FROM request_batches)`, s.hi)
	return err
}
