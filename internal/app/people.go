package app

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/netip"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/authn"
	"github.com/gatehouse-ai/gatehouse/internal/control/audit"
	"github.com/gatehouse-ai/gatehouse/internal/control/scim"
	"github.com/gatehouse-ai/gatehouse/internal/control/sso"
	"github.com/gatehouse-ai/gatehouse/internal/control/sso/saml"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

// makePeople makes what people come and go by: sign-in and the directories'
// door.
func (a *App) makePeople(secrets *secretRuntime, addr func(*http.Request) netip.Addr) error {
	var err error
	a.sso, err = sso.New(sso.Options{
		Snapshots: a.publisher, Store: a.db, Sessions: a.db, Sealer: a.keys, Secret: secrets.ClientSecret, SAML: a.samlKey,
		BreakGlass: a.db, BreakGlassOff: a.breakGlassOff, CheckFile: a.allow().CheckFile, ExternalURL: a.url, Addr: addr, Now: a.now, Log: a.log,
	})
	if err != nil {
		return err
	}
	a.onStop(func(context.Context) error { a.sso.Close(); return nil })
	a.scim, err = scim.New(scim.Options{
		People: a.db, Past: a.db, Teams: a.db, Writer: a.db,
		Authenticator: directoryTokens{a.publisher, a.explainer, addr, a.ledger.TouchToken, a.now}, Trust: scim.TrustOf(a.publisher, a.now),
		BaseURL: a.url, Addr: addr, Now: a.now,
		Await: func(ctx context.Context, head identity.Head) {
			ctx, cancel := context.WithTimeout(ctx, liveWait)
			defer cancel()
			_ = a.publisher.WaitFor(ctx, head) // it is stored in any case
		},
		Report: func(_ context.Context, err error) { a.log.Error("SCIM", "error", err) },
	})
	return err
}

// makeAuditor begins to sign the audit.
func (a *App) makeAuditor(ctx context.Context) error {
	var err error
	if a.auditor, err = audit.New(ctx, audit.Options{Store: a.db, Sealer: a.keys, Now: a.now, Log: a.log}); err != nil {
		return err
	}
	a.onStop(func(context.Context) error { a.auditor.Close(); return nil })
	return nil
}

// breakGlassOff: the local administrator is there unless TenantSettings say
// otherwise.
func (a *App) breakGlassOff() bool {
	s := a.publisher.Load()
	return s == nil || s.Settings().BreakGlass == v1.BreakGlassDisabled
}

// samlKeyName is under what our key for SAML lies in the store.
const samlKeyName = "saml-1"

// samlKey reads our key for SAML, or makes it: replicas have one.
func (a *App) samlKey(ctx context.Context) (crypto.Signer, *x509.Certificate, error) {
	type pair struct{ Key, Certificate []byte }
	place := []byte("key/" + samlKeyName)
	sealed, err := a.db.Key(ctx, samlKeyName)
	if identity.CodeOf(err) == identity.CodeNotFound {
		var fresh pair
		if fresh.Key, fresh.Certificate, err = saml.GenerateKeyPair(a.now()); err != nil {
			return nil, nil, err
		}
		text, err := json.Marshal(fresh)
		if err != nil {
			return nil, nil, err
		}
		if sealed, err = a.keys.Seal(text, place); err != nil {
			return nil, nil, err
		}
		if sealed, err = a.db.PutKey(ctx, samlKeyName, sealed); err != nil {
			return nil, nil, err
		}
	} else if err != nil {
		return nil, nil, err
	}
	text, err := a.keys.Open(sealed, place)
	if err != nil {
		return nil, nil, err
	}
	var kept pair
	if err := json.Unmarshal(text, &kept); err != nil {
		return nil, nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(kept.Key)
	if err != nil {
		return nil, nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, nil, x509.ErrUnsupportedAlgorithm
	}
	cert, err := x509.ParseCertificate(kept.Certificate)
	return signer, cert, err
}

// directoryTokens says whose SCIM token a request carries.
type directoryTokens struct {
	snapshots *snapshot.Publisher
	auth      *authn.Authenticator
	addr      func(*http.Request) netip.Addr
	used      func(id string, at time.Time, from string)
	now       func() time.Time
}

// Authenticate takes the credential out of the header: nothing later sees it.
func (d directoryTokens) Authenticate(_ context.Context, r *http.Request) (directory, tokenID string, err error) {
	s := d.snapshots.Load()
	if s == nil {
		return "", "", identity.Errorf(identity.CodeNoSnapshot, "the configuration is not available yet")
	}
	addr := d.addr(r)
	if directory, tokenID, err = d.auth.Directory(s, authn.FromHeader(r.Header.Clone(), addr)); err == nil {
		d.used(tokenID, d.now(), addr.String())
	}
	return directory, tokenID, err
}

// announceBreakGlass makes the one-time link of the local administrator, at the
// first start and at later ones for as long as nobody administers this.
func (a *App) announceBreakGlass(ctx context.Context) string {
	if a.opt.Dev || a.cfg.Manifests.Dir != "" {
		return ""
	}
	made, err := a.db.BreakGlass(ctx)
	if err == nil && made != nil {
		if s := a.publisher.Load(); s == nil || s.HasAdmin() {
			return ""
		}
	}
	link := ""
	if err == nil {
		link, err = a.sso.BreakGlassLink(ctx)
	}
	if err != nil {
		a.log.Error("the local administrator's link could not be made", "error", err)
	}
	return link
}
