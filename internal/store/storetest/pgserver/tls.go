package pgserver

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/gatehouse-ai/gatehouse/internal/testkit/testcert"
)

// SetTLS gives the server a certificate for 127.0.0.1, and from then on nothing
// but TLS is let in over the network. It returns the certificate of the CA, in
// PEM.
func (s *Server) SetTLS() (ca []byte, err error) {
	authority := testcert.NewCA("PostgreSQL of a test")
	pair := authority.Server(1, "127.0.0.1")
	for name, text := range map[string][]byte{
		"server.crt":  pair.Cert,
		"server.key":  pair.Key,
		"pg_hba.conf": []byte("hostssl all all 127.0.0.1/32 scram-sha-256\n"),
	} {
		path := filepath.Join(s.data(), name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			return nil, err
		}
		if s.cred != nil {
			if err := os.Chown(path, int(s.cred.Uid), int(s.cred.Gid)); err != nil {
				return nil, err
			}
		}
	}
	return authority.PEM, errors.Join(s.Exec("postgres", `ALTER SYSTEM SET ssl = on`), s.Exec("postgres", `SELECT pg_reload_conf()`))
}
