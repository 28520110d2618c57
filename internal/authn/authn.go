package authn

import (
	"context"
	"net/http"
	"net/netip"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

// Credential is what a request brings to prove who is asking.
type Credential struct {
	// Authorization and APIKey are all values of the Authorization and
	// x-api-key headers.
	Authorization []string
	APIKey        []string
	// Addr is the caller's address, as far as it can be trusted.
	Addr netip.Addr
}

// FromHeader takes the credential out of a request's header, so that nothing
// after authentication ever sees it.
func FromHeader(h http.Header, addr netip.Addr) Credential {
	c := Credential{Authorization: h["Authorization"], APIKey: h["X-Api-Key"], Addr: addr}
	delete(h, "Authorization")
	delete(h, "X-Api-Key")
	return c
}

// Caller is who is asking, as of one snapshot. Snapshot may be newer than the
// one that was asked with, where a person had to be created first.
type Caller struct {
	Principal *identity.Principal
	Grant     *identity.Grant
	Snapshot  *snapshot.Snapshot
}

// Directory creates or links a person whom the snapshot does not know yet.
type Directory interface {
	// Ensure returns the person's uid and the revision at which the snapshot
	// knows them.
	Ensure(ctx context.Context, a identity.Arrival) (uid string, head identity.Head, err error)
}
