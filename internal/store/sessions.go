package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

const (
	sessionColumns = `id, digest, user_uid, connection, issuer, subject, provider_session, authenticated_at, acr, amr,
		created_at, last_seen_at, expires_at, ended_at, ended_by, remote_addr, user_agent`
	// sessionTokenColumns are what a session is in the snapshot.
	sessionTokenColumns = `id, digest, user_uid, created_at, expires_at`
	sessionIsLive       = `ended_at IS NULL AND expires_at > ?`

	// sessionsKept is how long a session is listed after it would have expired.
	sessionsKept = 30 * 24 * time.Hour
	// endedByDeactivation is why sessions end with their person.
	endedByDeactivation = "deactivation"
)

func scanSession(r row) (s identity.Session, err error) {
	var authenticated, created, seen, expires int64
	var ended sql.NullInt64
	var digest []byte
	var amr string
	err = r.Scan(&s.ID, &digest, &s.UserUID, &s.Connection, &s.Issuer, &s.Subject, &s.ProviderSession, &authenticated, &s.ACR, &amr,
		&created, &seen, &expires, &ended, &s.EndedBy, &s.RemoteAddr, &s.UserAgent)
	if err != nil {
		return s, err
	}
	copy(s.Digest[:], digest)
	s.AuthenticatedAt, s.CreatedAt, s.LastSeenAt, s.ExpiresAt = fromMillis(authenticated), fromMillis(created), fromMillis(seen), fromMillis(expires)
	s.EndedAt = fromNullMillis(ended)
	if amr != "" {
		if err := json.Unmarshal([]byte(amr), &s.AMR); err != nil {
			return s, fmt.Errorf("read the amr of a session: %w", err)
		}
	}
	return s, nil
}

func scanSessionToken(r row) (identity.Token, error) {
	var s identity.Session
	var created, expires int64
	var digest []byte
	err := r.Scan(&s.ID, &digest, &s.UserUID, &created, &expires)
	copy(s.Digest[:], digest)
	s.CreatedAt, s.ExpiresAt = fromMillis(created), fromMillis(expires)
	return s.Token(), err
}

func (t *tx) liveSessionToken(d identity.Digest) (tok identity.Token, found bool, err error) {
	err = t.each(`SELECT `+sessionTokenColumns+` FROM sessions WHERE digest = ? AND `+sessionIsLive, []any{d[:], t.now.UnixMilli()}, func(r row) (err error) {
		found = true
		tok, err = scanSessionToken(r)
		return err
	})
	return tok, found && err == nil, err
}

func (t *tx) sessionsWhere(where string, args ...any) (list []identity.Session, err error) {
	err = t.each(`SELECT `+sessionColumns+` FROM sessions WHERE `+where+` ORDER BY id`, args, func(r row) error {
		s, err := scanSession(r)
		list = append(list, s)
		return err
	})
	return list, err
}

func (db *Database) oneSession(ctx context.Context, find func(*tx) ([]identity.Session, error)) (s identity.Session, err error) {
	err = db.view(ctx, db.config, func(t *tx) error {
		list, err := find(t)
		switch {
		case err != nil:
			return err
		case len(list) == 0:
			return identity.Errorf(identity.CodeNotFound, "there is no such session")
		}
		s = list[0]
		return nil
	})
	return s, err
}

// Session returns a session by id, ended and expired or not.
// Errors: not_found, database_unavailable.
func (db *Database) Session(ctx context.Context, id string) (identity.Session, error) {
	return db.oneSession(ctx, func(t *tx) ([]identity.Session, error) { return t.sessionsWhere(`id = ?`, id) })
}

// SessionByDigest returns the session of a cookie, by the cookie's digest. One
// that has ended or expired is not found.
// Errors: not_found, database_unavailable.
func (db *Database) SessionByDigest(ctx context.Context, d identity.Digest) (identity.Session, error) {
	return db.oneSession(ctx, func(t *tx) ([]identity.Session, error) {
		return t.sessionsWhere(`digest = ? AND `+sessionIsLive, d[:], t.now.UnixMilli())
	})
}

// Sessions lists a person's sessions, in the order of their ids, which is that
// of their beginnings; those that have ended or expired too, for 30 days.
// Errors: database_unavailable.
func (db *Database) Sessions(ctx context.Context, userUID string) (list []identity.Session, err error) {
	err = db.view(ctx, db.config, func(t *tx) error {
		list, err = t.sessionsWhere(`user_uid = ?`, userUID)
		return err
	})
	return list, err
}

// SessionsAt lists the live sessions that a back-channel logout means: those of
// an issuer with the provider's session, or with the subject where only that is
// given, or with both where both are (OpenID Connect Back-Channel Logout, 2.4).
// Errors: invalid_request (no issuer, or neither of both: that is not everybody),
// database_unavailable.
func (db *Database) SessionsAt(ctx context.Context, issuer, subject, providerSession string) (list []identity.Session, err error) {
	if issuer == "" || subject == "" && providerSession == "" {
		return nil, identity.Errorf(identity.CodeInvalidRequest, "whose sessions?")
	}
	where, args := `issuer = ?`, []any{issuer}
	if providerSession != "" {
		where, args = where+` AND provider_session = ?`, append(args, providerSession)
	}
	if subject != "" {
		where, args = where+` AND subject = ?`, append(args, subject)
	}
	err = db.view(ctx, db.config, func(t *tx) error {
		list, err = t.sessionsWhere(where+` AND `+sessionIsLive, append(args, t.now.UnixMilli())...)
		return err
	})
	return list, err
}

// TouchSession notes that a session was seen, and reports whether it is alive:
// not ended, not expired at that time, and seen before within idle (0 is no
// limit). One that is not alive is not touched, so it stays dead. A time before
// the one that is noted changes nothing. It takes no revision.
// Errors: database_unavailable.
func (db *Database) TouchSession(ctx context.Context, id string, at time.Time, idle time.Duration) (alive bool, err error) {
	seen, since := at.UnixMilli(), int64(-1<<62)
	if idle > 0 {
		since = at.Add(-idle).UnixMilli()
	}
	err = db.update(ctx, db.config, func(t *tx) error {
		n, err := t.exec(`UPDATE sessions SET last_seen_at = CASE WHEN last_seen_at < ? THEN ? ELSE last_seen_at END
			WHERE id = ? AND last_seen_at >= ? AND `+sessionIsLive, seen, seen, id, since, seen)
		alive = n > 0
		return err
	})
	return alive && err == nil, err
}

func checkSessions(b *record.Batch) error {
	for i := range b.PutSessions {
		s := &b.PutSessions[i]
		switch {
		case s.Digest == (identity.Digest{}):
			return errors.New("store: a session without a digest")
		case s.ExpiresAt.IsZero():
			return errors.New("store: a session that does not expire")
		case s.UserUID == "":
			return errors.New("store: a session of nobody")
		}
	}
	for _, e := range b.EndSessions {
		if e.By == "" {
			return errors.New("store: a session is to end and nobody says why")
		}
	}
	return nil
}

func (c *commit) putSessions() error {
	for i := range c.batch.PutSessions {
		given := &c.batch.PutSessions[i]
		s := *given
		if s.ID == "" {
			id, err := newID()
			if err != nil {
				return err
			}
			s.ID = id
		}
		if s.CreatedAt.IsZero() {
			s.CreatedAt = c.now
		}
		if s.AuthenticatedAt.IsZero() {
			s.AuthenticatedAt = s.CreatedAt
		}
		if s.LastSeenAt.IsZero() {
			s.LastSeenAt = s.CreatedAt
		}
		s.CreatedAt, s.AuthenticatedAt, s.LastSeenAt, s.ExpiresAt = stamp(s.CreatedAt), stamp(s.AuthenticatedAt), stamp(s.LastSeenAt), stamp(s.ExpiresAt)
		if err := c.insertSession(&s); err != nil {
			return err
		}
		c.changes.add(changeToken, tokenChangeKey(s.Digest), opPut)
		c.written = append(c.written, func() { *given = s })
	}
	return nil
}

func (c *commit) insertSession(s *identity.Session) error {
	other := ""
	found, err := c.one(`SELECT id FROM sessions WHERE id = ? OR digest = ?`, []any{s.ID, s.Digest[:]}, &other)
	if found || err != nil {
		return conflictOr(err, "session", "a session with this id or digest exists already")
	}
	amr := ""
	if len(s.AMR) > 0 {
		b, err := jsonOf(s.AMR)
		if err != nil {
			return err
		}
		amr = string(b)
	}
	_, err = c.exec(`INSERT INTO sessions (`+sessionColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		s.ID, s.Digest[:], s.UserUID, s.Connection, s.Issuer, s.Subject, s.ProviderSession, s.AuthenticatedAt.UnixMilli(), s.ACR, amr,
		s.CreatedAt.UnixMilli(), s.LastSeenAt.UnixMilli(), s.ExpiresAt.UnixMilli(), nullMillis(s.EndedAt), s.EndedBy, s.RemoteAddr, s.UserAgent)
	return err
}

func (c *commit) endSessions() error {
	for _, e := range c.batch.EndSessions {
		list, err := c.sessionsWhere(`id = ?`, e.ID)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return identity.Errorf(identity.CodeNotFound, "there is no session %s to end", e.ID)
		}
		if err := c.end(list, e.By); err != nil {
			return err
		}
	}
	return nil
}

func (c *commit) endSessionsOf(uid, by string) error {
	list, err := c.sessionsWhere(`user_uid = ? AND ended_at IS NULL`, uid)
	if err != nil {
		return err
	}
	return c.end(list, by)
}

func (c *commit) end(list []identity.Session, by string) error {
	for i := range list {
		if list[i].EndedAt != nil {
			continue
		}
		if _, err := c.exec(`UPDATE sessions SET ended_at = ?, ended_by = ? WHERE id = ?`, c.now.UnixMilli(), by, list[i].ID); err != nil {
			return err
		}
		c.changes.add(changeToken, tokenChangeKey(list[i].Digest), opDelete)
	}
	return nil
}
