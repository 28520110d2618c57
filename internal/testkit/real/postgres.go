package real

import (
	"fmt"
	"testing"

	"github.com/gatehouse-ai/gatehouse/internal/store/storetest/pgserver"
)

// Postgres starts a PostgreSQL server that ends with the test: on 127.0.0.1,
// with a password, without fsync. It may be stopped, killed, frozen and run
// again. CreateDatabase makes the databases to use.
func Postgres(t testing.TB) *pgserver.Server {
	t.Helper()
	s, err := pgserver.Start()
	if err != nil {
		absent(t, "postgres", err.Error())
	}
	report(t, fmt.Sprintf("ran postgres %s %s", s.Version(), t.Name()))
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("end of the log of postgres:\n%s", s.Log())
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}
