package app

import (
	"context"
	"os"
	"sync/atomic"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/authn/keyring"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/secret"
	"github.com/gatehouse-ai/gatehouse/internal/secret/stored"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

// keyRuntime tells the key ring which identity providers there are.
type keyRuntime struct {
	ring  *keyring.Ring
	allow secret.Allow
	log   func(provider string, err error)
}

// Reconcile is called before a snapshot is published; it waits for nobody.
func (k *keyRuntime) Reconcile(_, next *snapshot.Snapshot) {
	sources := make([]keyring.Source, 0, len(next.Providers()))
	for _, p := range next.Providers() {
		src := keyring.Source{
			UID: p.UID, Name: p.Name, Issuer: p.Spec.Issuer, JWKSURLs: p.Spec.JWKSURLs, Inline: p.Spec.JWKS,
			InsecureHTTP: p.Spec.InsecureHTTP, AllowPrivate: p.Spec.AllowPrivateNetwork, StaleFor: p.StaleFor,
		}
		if ca := p.Spec.CACert; ca != nil {
			src.CAPEM, src.CAFile = []byte(ca.PEM), ca.File
			if err := k.allow.CheckFile(ca.File, p.Manager); ca.File != "" && err != nil {
				// A CA that may not be read must not become "the system's CAs".
				k.log(p.Name, err)
				src.CAFile = os.DevNull
			}
		}
		sources = append(sources, src)
	}
	k.ring.Reconcile(sources)
}

// secretWait is how long a publish waits for the first attempt at secrets that
// have changed, so that a changed key is not answered with 503 for a moment.
const secretWait = 250 * time.Millisecond

// secretRuntime tells the secret cache which references there are, and hands
// the gateway the key of an account, and the sign-in a connection's secret.
type secretRuntime struct {
	cache   *secret.Cache
	kept    *stored.Kept // nil where none are kept
	handles atomic.Pointer[map[*snapshot.Account]*secret.Handle]
	clients atomic.Pointer[map[*v1.SsoConnection]*secret.Handle]
}

// Reconcile is called before a snapshot is published. The handles of the
// snapshot before are kept: a request that began under it sends its key to its
// destination, never the new key to the old one.
func (r *secretRuntime) Reconcile(prev, next *snapshot.Snapshot) {
	if prev != nil && prev.ConfigID() == next.ConfigID() {
		return
	}
	handles := map[*snapshot.Account]*secret.Handle{}
	if old := r.handles.Load(); old != nil && prev != nil {
		for _, a := range prev.Accounts() {
			if h := (*old)[a]; h != nil {
				handles[a] = h
			}
		}
	}
	var refs []secret.Ref
	for _, a := range next.Accounts() {
		if ref, ok := accountRef(a); ok {
			refs = append(refs, ref)
		}
	}
	for _, c := range next.SsoConnections() {
		if ref, ok := connectionRef(c); ok {
			refs = append(refs, ref)
		}
	}
	r.cache.Reconcile(refs)
	if r.kept != nil {
		r.kept.Only(refs)
	}
	clients := map[*v1.SsoConnection]*secret.Handle{}
	for _, c := range next.SsoConnections() {
		if ref, ok := connectionRef(c); ok {
			clients[c] = r.cache.Handle(ref)
		}
	}
	for _, a := range next.Accounts() {
		if ref, ok := accountRef(a); ok {
			handles[a] = r.cache.Handle(ref)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), secretWait)
	defer cancel()
	_ = r.cache.WaitReady(ctx) // what is still without a value answers 503 and is in Status
	r.handles.Store(&handles)
	r.clients.Store(&clients)
}

func connectionRef(c *v1.SsoConnection) (secret.Ref, bool) {
	if c.Spec.OIDC == nil || c.Spec.OIDC.ClientSecret == nil {
		return secret.Ref{}, false
	}
	return secret.Ref{
		ResourceUID: c.UID, ResourceName: c.Name, Path: "spec.oidc.clientSecret", Manager: c.Manager, Value: *c.Spec.OIDC.ClientSecret,
	}, true
}

// ClientSecret returns the client secret of a connection of the present
// snapshot. Error: secret_unavailable.
func (r *secretRuntime) ClientSecret(c *v1.SsoConnection) (string, error) {
	var h *secret.Handle
	if m := r.clients.Load(); m != nil {
		h = (*m)[c]
	}
	if h == nil {
		return "", identity.Errorf(identity.CodeSecretUnavailable, "the client secret of this connection cannot be had right now")
	}
	v, err := h.Value()
	if err != nil {
		return "", identity.Wrap(identity.CodeSecretUnavailable, err, "the client secret of this connection cannot be had right now")
	}
	return v, nil
}

func accountRef(a *snapshot.Account) (secret.Ref, bool) {
	key := a.Resource.Spec.Credentials.APIKey
	if key == nil {
		return secret.Ref{}, false
	}
	return secret.Ref{
		ResourceUID: a.UID, ResourceName: a.Name, Path: "spec.credentials.apiKey", Manager: a.Resource.Manager, Value: *key,
	}, true
}

// Key returns the key of an account as of the account's own snapshot. Error:
// secret_unavailable.
func (r *secretRuntime) Key(a *snapshot.Account) (string, error) {
	var h *secret.Handle
	if m := r.handles.Load(); m != nil {
		h = (*m)[a]
	}
	if h == nil {
		return "", identity.Errorf(identity.CodeSecretUnavailable, "the key of this provider account cannot be had right now")
	}
	v, err := h.Value()
	if err != nil {
		return "", identity.Wrap(identity.CodeSecretUnavailable, err, "the key of this provider account cannot be had right now")
	}
	return v, nil
}
