package sso

import (
	"context"
	"net/http"
	"testing"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/control/api"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
	"github.com/gatehouse-ai/gatehouse/internal/store/sqlite"
)

// realStore is a world on the ports' real store: its own in memory is a fake.
func realStore(t *testing.T) (*world, *sqlite.DB, *snapshot.Publisher) {
	t.Helper()
	w := newWorld(t, nil)
	w.realTime = true
	ctx := context.Background()
	db, err := sqlite.Open(ctx, sqlite.Options{Path: sqlite.Memory})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	pub := snapshot.NewPublisher(snapshot.Options{Loader: db, Coalesce: time.Microsecond})
	if err := pub.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pub.Close)
	opt := w.h.opt
	opt.Snapshots, opt.Store, opt.Sessions, opt.BreakGlass, opt.Now = pub, db, db, db, time.Now
	if w.h, err = New(opt); err != nil {
		t.Fatal(err)
	}
	w.h.guard.memory = 64
	t.Cleanup(w.h.Close)
	return w, db, pub
}

func TestSignInOnTheRealStore(t *testing.T) {
	w, db, pub := realStore(t)
	ctx := context.Background()
	c := w.connection("main")
	c.UID, c.ResourceVersion, c.Spec.OIDC.ClientSecret = "", "", &v1.SecretValue{Env: "CLIENT_SECRET"}
	c.Default()
	team := &v1.Team{Spec: v1.TeamSpec{IdentityProviderGroups: []v1.GroupRef{{SsoConnection: "main", Group: "eng"}}}}
	team.APIVersion, team.Kind, team.Name = v1.APIVersion, v1.KindTeam, "research"
	head, err := db.Commit(ctx, &record.Batch{PutResources: []v1.Resource{c, team}})
	if err != nil {
		t.Fatal(err)
	}
	if err := pub.WaitFor(ctx, head); err != nil {
		t.Fatal(err)
	}
	b := w.browser()
	if rec := b.signIn(); rec.Code != http.StatusSeeOther {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	v, err := w.h.Sessions().Authenticate(b.api("GET"))
	if err != nil || len(v.Principal.Teams) != 1 || v.Principal.Teams[0] != "research" {
		t.Fatalf("%v %+v", err, v.Principal)
	}
	var browsers api.Browsers = w.h.Sessions() // what the control API asks
	if who, grant, _, err := browsers.Visit(b.api("GET")); err != nil || who.UID != v.Principal.UID || grant.TokenID != v.Grant.TokenID {
		t.Errorf("%v %+v", err, who)
	}
	if _, _, _, err := browsers.Visit(w.browser().api("GET")); identity.CodeOf(err) != identity.CodeNoCredential {
		t.Errorf("without a cookie: %v", err)
	}
	before := b.cookies[SessionCookie]
	if rec := b.signIn(); rec.Code != http.StatusSeeOther { // again: rotated, memberships written anew
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	if list, err := w.h.Sessions().List(ctx, v.Principal.UID); err != nil || len(list) != 1 || list[0].Digest != identity.DigestOf(b.cookies[SessionCookie]) || before == b.cookies[SessionCookie] {
		t.Errorf("%v %+v", err, list)
	}
	if rec := w.backchannel(w.idp.sign(w.logoutClaimsOf(nil), "logout+jwt")); rec.Code != http.StatusOK {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	deadline, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	now, err := db.Head(ctx)
	if err == nil {
		err = pub.WaitFor(deadline, now)
	}
	if err != nil {
		t.Fatal(err)
	}
	if code := w.authenticates(b); code != identity.CodeInvalidToken {
		t.Errorf("after a back-channel logout: %q", code)
	}
	if again := w.idp.sign(w.logoutClaimsOf(nil), "logout+jwt"); w.backchannel(again).Code != http.StatusBadRequest {
		t.Error("its jti works twice")
	}
	// Switched off: nothing to sign in with, and no session that is left.
	b.signIn()
	u, err := db.User(ctx, v.Principal.UID)
	if err != nil {
		t.Fatal(err)
	}
	u.Active = false
	if head, err = db.Commit(ctx, &record.Batch{PutUsers: []identity.User{u}}); err == nil {
		err = pub.WaitFor(deadline, head)
	}
	if err != nil {
		t.Fatal(err)
	}
	if code := w.authenticates(b); code != identity.CodeInvalidToken {
		t.Errorf("a deactivated user: %q", code)
	}
	if rec := w.browser().signIn(); rec.Code != http.StatusForbidden {
		t.Errorf("a deactivated user signs in: %d", rec.Code)
	}
}
