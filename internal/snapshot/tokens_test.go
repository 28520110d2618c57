package snapshot

import (
	"maps"
	"runtime"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// genToken draws from few digests in few shards, so that collisions, probing
// over removed records, growth and replacement all happen.
func genToken(t *rapid.T) identity.Token {
	var d identity.Digest
	d[0] = byte(rapid.IntRange(0, 1).Draw(t, "shard"))
	n := rapid.IntRange(1, 60).Draw(t, "n")
	d[8] = byte(n % 5 * 50) // the bits that choose the slot: many meet
	d[31] = byte(n)
	tok := identity.Token{
		ID: uuidOf(uint64(n)), Kind: identity.TokenKind(rapid.SampledFrom([]byte("pv")).Draw(t, "kind")), Digest: d,
		ExpiresAt: noon.Add(time.Duration(rapid.IntRange(0, 1000).Draw(t, "expires")) * time.Millisecond), Bootstrap: rapid.Bool().Draw(t, "bootstrap"),
	}
	if rapid.Bool().Draw(t, "narrowed") {
		tok.Narrowing = &identity.Narrowing{Models: []string{tok.ID}}
	}
	return tok
}

func checkTokens(t *rapid.T, s *Snapshot, want map[identity.Digest]identity.Token) {
	for shard := range 2 {
		for n := range 61 {
			var d identity.Digest
			d[0], d[8], d[31] = byte(shard), byte(n%5*50), byte(n)
			got, ok := s.Token(d)
			w, known := want[d]
			if ok != known {
				t.Fatalf("token %v: found %t, want %t", d, ok, known)
			}
			if !ok {
				continue
			}
			if got.Kind != w.Kind || got.ID != w.ID || !got.ExpiresAt.Equal(w.ExpiresAt) || got.Bootstrap != w.Bootstrap || got.Narrowing != w.Narrowing {
				t.Fatalf("token %v is %+v, want %+v", d, got, w)
			}
		}
	}
	if got := s.Stats().Tokens; got != len(want) {
		t.Fatalf("%d tokens counted, want %d", got, len(want))
	}
}

func TestTokenTableIsAMapAndOlderSnapshotsNeverChange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type version struct {
			s    *Snapshot
			want map[identity.Digest]identity.Token
		}
		want := map[identity.Digest]identity.Token{}
		history := []version{{snap(), maps.Clone(want)}}
		for range rapid.IntRange(1, 6).Draw(t, "snapshots") {
			var rows identity.Rows
			for range rapid.IntRange(0, 25).Draw(t, "removals") {
				d := genToken(t).Digest
				rows.RemovedTokens = append(rows.RemovedTokens, d)
				delete(want, d)
			}
			for range rapid.IntRange(0, 40).Draw(t, "puts") {
				tok := genToken(t)
				if rapid.IntRange(0, 5).Draw(t, "revoked") == 0 {
					tok.RevokedAt = &noon
					delete(want, tok.Digest)
				} else {
					want[tok.Digest] = tok
				}
				rows.Tokens = append(rows.Tokens, tok)
			}
			s := next(history[len(history)-1].s, rows)
			history = append(history, version{s, maps.Clone(want)})
		}
		for _, v := range history {
			checkTokens(t, v.s, v.want)
		}
	})
}

func TestNarrowingsThatNobodyHasAnyMoreAreLetGo(t *testing.T) {
	s := snap()
	var d identity.Digest
	d[31] = 1
	for i := range 5000 {
		d2 := d
		d2[30] = byte(i)
		s = next(s, identity.Rows{RemovedTokens: []identity.Digest{d2}}, identity.Rows{Tokens: []identity.Token{
			{Digest: d, Kind: 'p', ExpiresAt: noon, Narrowing: &identity.Narrowing{}},
			{Digest: d2, Kind: 'p', ExpiresAt: noon, Narrowing: &identity.Narrowing{}},
		}})
	}
	if got := len(s.tokens[0].narrows); got > 1024 {
		t.Errorf("%d narrowings are kept for 256 tokens", got)
	}
}

func TestARecordHas64Bytes(t *testing.T) {
	if got := unsafe.Sizeof(tokenRecord{}); got != 64 {
		t.Errorf("%d bytes", got)
	}
}

// A million tokens of ours: 110 bytes each at most, all told.
func TestAMillionTokensAreSmall(t *testing.T) {
	if testing.Short() {
		t.Skip("makes a million tokens")
	}
	const n = 1_000_000
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, start := heap(), time.Now()
	b := NewBuilder(nil)
	rows := identity.Rows{Tokens: make([]identity.Token, 10_000)}
	for i := range uint64(n) {
		rows.Tokens[i%10_000] = identity.Token{ID: "01900000-0000-7000-8000-000000000000", Kind: 'p', Digest: digestOf(i), ExpiresAt: noon}
		if i%10_000 == 9_999 {
			b.Add(&rows)
		}
	}
	s := b.Build(identity.Head{})
	took := time.Since(start)
	rows = identity.Rows{}
	each := float64(heap()-before) / n
	t.Logf("%.1f bytes each, built in %s", each, took.Round(time.Millisecond))
	if each > 110 {
		t.Errorf("%.1f bytes each", each)
	}
	if _, ok := s.Token(digestOf(n - 1)); !ok || s.Stats().Tokens != n {
		t.Errorf("%d tokens are there", s.Stats().Tokens)
	}
}

func TestSecurityAManifestDoesNotGetHoldOfATokenByItsDigest(t *testing.T) {
	account := func(name string) v1.Resource {
		return res(t, v1.KindVirtualAccount, name, `{"tokens":[{"digest":"`+digestOf(1).String()+`","expiresAt":"2030-01-01T00:00:00Z"}]}`)
	}
	t.Run("of a token that was made here", func(t *testing.T) {
		rows := people("ada@example.com")
		rows.Tokens = []identity.Token{{ID: uuidOf(1), Kind: 'p', Digest: digestOf(1), Owner: "uid-ada@example.com", ExpiresAt: noon}}
		s := snap(rows, resources(account("thief")))
		if got, ok := s.Token(digestOf(1)); !ok || got.Owner == nil || got.Owner.User == nil {
			t.Errorf("the token is %+v", got)
		}
	})
	t.Run("of another account's token", func(t *testing.T) {
		s := snap(resources(account("owner"), account("thief")))
		if got, ok := s.Token(digestOf(1)); ok && got.Owner != nil {
			t.Errorf("the token is %s's", got.Owner.VirtualAccount.Name)
		}
		if len(s.Problems()) != 1 {
			t.Errorf("problems: %v", s.Problems())
		}
	})
}

func TestOwnersFollowTheirUsersAndAccounts(t *testing.T) {
	rows := people("ada@example.com")
	rows.Tokens = []identity.Token{
		{ID: uuidOf(1), Kind: 'p', Digest: digestOf(1), Owner: "uid-ada@example.com", ExpiresAt: noon},
		{ID: uuidOf(2), Kind: 'v', Digest: digestOf(2), Owner: "uid-virtual-account-bot", ExpiresAt: noon},
		{ID: uuidOf(3), Kind: 'p', Digest: digestOf(3), Owner: "uid-nobody", ExpiresAt: noon},
	}
	bot := res(t, v1.KindVirtualAccount, "bot", `{}`)
	s1 := snap(rows, resources(bot))
	s2 := next(s1, identity.Rows{RemovedUsers: []string{"uid-ada@example.com"}, RemovedResources: []identity.ResourceKey{{Kind: v1.KindVirtualAccount, Name: "bot"}}})
	s3 := next(s2, people("ada@example.com"), resources(bot))
	owners := func(s *Snapshot) []string {
		list := []string{}
		for n := range uint64(3) {
			tok, ok := s.Token(digestOf(n + 1))
			switch {
			case !ok || tok.Owner == nil:
				list = append(list, "nobody")
			case tok.Owner.User != nil:
				list = append(list, tok.Owner.User.Email)
			default:
				list = append(list, tok.Owner.VirtualAccount.Name)
			}
		}
		return list
	}
	for i, want := range [][]string{{"ada@example.com", "bot", "nobody"}, {"nobody", "nobody", "nobody"}, {"ada@example.com", "bot", "nobody"}} {
		if diff := cmp.Diff(want, owners([]*Snapshot{s1, s2, s3}[i])); diff != "" {
			t.Errorf("snapshot %d (-want +got):\n%s", i+1, diff)
		}
	}
}

func TestManyOwnersInMoreThanOneChunk(t *testing.T) {
	var rows identity.Rows
	for n := range uint64(3 * ownerChunk) {
		uid := uuidOf(n)
		rows.Users = append(rows.Users, identity.User{UID: uid, Email: uid + "@example.com", Active: true})
		rows.Tokens = append(rows.Tokens, identity.Token{ID: uid, Kind: 'p', Digest: digestOf(n), Owner: uid, ExpiresAt: noon})
	}
	s1 := snap(rows)
	changed := slices.Clone(rows.Users[ownerChunk+1 : ownerChunk+2])
	changed[0].Active = false
	s2 := next(s1, identity.Rows{Users: changed})
	for n := range uint64(3 * ownerChunk) {
		a, _ := s1.Token(digestOf(n))
		b, _ := s2.Token(digestOf(n))
		if a.Owner.User.UID != uuidOf(n) || b.Owner.User.UID != uuidOf(n) || !a.Owner.User.Active || b.Owner.User.Active == (n == ownerChunk+1) {
			t.Fatalf("token %d belongs to %+v and %+v", n, a.Owner.User.User, b.Owner.User.User)
		}
	}
}

func BenchmarkToken(b *testing.B) {
	var rows identity.Rows
	for n := range uint64(100_000) {
		rows.Tokens = append(rows.Tokens, identity.Token{ID: uuidOf(n), Kind: 'p', Digest: digestOf(n), ExpiresAt: noon})
	}
	s := snap(rows)
	var n uint64
	for b.Loop() {
		n++
		s.tokens.find(rows.Tokens[n%100_000].Digest)
	}
}
