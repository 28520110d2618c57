package settings

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"reflect"
	"strconv"
	"strings"

	"github.com/gatehouse-ai/gatehouse/internal/safehttp"
	"github.com/gatehouse-ai/gatehouse/internal/secret"
)

// checkValue applies a field's own rule; rules that need several settings are
// in together.
func checkValue(f Field, target reflect.Value) error {
	if err := checkLimits(f, target); err != nil {
		return err
	}
	switch v := target.Interface().(type) {
	case string:
		return checkText(f.check, v)
	case []string:
		return checkList(f.check, v)
	}
	return nil
}

func checkText(rule, v string) error {
	switch {
	case rule == "address":
		_, _, err := splitAddress(v)
		return err
	case v == "" || rule == "":
		return nil
	}
	switch rule {
	case "url":
		return checkExternalURL(v)
	case "database":
		return checkDatabase(v)
	case "redis":
		return errors.New("is not in this version: counters are in memory; run one replica, and leave this out")
	case "logs":
		return errors.New("is not in this version: requests are recorded in the database; leave this out")
	case "masterKey":
		return checkMasterKey(v)
	case "file":
		return checkFile(v, false)
	case "dir":
		return checkFile(v, true)
	}
	return fmt.Errorf("has the unknown rule %q", rule)
}

func checkList(rule string, list []string) error {
	for _, v := range list {
		var err error
		switch rule {
		case "hosts":
			err = checkHost(v)
		case "origins":
			err = checkOrigin(v)
		case "allowEnv":
			err = unnamed(secret.Allow{Env: []string{v}}.Validate(), "secrets.allowEnv: ")
		case "allowFiles":
			err = unnamed(secret.Allow{Files: []string{v}}.Validate(), "secrets.allowFiles: ")
		default:
			err = fmt.Errorf("has the unknown rule %q", rule)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// unnamed drops the setting's dotted name, because the error gets the name in
// the form in which it was given.
func unnamed(err error, name string) error {
	if err == nil {
		return nil
	}
	return errors.New(strings.TrimPrefix(err.Error(), name))
}

func splitAddress(v string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(v)
	if err != nil {
		return "", 0, fmt.Errorf("%q is not an address; write it like 127.0.0.1:8080", v)
	}
	port, err = strconv.Atoi(text)
	if err != nil || port < 0 || port > 65535 || strings.ContainsAny(host, " /@") {
		return "", 0, fmt.Errorf("%q is not an address; write it like 127.0.0.1:8080", v)
	}
	return host, port, nil
}

// IsLoopback reports whether an address of the form host:port is this machine
// alone. A host that is missing is every interface, so it is not.
func IsLoopback(address string) bool {
	host, _, err := splitAddress(address)
	if err != nil {
		return false
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return a.Unmap().IsLoopback()
	}
	return strings.EqualFold(host, "localhost")
}

func checkExternalURL(v string) error {
	u, err := url.Parse(v)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "" || (u.Scheme != "http" && u.Scheme != "https"):
		return errors.New("is not a URL; write it like https://gatehouse.example.com")
	case u.User != nil:
		return errors.New("must not carry a user name or password")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return errors.New("must not have a query or a fragment")
	case strings.Trim(u.Path, "/") != "":
		return errors.New("must not have a path: the server answers at the root of its host")
	}
	return nil
}

// checkMasterKey never repeats the value: it may be a key by mistake.
func checkMasterKey(v string) error {
	kind, rest, ok := strings.Cut(v, ":")
	switch {
	case ok && (kind == "file" || kind == "env") && rest != "":
		return nil
	case strings.Contains(v, "://"):
		return errors.New("a key management service is not in this version; use file:PATH or env:NAME")
	}
	return errors.New("must be a reference, file:PATH or env:NAME, never the key itself")
}

func checkFile(v string, dir bool) error {
	info, err := os.Stat(v)
	switch {
	case err != nil:
		return err
	case dir && !info.IsDir():
		return fmt.Errorf("%s is not a directory", v)
	case !dir && !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a file", v)
	}
	return nil
}

func checkHost(v string) error {
	_, err := netip.ParseAddr(v)
	if v == "" || strings.ContainsAny(v, "/*@ ?#,[]") || strings.Contains(v, ":") && err != nil {
		return fmt.Errorf("%q is not a host; write it like gatehouse.example.com, without a scheme, port or wildcard", v)
	}
	return nil
}

func checkOrigin(v string) error {
	u, err := url.Parse(v)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || v != u.Scheme+"://"+u.Host || strings.Contains(u.Host, "*") {
		return fmt.Errorf("%q is not an origin; write it like https://app.example.com, without a path or wildcard", v)
	}
	return nil
}

// together checks what depends on several settings.
func (l *loader) together(s *Settings, env environ, dev bool) {
	s.Server.ExternalURL = strings.TrimRight(s.Server.ExternalURL, "/")
	switch {
	case s.Server.TLS.Cert != "" && s.Server.TLS.Key == "":
		l.errorf(s.Origin("server.tls.cert"), "needs server.tls.key as well")
	case s.Server.TLS.Key != "" && s.Server.TLS.Cert == "":
		l.errorf(s.Origin("server.tls.key"), "needs server.tls.cert as well")
	}
	if _, port, err := splitAddress(s.Ops.Address); err == nil && port != 0 && s.Ops.Address == s.Server.Address {
		l.errorf(s.Origin("ops.address"), "is the same as server.address")
	}
	if _, ok := s.Database.Postgres(); ok && s.Secrets.MasterKey == "" {
		l.errorf("secrets.masterKey", "must be given with PostgreSQL ("+s.Origin("database.url")+"), as file:PATH or env:NAME (GATEHOUSE_SECRETS_MASTER_KEY, --secrets-master-key): "+
			"every replica needs the same key, so none is made; openssl rand -base64 32 makes one")
	}
	if !s.Compat.AuthEnabled && !IsLoopback(s.Server.Address) {
		l.errorf(authSwitchName(env)+"=false", "is refused because "+s.Origin("server.address")+" ("+s.Server.Address+
			") is not a loopback address: anybody could use the models; listen on 127.0.0.1, or leave authentication on")
	}
	if dev {
		l.loopbackOnly(s)
	}
	l.remarks(s, env)
}

func authSwitchName(env environ) string {
	if env.get(envAuthEnable) != "" {
		return envAuthEnable
	}
	return envAuthEnabled
}

func (l *loader) loopbackOnly(s *Settings) {
	for name, address := range map[string]string{
		"server.address": s.Server.Address, "ops.address": s.Ops.Address, "dev.address": s.Dev.Address,
	} {
		if !IsLoopback(address) {
			l.errorf(s.Origin(name), fmt.Sprintf("%s is not a loopback address; gatehouse dev is for one machine, use gatehouse serve", address))
		}
	}
}

func (l *loader) remarks(s *Settings, env environ) {
	for _, p := range s.Server.TrustedProxies {
		if p.Bits() == 0 {
			l.notice(s.Origin("server.trustedProxies"), p.String()+" is everybody: every caller can claim any address")
		}
	}
	if u, err := url.Parse(s.Server.ExternalURL); err == nil && u.Scheme == "http" && !safehttp.IsLoopbackHost(u.Hostname()) {
		l.notice(s.Origin("server.externalURL"), "plain http: tokens can be read on the way; put TLS in front")
	}
	l.databaseRemarks(s)
	if !s.Compat.AuthEnabled {
		l.notice(authSwitchName(env)+"=false", "authentication is off: anybody on this machine can use the models")
	}
	if f := env.get("SSL_CERT_FILE"); f != "" && checkFile(f, false) != nil {
		l.notice("SSL_CERT_FILE", "cannot be read, so Go trusts no certificate authority from it")
	}
}
