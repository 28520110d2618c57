package snapshot

import (
	"maps"
	"slices"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// Builder makes a snapshot of rows, or of another snapshot and a change. It
// shares with the other snapshot whatever the change leaves alone.
type Builder struct {
	s         *Snapshot
	prev      *Snapshot
	ownTokens [tokenShards]bool
	ownChunks map[uint32]bool
	recompile bool
	recheck   bool // whether there is an admin
}

// NewBuilder starts from a snapshot, or from nothing.
func NewBuilder(prev *Snapshot) *Builder {
	b := &Builder{prev: prev, ownChunks: map[uint32]bool{}}
	if prev == nil {
		b.recompile = true
		b.s = &Snapshot{
			resources: map[identity.ResourceKey]v1.Resource{}, quarantined: map[identity.ResourceKey]string{},
			tokens: &tokenTable{}, tokenOwners: newSharded[string, uint32](),
			users: newSharded[string, *User](), byEmail: newSharded[string, string](), byIdentity: newSharded[identity.IdentityKey, string](),
			tombs: newSharded[string, *identity.Tombstone](), tombIdentities: newSharded[identity.IdentityKey, string](),
			tombEmails: newSharded[string, string](),
		}
		return b
	}
	tokens := *prev.tokens
	b.s = &Snapshot{
		cfg: prev.cfg, resources: prev.resources, quarantined: prev.quarantined,
		tokens: &tokens, tokenOwners: prev.tokenOwners.fork(),
		owners: owners{chunks: append([]*[ownerChunk]Owner(nil), prev.owners.chunks...), next: prev.owners.next},
		users:  prev.users.fork(), byEmail: prev.byEmail.fork(), byIdentity: prev.byIdentity.fork(),
		tombs: prev.tombs.fork(), tombIdentities: prev.tombIdentities.fork(), tombEmails: prev.tombEmails.fork(),
		hasAdmin: prev.hasAdmin, adminUID: prev.adminUID,
	}
	return b
}

// Add takes rows in. Removals come first: what a change removes and adds again
// is there afterwards.
func (b *Builder) Add(rows *identity.Rows) {
	for _, d := range rows.RemovedTokens {
		b.removeToken(d)
	}
	for _, uid := range rows.RemovedUsers {
		b.removeUser(uid)
	}
	for _, uid := range rows.LiftedTombstones {
		b.liftTombstone(uid)
	}
	for i := range rows.Tombstones {
		b.addTombstone(&rows.Tombstones[i])
	}
	for i := range rows.Users {
		b.addUser(&rows.Users[i])
	}
	b.addResources(rows)
	for i := range rows.Tokens {
		b.addToken(&rows.Tokens[i])
	}
}

func (b *Builder) addResources(rows *identity.Rows) {
	if len(rows.Resources)+len(rows.RemovedResources)+len(rows.Quarantined) == 0 {
		return
	}
	if b.prev != nil && !b.recompile {
		b.s.resources, b.s.quarantined = maps.Clone(b.s.resources), maps.Clone(b.s.quarantined)
	}
	b.recompile = true
	for _, key := range rows.RemovedResources {
		delete(b.s.resources, key)
		delete(b.s.quarantined, key)
	}
	for _, r := range rows.Resources {
		key := identity.ResourceKey{Kind: r.Type().Kind, Name: r.Meta().Name}
		delete(b.s.quarantined, key)
		b.s.resources[key] = r
	}
	for _, q := range rows.Quarantined {
		delete(b.s.resources, q.Key)
		b.s.quarantined[q.Key] = q.Reason
	}
}

// ownerIndex numbers a uid; the number never changes its meaning.
func (b *Builder) ownerIndex(uid string) uint32 {
	if i, ok := b.s.tokenOwners.get(uid); ok {
		return i
	}
	i := b.s.owners.next
	b.s.owners.next++
	if int(i/ownerChunk) == len(b.s.owners.chunks) {
		b.s.owners.chunks = append(b.s.owners.chunks, new([ownerChunk]Owner))
		b.ownChunks[i/ownerChunk] = true
	}
	b.s.tokenOwners.set(uid, i)
	return i
}

func (b *Builder) setOwner(i uint32, o Owner) {
	chunk := i / ownerChunk
	if !b.ownChunks[chunk] {
		c := *b.s.owners.chunks[chunk]
		b.s.owners.chunks[chunk] = &c
		b.ownChunks[chunk] = true
	}
	b.s.owners.chunks[chunk][i%ownerChunk] = o
}

func (b *Builder) addUser(row *identity.User) {
	b.dropUserKeys(row.UID)
	u := &User{User: *row, index: b.ownerIndex(row.UID)}
	b.s.users.set(u.UID, u)
	b.s.byEmail.set(u.Email, u.UID)
	for _, id := range u.Identities {
		b.s.byIdentity.set(identity.IdentityKey{Issuer: id.Issuer, Subject: id.Subject}, u.UID)
	}
	b.setOwner(u.index, Owner{User: u})
	b.recheck = true
}

func (b *Builder) removeUser(uid string) {
	b.dropUserKeys(uid)
	if u, ok := b.s.users.get(uid); ok {
		b.setOwner(u.index, Owner{})
		b.s.users.remove(uid)
	}
	b.recheck = true
}

// dropUserKeys forgets the address and identities of a user, unless they are
// somebody else's by now.
func (b *Builder) dropUserKeys(uid string) {
	old, ok := b.s.users.get(uid)
	if !ok {
		return
	}
	if owner, _ := b.s.byEmail.get(old.Email); owner == uid {
		b.s.byEmail.remove(old.Email)
	}
	for _, id := range old.Identities {
		key := identity.IdentityKey{Issuer: id.Issuer, Subject: id.Subject}
		if owner, _ := b.s.byIdentity.get(key); owner == uid {
			b.s.byIdentity.remove(key)
		}
	}
}

func (b *Builder) addTombstone(t *identity.Tombstone) {
	b.liftTombstone(t.UID)
	b.s.tombs.set(t.UID, t)
	if t.Email != "" {
		b.s.tombEmails.set(t.Email, t.UID)
	}
	for _, k := range t.Identities {
		b.s.tombIdentities.set(k, t.UID)
	}
}

func (b *Builder) liftTombstone(uid string) {
	old, ok := b.s.tombs.get(uid)
	if !ok {
		return
	}
	b.s.tombs.remove(uid)
	if owner, _ := b.s.tombEmails.get(old.Email); owner == uid {
		b.s.tombEmails.remove(old.Email)
	}
	for _, k := range old.Identities {
		if owner, _ := b.s.tombIdentities.get(k); owner == uid {
			b.s.tombIdentities.remove(k)
		}
	}
}

func (b *Builder) shard(d identity.Digest) *tokenShard {
	i := d[0]
	if !b.ownTokens[i] {
		b.s.tokens[i] = b.s.tokens[i].clone()
		b.ownTokens[i] = true
	}
	return b.s.tokens[i]
}

func (b *Builder) addToken(t *identity.Token) {
	if t.RevokedAt != nil {
		b.removeToken(t.Digest)
		return
	}
	var owner uint32
	if t.Owner != "" {
		owner = b.ownerIndex(t.Owner) + 1
	}
	if t.Digest == (identity.Digest{}) {
		return // marks an empty slot, and is the digest of nothing
	}
	b.shard(t.Digest).put(newTokenRecord(t, owner), t.Narrowing)
}

func (b *Builder) removeToken(d identity.Digest) {
	if r, _ := b.s.tokens.find(d); r != nil {
		b.shard(d).remove(d)
	}
}

// Build finishes the snapshot. The builder must not be used again.
func (b *Builder) Build(head identity.Head) *Snapshot {
	s := b.s
	s.head = head
	if b.recompile {
		b.compile()
	}
	if b.recompile || b.recheck {
		s.hasAdmin, s.adminUID = s.findAdmin(s.adminUID)
	}
	s.tokenOwners.seal()
	s.users.seal()
	s.byEmail.seal()
	s.byIdentity.seal()
	s.tombs.seal()
	s.tombIdentities.seal()
	s.tombEmails.seal()
	b.s = nil
	return s
}

// compile makes a new configuration and hands the virtual accounts their tokens.
func (b *Builder) compile() {
	if b.s.cfg != nil {
		for _, v := range b.s.cfg.virtualAccounts {
			b.setOwner(v.index, Owner{})
		}
		for _, d := range b.s.cfg.directories {
			b.setOwner(b.ownerIndex(d.UID), Owner{})
		}
	}
	b.s.cfg = compileConfig(b.s.resources, b.s.quarantined)
	for _, d := range b.s.cfg.directories {
		b.setOwner(b.ownerIndex(d.UID), Owner{Directory: d})
	}
	for _, v := range b.s.cfg.virtualAccounts {
		v.index = b.ownerIndex(v.UID)
		b.setOwner(v.index, Owner{VirtualAccount: v})
	}
}

// findAdmin looks for somebody who is there and is a tenant admin, among those
// who have a role on the tenant: few, whatever the number of users. likely is who
// was found the last time, by uid; so is the answer where that took a search.
func (s *Snapshot) findAdmin(likely string) (found bool, uid string) {
	for i := range s.cfg.tenant.Entries {
		e := &s.cfg.tenant.Entries[i]
		if !e.Permissions.Has(identity.PermTenantAdmin) || e.Expires != 0 {
			continue
		}
		kind, name, ok := v1.ParseSubject(string(e.Who))
		switch {
		case !ok:
		case kind == "user" && s.isThere(name):
			return true, likely
		case kind == "virtual-account":
			if v, ok := s.VirtualAccount(name); ok && v.Resource.IsEnabled() && v.Principal.LimitIDs == nil {
				return true, likely
			}
		case kind == "team":
			if found, uid := s.findMember(name, likely); found {
				return true, uid
			}
		}
	}
	return false, likely
}

// isThere reports whether there is an active person with an address.
func (s *Snapshot) isThere(email string) bool {
	u, ok := s.UserByEmail(email)
	return ok && u.Active
}

// findMember looks for an active person who is in a team by what is stored. Whom
// an identity provider's groups would put there is not known here.
func (s *Snapshot) findMember(team, likely string) (found bool, uid string) {
	everyone := identity.TeamSubject(team) == identity.Everyone
	t, ok := s.cfg.teams[team]
	if !ok && !everyone {
		return false, likely
	}
	if ok && (slices.ContainsFunc(t.Spec.Managers, s.isThere) || slices.ContainsFunc(t.Spec.Members, s.isThere)) {
		return true, likely
	}
	member := func(u *User) bool {
		return u.Active && (everyone || slices.ContainsFunc(u.Memberships, func(m identity.Membership) bool { return m.Team == team }))
	}
	// The one who was found the last time is nearly always still there.
	if u, ok := s.UserByUID(likely); ok && member(u) {
		return true, likely
	}
	s.users.each(func(key string, u *User) bool {
		if found = member(u); found {
			uid = key
		}
		return !found
	})
	return found, uid
}
