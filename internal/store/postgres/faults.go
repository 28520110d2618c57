package postgres

import (
	"crypto/tls"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/store"
)

// classify reads SQLSTATE
// (https://www.postgresql.org/docs/current/errcodes-appendix.html).
func classify(err error) store.Fault {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return classifyState(e.Code)
	}
	if e, ok := errors.AsType[net.Error](err); ok && e != nil {
		return store.FaultUnavailable
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return store.FaultUnavailable
	}
	for _, gone := range []error{errNotConnected, driver.ErrBadConn, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNREFUSED} {
		if errors.Is(err, gone) {
			return store.FaultUnavailable
		}
	}
	if pgconn.SafeToRetry(err) { // nothing was sent: the connection was closed before
		return store.FaultUnavailable
	}
	return store.FaultOther
}

// Away reports whether an error of Connect says that the server cannot be
// reached or does not serve at the moment, so that trying again helps. A refused
// password or certificate, a missing database or a schema that is too new are
// other things.
func Away(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return false
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch e.Code[:min(2, len(e.Code))] {
		case "28", "3D":
			return false
		}
	}
	if e, ok := errors.AsType[*identity.Error](err); ok {
		return e.Code == identity.CodeDatabaseUnavailable
	}
	return classify(err) == store.FaultUnavailable
}

// stale tells a kept connection that has died from a server that is away: to
// that no new connection can be made.
func stale(err error) bool {
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok || pgconn.Timeout(err) || errors.Is(err, errNotConnected) {
		return false
	}
	return classify(err) == store.FaultUnavailable
}

func classifyState(code string) store.Fault {
	switch code {
	case "23505": // unique_violation
		return store.FaultUnique
	case "40001", "40P01": // serialization_failure, deadlock_detected
		return store.FaultRetry
	case "22021", "22P05": // character_not_in_repertoire, untranslatable_character
		return store.FaultText
	case "25006", // read_only_sql_transaction: a standby, or a primary that has become one
		"3D000", // invalid_catalog_name: the database is not there
		"55P03", // lock_not_available: lock_timeout
		"57014", // query_canceled: statement_timeout
		"25P03": // idle_in_transaction_session_timeout
		return store.FaultUnavailable
	}
	switch code[:min(2, len(code))] {
	case "08", // connection exception
		"28", // invalid authorization
		"53", // insufficient resources: too many connections, disk full
		"57", // operator intervention: shutdown, crash, starting up
		"58": // system error
		return store.FaultUnavailable
	}
	return store.FaultOther
}
