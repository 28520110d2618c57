package store

import (
	"context"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

// EnsureUser finds the person whom a token describes, links them by e-mail
// address or creates them, as the arrival permits, in one transaction, and
// returns their uid and the head at which they are to be seen. Calls at the
// same time for one person give one user.
//
// Errors: invalid_token (the identity or the address was deleted),
// identity_conflict (the address is somebody's who may not be linked, or who
// has another identity of this issuer), not_found (nobody, and none may be
// created), database_unavailable.
func (db *Database) EnsureUser(ctx context.Context, a identity.Arrival) (uid string, head identity.Head, err error) {
	a.Email = v1.NormalizeEmail(a.Email)
	var changes changeSet
	err = db.change(ctx, func(t *tx) error {
		changes = changeSet{}
		if uid, err = t.ensureUser(&a, &changes); err != nil {
			return err
		}
		head, err = t.takeRevision(&changes)
		return err
	})
	if err != nil {
		return "", identity.Head{}, err
	}
	if !changes.empty() {
		db.watch.wake(head)
	}
	return uid, head, nil
}

func (t *tx) ensureUser(a *identity.Arrival, changes *changeSet) (uid string, err error) {
	if a.Key.Issuer == "" || a.Key.Subject == "" {
		return "", identity.Errorf(identity.CodeInvalidToken, "the token does not say whose it is")
	}
	found, err := t.one(`SELECT user_uid FROM user_identities WHERE issuer = ? AND subject = ?`, []any{a.Key.Issuer, a.Key.Subject}, &uid)
	if found || err != nil {
		return uid, err
	}
	buried, err := t.tombstonesOf(a.Email, &a.Key)
	if err != nil {
		return "", err
	}
	if len(buried) > 0 {
		return "", &identity.Error{
			Code: identity.CodeInvalidToken, Message: "this account was deleted",
			Detail: "a tombstone holds the identity or the e-mail address; an admin lifts it by creating the user again",
		}
	}
	linked := false
	if a.Email != "" {
		if found, err = t.one(`SELECT uid FROM users WHERE email = ?`, []any{a.Email}, &uid); err != nil {
			return "", err
		}
	}
	if found {
		other := ""
		if linked, err = t.one(`SELECT subject FROM user_identities WHERE user_uid = ? AND issuer = ?`, []any{uid, a.Key.Issuer}, &other); err != nil {
			return "", err
		}
	}
	create, err := a.Decide(found, linked)
	switch {
	case err != nil:
		return "", err
	case create:
		return t.createUser(a, changes)
	}
	return uid, t.link(uid, a, changes)
}

func (t *tx) link(uid string, a *identity.Arrival, changes *changeSet) error {
	if err := t.insertIdentity(uid, identity.UserIdentity{Issuer: a.Key.Issuer, Subject: a.Key.Subject, LinkedAt: t.now}); err != nil {
		return err
	}
	if err := t.growVersion(uid); err != nil {
		return err
	}
	changes.add(changeUser, uid, opPut)
	return t.auditArrival("user.link", uid, a)
}

func (t *tx) createUser(a *identity.Arrival, changes *changeSet) (string, error) {
	uid, err := newID()
	if err != nil {
		return "", err
	}
	u := identity.User{UID: uid, Email: a.Email, DisplayName: a.DisplayName, Active: true, CreatedAt: t.now, Version: t.nextVersion(0)}
	if err := t.insertUser(&u); err != nil {
		return "", err
	}
	if err := t.insertIdentity(uid, identity.UserIdentity{Issuer: a.Key.Issuer, Subject: a.Key.Subject, LinkedAt: t.now}); err != nil {
		return "", err
	}
	changes.add(changeUser, uid, opPut)
	return uid, t.auditArrival("user.create", uid, a)
}

// auditArrival: the person acts for themselves, through their token or sign-in.
func (t *tx) auditArrival(action, uid string, a *identity.Arrival) error {
	who := string(identity.UserSubject(a.Email))
	after, err := jsonOf(map[string]string{"uid": uid, "email": a.Email, "issuer": a.Key.Issuer, "subject": a.Key.Subject, "through": a.Through})
	if err != nil {
		return err
	}
	_, err = t.putAudit([]record.AuditEntry{{
		Actor: who, ActorUID: uid, Via: a.Via, RemoteAddr: a.RemoteAddr, RequestID: a.RequestID, Action: action, Target: who, After: after, Outcome: "done",
	}})
	return err
}
