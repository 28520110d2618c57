package settings

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/gatehouse-ai/gatehouse/internal/safehttp"
)

// SQLite returns the path of the database file; noFile says that there is none
// on this machine: a database that ends with the process, or PostgreSQL.
func (d Database) SQLite() (path string, noFile bool) {
	if _, ok := d.Postgres(); ok {
		return "", true
	}
	path, memory, err := sqlitePath(d.URL)
	if err != nil { // Load has refused it
		return "", true
	}
	return path, memory
}

// Postgres returns the URL of a PostgreSQL database, which holds its password.
func (d Database) Postgres() (url string, ok bool) {
	scheme, _, _ := strings.Cut(d.URL, ":")
	switch strings.ToLower(scheme) {
	case "postgres", "postgresql":
		return strings.ToLower(scheme) + d.URL[len(scheme):], true
	}
	return "", false
}

func checkDatabase(v string) error {
	if u, ok := (Database{URL: v}).Postgres(); ok {
		return checkPostgres(u)
	}
	_, _, err := sqlitePath(v)
	return err
}

// checkPostgres never repeats the URL, nor what the parser says of it: either
// may hold the password.
func checkPostgres(v string) error {
	const form = "write it like postgres://user:password@host:5432/database?sslmode=verify-full, with special characters of the password percent-encoded"
	u, err := url.Parse(v)
	switch {
	case err != nil || u.Opaque != "":
		return errors.New("is not a PostgreSQL URL; " + form)
	case u.Host == "" && u.Query().Get("host") == "":
		return errors.New("names no host; " + form)
	case strings.Trim(u.Path, "/") == "" && !u.Query().Has("dbname") && !u.Query().Has("database"):
		return errors.New("names no database; " + form)
	}
	return nil
}

// sqlitePath reads database.url. It never repeats the URL, which may hold a
// password.
func sqlitePath(v string) (path string, memory bool, err error) {
	scheme, rest, ok := strings.Cut(v, ":")
	switch scheme = strings.ToLower(scheme); {
	case !ok:
		return "", false, errors.New("is not a URL; write it like sqlite:///var/lib/gatehouse/gatehouse.db")
	case scheme != "sqlite":
		return "", false, fmt.Errorf("the scheme %q is not known; use sqlite:///path/to/gatehouse.db or postgres://user:password@host:5432/database", scheme)
	case rest == ":memory:":
		return "", true, nil
	case strings.HasPrefix(rest, "//") && !strings.HasPrefix(rest, "///"):
		return "", false, errors.New("an absolute path has three slashes: sqlite:///path/to/gatehouse.db; a relative one has none: sqlite:gatehouse.db")
	}
	path = strings.TrimPrefix(rest, "//")
	if path == "" || strings.HasSuffix(path, "/") || strings.ContainsAny(path, "?#\x00") {
		return "", false, errors.New("does not name a file; write it like sqlite:///var/lib/gatehouse/gatehouse.db")
	}
	return filepath.Clean(path), false, nil
}

// databaseRemarks are about a database that is not beside the process.
func (l *loader) databaseRemarks(s *Settings) {
	text, ok := s.Database.Postgres()
	if !ok {
		return
	}
	u, err := url.Parse(text)
	if err != nil {
		return
	}
	host := u.Hostname()
	if mode := u.Query().Get("sslmode"); host != "" && !safehttp.IsLoopbackHost(host) && mode != "verify-full" && mode != "verify-ca" {
		l.notice(s.Origin("database.url"), "the server's certificate is not checked: whoever is on the way can read and change the configuration; add sslmode=verify-full")
	}
	if s.Bootstrap.TokenFile == "" && s.Manifests.Dir == "" {
		l.notice("bootstrap.tokenFile", "is not set, and PostgreSQL has no place beside it: no one-time admin token is written; set it, or name an administrator in manifests.dir")
	}
}
