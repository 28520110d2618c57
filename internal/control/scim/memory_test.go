package scim_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

// memory is the store's contract, in memory: what the server relies on and no
// more.
type memory struct {
	mu       sync.Mutex
	users    map[string]identity.User
	items    map[identity.ResourceKey]v1.Resource
	tombs    map[string]identity.Tombstone
	tokens   map[string]identity.Token
	audit    []record.AuditEntry
	batches  []int // people written by each batch
	reads    int   // people read
	lists    int   // lists of members
	revision uint64
	// before runs before a commit, without the lock, so that a test can write
	// in between.
	before func(*record.Batch)
}

func newMemory() *memory {
	return &memory{
		users: map[string]identity.User{}, items: map[identity.ResourceKey]v1.Resource{},
		tombs: map[string]identity.Tombstone{}, tokens: map[string]identity.Token{},
	}
}

func missing() error { return identity.Errorf(identity.CodeNotFound, "there is no such thing") }

func cloneUser(u identity.User) identity.User {
	u.Memberships, u.Identities = slices.Clone(u.Memberships), slices.Clone(u.Identities)
	return u
}

func cloneTeam(r v1.Resource) v1.Resource {
	b, err := json.Marshal(r)
	if err != nil {
		panic(err)
	}
	out := v1.New(r.Type().Kind)
	if err := json.Unmarshal(b, out); err != nil {
		panic(err)
	}
	return out
}

func managerOf(m string) string { return strings.TrimPrefix(m, "api") }

func (m *memory) User(_ context.Context, uid string) (identity.User, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reads++
	u, ok := m.users[uid]
	if !ok {
		return u, missing()
	}
	return cloneUser(u), nil
}

func (m *memory) UserOf(_ context.Context, manager, attribute, value string) (identity.User, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, u := range m.users {
		hit := map[string]bool{
			"userName": u.UserName != "" && strings.EqualFold(u.UserName, value), "email": u.Email == v1.NormalizeEmail(value),
			"externalId": u.ExternalID != "" && u.ExternalID == value,
		}[attribute]
		if hit && managerOf(u.Manager) == managerOf(manager) {
			m.reads++
			return cloneUser(u), nil
		}
	}
	return identity.User{}, missing()
}

func (m *memory) of(manager string) []identity.User {
	var list []identity.User
	for _, uid := range slices.Sorted(maps.Keys(m.users)) {
		if u := m.users[uid]; managerOf(u.Manager) == managerOf(manager) {
			list = append(list, cloneUser(u))
		}
	}
	return list
}

func (m *memory) UsersOf(_ context.Context, manager, after string, limit int) ([]identity.User, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := slices.DeleteFunc(m.of(manager), func(u identity.User) bool { return u.UID <= after })
	list = list[:min(len(list), limit)]
	m.reads += len(list)
	return list, nil
}

func (m *memory) UserBefore(_ context.Context, manager string, leaveOut int) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := m.of(manager)
	if leaveOut <= 0 || len(list) == 0 {
		return "", nil
	}
	return list[min(leaveOut, len(list))-1].UID, nil
}

func (m *memory) CountUsersOf(_ context.Context, manager string) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.of(manager)), nil
}

func (m *memory) TeamMembers(_ context.Context, team, source, after string, limit int) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lists++
	var list []string
	for _, uid := range slices.Sorted(maps.Keys(m.users)) {
		if uid > after && slices.ContainsFunc(m.users[uid].Memberships, func(x identity.Membership) bool {
			return x.Team == team && (source == "" || x.Source == source)
		}) {
			list = append(list, uid)
		}
	}
	return list[:min(len(list), limit)], nil
}

func (m *memory) TombstonesOf(_ context.Context, email string, keys []identity.IdentityKey) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []string
	for uid, t := range m.tombs {
		if email != "" && t.Email == email || slices.ContainsFunc(keys, func(k identity.IdentityKey) bool { return slices.Contains(t.Identities, k) }) {
			list = append(list, uid)
		}
	}
	return list, nil
}

func (m *memory) Resource(_ context.Context, key identity.ResourceKey) (v1.Resource, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r, ok := m.items[key]; ok {
		return cloneTeam(r), nil
	}
	return nil, missing()
}

func (m *memory) ResourceByUID(_ context.Context, kind v1.Kind, uid string) (v1.Resource, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, r := range m.items {
		if k.Kind == kind && r.Meta().UID == uid {
			return cloneTeam(r), nil
		}
	}
	return nil, missing()
}

func (m *memory) Resources(_ context.Context, kind v1.Kind, after string, limit int) ([]v1.Resource, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []v1.Resource
	for k, r := range m.items {
		if k.Kind == kind && k.Name > after {
			list = append(list, cloneTeam(r))
		}
	}
	slices.SortFunc(list, func(a, b v1.Resource) int { return cmp.Compare(a.Meta().Name, b.Meta().Name) })
	return list[:min(len(list), limit)], nil
}

func (m *memory) Commit(_ context.Context, b *record.Batch) (identity.Head, error) {
	if m.before != nil {
		m.before(b)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.check(b); err != nil {
		return identity.Head{}, err
	}
	users, tokens, tombs := maps.Clone(m.users), maps.Clone(m.tokens), maps.Clone(m.tombs)
	silence := func(uid string) {
		for id, t := range tokens {
			if t.Owner == uid && t.RevokedAt == nil {
				now := time.Now()
				t.RevokedAt = &now
				tokens[id] = t
			}
		}
	}
	for _, uid := range b.DeleteUsers {
		u, ok := users[uid]
		if !ok {
			continue
		}
		t := identity.Tombstone{UID: uid, Email: u.Email, DeletedAt: time.Now()}
		for _, id := range u.Identities {
			t.Identities = append(t.Identities, identity.IdentityKey{Issuer: id.Issuer, Subject: id.Subject})
		}
		tombs[uid] = t
		delete(users, uid)
		silence(uid)
	}
	for _, uid := range b.LiftTombstones {
		delete(tombs, uid)
	}
	put := make([]identity.User, len(b.PutUsers))
	for i, u := range b.PutUsers {
		if u.UID == "" {
			m.revision++
			u.UID = fmt.Sprintf("uid-made-%d", m.revision)
		}
		if err := unique(users, &u); err != nil {
			return identity.Head{}, err
		}
		u.Manager = managerOf(u.Manager)
		u.Version = max(users[u.UID].Version+1, 1)
		users[u.UID], put[i] = cloneUser(u), u
		if !u.Active {
			silence(u.UID)
		}
	}
	copy(b.PutUsers, put)
	m.users, m.tokens, m.tombs = users, tokens, tombs
	m.finish(b)
	return identity.Head{Epoch: "memory", Revision: m.revision}, nil
}

func (m *memory) check(b *record.Batch) error {
	failed := identity.Errorf(identity.CodePreconditionFailed, "was changed")
	for _, c := range b.Conditions {
		r, ok := m.items[c.Key]
		if ok != (c.ResourceVersion != "") || ok && r.Meta().ResourceVersion != c.ResourceVersion {
			return failed
		}
	}
	for _, c := range b.UserConditions {
		if m.users[c.UID].Version != c.Version {
			return failed
		}
	}
	return nil
}

func unique(users map[string]identity.User, u *identity.User) error {
	for _, o := range users {
		switch {
		case o.UID == u.UID:
		case o.Email == u.Email:
			return identity.Errorf(identity.CodeConflict, "email: another user has this e-mail address")
		case u.UserName != "" && strings.EqualFold(o.UserName, u.UserName):
			return identity.Errorf(identity.CodeConflict, "userName: another user has this user name")
		case u.ExternalID != "" && o.ExternalID == u.ExternalID && o.Manager == u.Manager:
			return identity.Errorf(identity.CodeConflict, "externalId: another user has this external id")
		}
	}
	return nil
}

func (m *memory) finish(b *record.Batch) {
	m.revision++
	for _, r := range b.PutResources {
		key := identity.ResourceKey{Kind: r.Type().Kind, Name: r.Meta().Name}
		meta := r.Meta()
		if old, ok := m.items[key]; ok {
			meta.CreationTimestamp = old.Meta().CreationTimestamp
		} else {
			now := time.Now().UTC()
			meta.CreationTimestamp = &now
		}
		if meta.UID == "" {
			meta.UID = "uid-of-" + meta.Name
		}
		if old, ok := m.items[key]; ok && sameButVersion(old, r) {
			meta.ResourceVersion = old.Meta().ResourceVersion
		} else {
			meta.ResourceVersion = "v" + strconv.FormatUint(m.revision, 10)
		}
		m.items[key] = cloneTeam(r)
	}
	for _, k := range b.DeleteResources {
		delete(m.items, k)
	}
	m.audit = append(m.audit, b.Audit...)
	m.batches = append(m.batches, len(b.PutUsers))
}

func (m *memory) Audit(context.Context, string, int) ([]record.AuditEntry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := slices.Clone(m.audit)
	slices.Reverse(list)
	return list, nil
}

func (m *memory) Tokens(_ context.Context, owner string) ([]identity.Token, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []identity.Token
	for _, t := range m.tokens {
		if t.Owner == owner {
			list = append(list, t)
		}
	}
	return list, nil
}

// sameButVersion: the store writes no new version of what has not changed.
func sameButVersion(a, b v1.Resource) bool {
	x, y := cloneTeam(a), cloneTeam(b)
	x.Meta().ResourceVersion, y.Meta().ResourceVersion = "", ""
	return string(mustJSON(x)) == string(mustJSON(y))
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}
