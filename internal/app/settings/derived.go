package settings

import (
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
)

// DataDir is the directory of the database, where the master key, the bootstrap
// token and the last snapshot are by default; empty for a database in memory and
// for PostgreSQL.
func (s Settings) DataDir() string {
	path, noFile := s.Database.SQLite()
	if noFile {
		return ""
	}
	return filepath.Dir(path)
}

// CopyDir is where this process keeps what lets it start while the database or
// an identity provider is away; empty for nowhere.
func (s Settings) CopyDir() string {
	if s.Snapshot.Dir != "" {
		return s.Snapshot.Dir
	}
	return s.DataDir()
}

// MasterKeyRef returns the reference to the master key, and whether the file may
// be made at first start. It is empty for a database in memory without a
// setting: then a key of the process's own life will do. With PostgreSQL Load has
// seen to it that there is a setting.
func (s Settings) MasterKeyRef() (ref string, create bool) {
	switch dir := s.DataDir(); {
	case s.Secrets.MasterKey != "":
		return s.Secrets.MasterKey, false
	case dir != "":
		return "file:" + filepath.Join(dir, "master.key"), true
	default:
		return "", false
	}
}

// BootstrapTokenFile returns where the one-time admin token is written; empty
// for a database in memory without a setting.
func (s Settings) BootstrapTokenFile() string {
	if dir := s.DataDir(); s.Bootstrap.TokenFile == "" && dir != "" {
		return filepath.Join(dir, "bootstrap.token")
	}
	return s.Bootstrap.TokenFile
}

// URL returns server.externalURL, or, where it was not set, one made of the
// address on which the server really listens. A server on every interface is
// shown as 127.0.0.1.
func (s Server) URL(listening string) string {
	if s.ExternalURL != "" {
		return s.ExternalURL
	}
	scheme := "http"
	if s.TLS.Cert != "" {
		scheme = "https"
	}
	host, port, err := net.SplitHostPort(listening)
	if err != nil {
		return scheme + "://" + listening
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

// Hosts returns the hosts, without ports, whose requests are answered:
// server.allowedHosts, or the external URL's host and loopback.
func (s Server) Hosts(listening string) []string {
	if s.AllowedHosts != nil {
		return slices.Clone(s.AllowedHosts)
	}
	hosts := []string{"localhost", "127.0.0.1", "::1"}
	if u, err := url.Parse(s.URL(listening)); err == nil {
		if h := strings.ToLower(u.Hostname()); h != "" && !slices.Contains(hosts, h) {
			hosts = append(hosts, h)
		}
	}
	return hosts
}
