package store

import (
	"context"
	"errors"
	"fmt"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

// commit is one batch on its way into the database.
type commit struct {
	*tx
	batch   *record.Batch
	changes changeSet
	// written are told to the caller's values once the transaction has
	// succeeded, not before.
	written []func()
	// put are the rows of the resources of this batch.
	put map[identity.ResourceKey]storedResource
	// silenced are the people who lost every token and session in this batch.
	silenced map[string]bool
}

// Commit writes a batch whole or not at all and returns the head after it.
// Everything is synced to disk when it returns.
//
// It completes the batch in place when it has succeeded: the metadata of
// resources, and the ids and times of users, tokens and audit entries that had
// none. A resource, user or token that is already as the batch wants it is not
// written again, and a batch that changes nothing takes no revision; its audit
// entries are written all the same.
//
// Errors: precondition_failed (a condition does not hold, or a token or session
// is made for somebody who is not active or was removed), conflict (an e-mail,
// user name, external id, identity, uid, token or session belongs to another),
// not_found (a token to revoke, a session to end), invalid_request,
// database_unavailable.
func (db *Database) Commit(ctx context.Context, b *record.Batch) (identity.Head, error) {
	if err := checkBatch(b); err != nil {
		return identity.Head{}, err
	}
	var head identity.Head
	var c *commit
	err := db.change(ctx, func(t *tx) (err error) {
		c = &commit{tx: t, batch: b, put: map[identity.ResourceKey]storedResource{}, silenced: map[string]bool{}}
		head, err = c.write()
		return err
	})
	if err != nil {
		return identity.Head{}, err
	}
	for _, tell := range c.written {
		tell()
	}
	if !c.changes.empty() {
		db.watch.wake(head)
	}
	return head, nil
}

// checkBatch refuses what no correct caller sends. A plain secret above all:
// it must never reach the disk.
func checkBatch(b *record.Batch) error {
	type field struct {
		key  identity.ResourceKey
		path string
	}
	stored := map[field]bool{}
	for _, r := range b.PutResources {
		key := keyOf(r)
		if key.Kind == "" || key.Name == "" {
			return errors.New("store: a resource without a kind or a name")
		}
		for _, f := range r.Secrets() {
			if f.Value != nil && f.Value.Value != "" {
				return fmt.Errorf("store: %s %s holds a plain secret at %s", key.Kind.Slug(), key.Name, f.Path)
			}
			stored[field{key, f.Path}] = f.Value != nil && f.Value.Stored
		}
	}
	for _, s := range b.Secrets {
		if !stored[field{s.Key, s.Path}] {
			return fmt.Errorf("store: a sealed secret for %s of %s %s, which does not say stored in this batch", s.Path, s.Key.Kind.Slug(), s.Key.Name)
		}
	}
	for i := range b.PutTokens {
		if b.PutTokens[i].Digest == (identity.Digest{}) {
			return errors.New("store: a token without a digest")
		}
		if b.PutTokens[i].ExpiresAt.IsZero() {
			return errors.New("store: a token that does not expire")
		}
	}
	return checkSessions(b)
}

func keyOf(r v1.Resource) identity.ResourceKey {
	return identity.ResourceKey{Kind: r.Type().Kind, Name: r.Meta().Name}
}

// write does everything in the one order that is right: deleting comes after
// creating tokens and sessions, so that none outlives its owner, and before
// putting, so that a name or an address can be used again in the same batch.
func (c *commit) write() (identity.Head, error) {
	steps := []func() error{
		c.checkConditions, c.checkUserConditions, c.putTokens, c.putSessions, c.deleteResources, c.putResources, c.putSecrets,
		c.deleteUsers, c.liftListed, c.putUsers, c.checkOwners, c.revokeTokens, c.endSessions,
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return identity.Head{}, err
		}
	}
	told, err := c.putAudit(c.batch.Audit)
	if err != nil {
		return identity.Head{}, err
	}
	c.written = append(c.written, told)
	return c.takeRevision(&c.changes)
}

func (c *commit) checkConditions() error {
	for _, cond := range c.batch.Conditions {
		s, found, err := c.resource(cond.Key)
		switch {
		case err != nil:
			return err
		case found && cond.ResourceVersion == "":
			return failed(cond.Key, "exists already")
		case !found && cond.ResourceVersion != "":
			return failed(cond.Key, "does not exist any more")
		case s.version != cond.ResourceVersion:
			return failed(cond.Key, "was changed by somebody else; read it again")
		}
	}
	return nil
}

func failed(key identity.ResourceKey, why string) error {
	return identity.Errorf(identity.CodePreconditionFailed, "%s %s %s", key.Kind.Slug(), key.Name, why)
}

func (c *commit) deleteResources() error {
	for _, key := range c.batch.DeleteResources {
		s, found, err := c.resource(key)
		if err != nil {
			return err
		}
		if !found {
			continue
		}
		// The sealed secrets go with it (ON DELETE CASCADE).
		if _, err := c.exec(`DELETE FROM resources WHERE uid = ?`, s.uid); err != nil {
			return err
		}
		c.changes.add(changeResource, resourceChangeKey(key), opDelete)
		switch key.Kind {
		case v1.KindVirtualAccount:
			err = c.revokeTokensOf(s.uid)
		case v1.KindTeam:
			err = c.endMemberships(key.Name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *commit) putResources() error {
	for _, r := range c.batch.PutResources {
		if err := c.putResource(r); err != nil {
			return fmt.Errorf("write %s %s: %w", r.Type().Kind.Slug(), r.Meta().Name, err)
		}
	}
	return nil
}

func (c *commit) putResource(r v1.Resource) error {
	want, err := c.wanted(r)
	if err != nil {
		return err
	}
	key := keyOf(r)
	old, found, err := c.resource(key)
	if err != nil {
		return err
	}
	switch {
	case !found:
		err = c.insertResource(r, &want)
	default:
		err = c.updateResource(&old, &want)
	}
	if settings, ok := r.(*v1.TenantSettings); ok && err == nil {
		err = c.shortenTokens(settings.Spec.PersonalAccessTokenMaxAge.Std())
	}
	if err != nil {
		return err
	}
	c.put[key] = want
	c.written = append(c.written, func() { s := c.put[key]; s.fill(r.Meta()) })
	return c.dropSecrets(r, want.uid)
}

// wanted is the row that a resource of the batch asks for, without what the
// store sets.
func (c *commit) wanted(r v1.Resource) (s storedResource, err error) {
	m := r.Meta()
	s = storedResource{
		kind: string(r.Type().Kind), name: m.Name, apiVersion: r.Type().APIVersion, manager: m.Manager,
		version: newVersion(), generation: 1, createdMillis: c.now.UnixMilli(),
	}
	if s.apiVersion == "" {
		s.apiVersion = v1.APIVersion
	}
	if s.spec, err = specOf(r); err != nil {
		return s, err
	}
	if s.labels, err = encodeMap(m.Labels); err != nil {
		return s, err
	}
	s.annotations, err = encodeMap(m.Annotations)
	return s, err
}

func (c *commit) insertResource(r v1.Resource, want *storedResource) (err error) {
	if want.kind == string(v1.KindTeam) {
		// Of a sign-in that was under way when an earlier team of the name went.
		if err := c.endMemberships(want.name); err != nil {
			return err
		}
	}
	if want.uid = r.Meta().UID; want.uid == "" {
		if want.uid, err = newID(); err != nil {
			return err
		}
	}
	_, err = c.exec(`INSERT INTO resources (`+resourceColumns+`, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		want.uid, want.kind, want.name, want.apiVersion, want.spec, want.labels, want.annotations,
		want.manager, want.generation, want.version, want.createdMillis, want.createdMillis)
	c.changes.add(changeResource, resourceChangeKey(want.key()), opPut)
	return err
}

func (c *commit) updateResource(old, want *storedResource) error {
	sameSpec := old.spec == want.spec && old.apiVersion == want.apiVersion
	if sameSpec && old.labels == want.labels && old.annotations == want.annotations && old.manager == want.manager {
		*want = *old
		return nil
	}
	want.uid, want.createdMillis, want.generation = old.uid, old.createdMillis, old.generation
	if !sameSpec {
		want.generation++
	}
	if want.kind == string(v1.KindTeam) && v1.FromDirectory(old.manager) && !v1.FromDirectory(want.manager) {
		if err := c.keepMembers(want.name); err != nil {
			return err
		}
	}
	_, err := c.exec(`UPDATE resources SET api_version = ?, spec = ?, labels = ?, annotations = ?, manager = ?, generation = ?, resource_version = ?, updated_at = ? WHERE uid = ?`,
		want.apiVersion, want.spec, want.labels, want.annotations, want.manager, want.generation, want.version, c.now.UnixMilli(), want.uid)
	c.changes.add(changeResource, resourceChangeKey(want.key()), opPut)
	return err
}

// dropSecrets removes the sealed values of fields that no longer say stored.
func (c *commit) dropSecrets(r v1.Resource, uid string) error {
	stored := map[string]bool{}
	for _, f := range r.Secrets() {
		if f.Value != nil && f.Value.Stored {
			stored[f.Path] = true
		}
	}
	var drop []string
	err := c.each(`SELECT path FROM sealed_secrets WHERE resource_uid = ?`, []any{uid}, func(r row) error {
		var path string
		err := r.Scan(&path)
		if err == nil && !stored[path] {
			drop = append(drop, path)
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, path := range drop {
		if _, err := c.exec(`DELETE FROM sealed_secrets WHERE resource_uid = ? AND path = ?`, uid, path); err != nil {
			return err
		}
	}
	return nil
}

// putSecrets keeps sealed values. Another ciphertext of the same value changes
// nothing that anybody sees and takes no revision.
func (c *commit) putSecrets() error {
	for _, s := range c.batch.Secrets {
		uid, digest := c.put[s.Key].uid, ""
		found, err := c.one(`SELECT digest FROM sealed_secrets WHERE resource_uid = ? AND path = ?`, []any{uid, s.Path}, &digest)
		if err != nil {
			return err
		}
		_, err = c.exec(`INSERT INTO sealed_secrets (resource_uid, path, digest, sealed) VALUES (?, ?, ?, ?)
			ON CONFLICT (resource_uid, path) DO UPDATE SET digest = excluded.digest, sealed = excluded.sealed`, uid, s.Path, s.Digest, s.Sealed)
		if err != nil {
			return err
		}
		if !found || digest != s.Digest {
			c.changes.add(changeResource, resourceChangeKey(s.Key), opPut)
		}
	}
	return nil
}
