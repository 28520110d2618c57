package snapshot

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// fingerprint says everything that can be looked up, so that two snapshots
// that answer alike have the same.
func fingerprint(s *Snapshot, users, tokens int) []string {
	var out []string
	for n := range users {
		u, ok := s.UserByUID(fmt.Sprint("u", n))
		if !ok {
			continue
		}
		_, byEmail := s.UserByEmail(u.Email)
		_, byKey := s.UserByIdentity(identity.IdentityKey{Issuer: "i", Subject: u.UID})
		p := s.UserPrincipal(u, noon)
		out = append(out, fmt.Sprint(u.UID, u.Email, u.Active, byEmail, byKey, p.Subjects, p.Teams, p.Admin, s.Tombstoned(identity.IdentityKey{Issuer: "i", Subject: u.UID}, u.Email)))
	}
	for n := range tokens {
		if tok, ok := s.Token(digestOf(uint64(n))); ok {
			owner := "none"
			if tok.Owner != nil && tok.Owner.User != nil {
				owner = tok.Owner.User.UID
			}
			out = append(out, fmt.Sprint(n, tok.ID, owner))
		}
	}
	for r := range s.Resources {
		out = append(out, fmt.Sprint(grants(s, identity.KindRef(r.Type().Kind, r.Meta().Name))))
	}
	return out
}

func changeNo(t testing.TB, i int) identity.Rows {
	u := func(n int) identity.User {
		uid := fmt.Sprint("u", n%20)
		end := noon.Add(time.Hour)
		return identity.User{
			UID: uid, Email: fmt.Sprintf("%s-%d@example.com", uid, i%3), Active: i%4 != 0, Identities: []identity.UserIdentity{{Issuer: "i", Subject: uid}},
			Memberships: []identity.Membership{{Team: "ops", Source: "manual", ExpiresAt: &end}},
		}
	}
	rows := identity.Rows{Users: []identity.User{u(i), u(i * 7)}, RemovedUsers: []string{fmt.Sprint("u", i*3%20)}}
	for n := range 10 {
		rows.Tokens = append(rows.Tokens, identity.Token{ID: uuidOf(uint64(i)), Kind: 'p', Digest: digestOf(uint64(i*n) % 200), Owner: fmt.Sprint("u", n), ExpiresAt: noon})
		rows.RemovedTokens = append(rows.RemovedTokens, digestOf(uint64(i+n)%200))
	}
	if i%5 == 0 {
		rows.Resources = []v1.Resource{res(t, v1.KindTeam, "ops", fmt.Sprintf(`{"members":["u%d-0@example.com"]}`, i%20))}
		rows.Tombstones = []identity.Tombstone{{UID: fmt.Sprint("t", i), Email: fmt.Sprintf("u%d-1@example.com", i%20)}}
		rows.LiftedTombstones = []string{fmt.Sprint("t", i-5)}
	}
	return rows
}

func TestOlderSnapshotsNeverChangeWhileOthersAreBuiltAndRead(t *testing.T) {
	const rounds = 60
	s := snap(resources(res(t, v1.KindTeam, "ops", `{}`)))
	var wg sync.WaitGroup
	for i := range rounds {
		s = next(s, changeNo(t, i))
		older, want := s, fingerprint(s, 20, 200)
		wg.Go(func() {
			for range 5 {
				if diff := cmp.Diff(want, fingerprint(older, 20, 200)); diff != "" {
					t.Errorf("snapshot %d changed:\n%s", i, diff)
					return
				}
			}
		})
	}
	wg.Wait()
}

// A snapshot made by changes answers as one that was made of everything.
func TestIncrementalIsTheSameAsFull(t *testing.T) {
	s := snap(resources(res(t, v1.KindTeam, "ops", `{}`)))
	users, tokens, tombs := map[string]identity.User{}, map[identity.Digest]identity.Token{}, map[string]identity.Tombstone{}
	var team v1.Resource = res(t, v1.KindTeam, "ops", `{}`)
	for i := range 200 {
		rows := changeNo(t, i)
		s = next(s, rows)
		for _, d := range rows.RemovedTokens {
			delete(tokens, d)
		}
		for _, uid := range rows.RemovedUsers {
			delete(users, uid)
		}
		for _, uid := range rows.LiftedTombstones {
			delete(tombs, uid)
		}
		for _, tomb := range rows.Tombstones {
			tombs[tomb.UID] = tomb
		}
		for _, u := range rows.Users {
			users[u.UID] = u
		}
		for _, tok := range rows.Tokens {
			tokens[tok.Digest] = tok
		}
		if len(rows.Resources) > 0 {
			team = rows.Resources[0]
		}
	}
	all := resources(team)
	for _, u := range users {
		all.Users = append(all.Users, u)
	}
	for _, tok := range tokens {
		all.Tokens = append(all.Tokens, tok)
	}
	for _, tomb := range tombs {
		all.Tombstones = append(all.Tombstones, tomb)
	}
	full := snap(all)
	if diff := cmp.Diff(fingerprint(full, 20, 200), fingerprint(s, 20, 200)); diff != "" {
		t.Errorf("(-full +incremental):\n%s", diff)
	}
	if diff := cmp.Diff(full.Stats(), s.Stats()); diff != "" {
		t.Errorf("(-full +incremental):\n%s", diff)
	}
}
