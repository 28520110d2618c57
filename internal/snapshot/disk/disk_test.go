package disk

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/seal"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

var (
	_ snapshot.Journal = (*Copy)(nil)
	_ Keys             = (*seal.Keyset)(nil)
)

// furnished is a rig whose base holds one of everything.
func furnished(t *testing.T) *rig {
	t.Helper()
	r := newRig(t, t, t.TempDir())
	r.furnish()
	r.commit()
	r.full()
	t.Cleanup(func() { _ = r.copy.Close() })
	r.base()
	return r
}

func TestACopyIsTheSnapshotOfTheStore(t *testing.T) {
	r := furnished(t)
	s := r.mustRead()
	if st := s.Stats(); st.Users != 3 || st.Tokens != 5 || st.Resources != 4 {
		t.Fatalf("the furniture is missing: %+v", st)
	}
	tok, _ := s.Token(identity.DigestOf("token 2"))
	if tok.Narrowing == nil || tok.Narrowing.Models == nil || tok.Narrowing.Agents != nil {
		t.Errorf("absent and empty lists are not told apart: %+v", tok.Narrowing)
	}
	for _, name := range []string{baseName, journalName} {
		info, err := os.Stat(filepath.Join(r.opt.Dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v; only its owner may read it", name, info.Mode(), err)
		}
		b, _ := os.ReadFile(filepath.Join(r.opt.Dir, name))
		if bytes.Contains(b, []byte("example.com")) {
			t.Errorf("%s is in the clear", name)
		}
	}
}

func TestThereIsNoCopyBeforeTheFirstBase(t *testing.T) {
	r := newRig(t, t, t.TempDir())
	if _, err := r.read(); !errors.Is(err, ErrNone) {
		t.Fatalf("empty directory: %v", err)
	}
	r.full()
	defer func() { _ = r.copy.Close() }()
	r.putUser("ann", true)
	r.commitAndPublish()
	if _, err := r.read(); !errors.Is(err, ErrNone) {
		t.Fatalf("a journal without a base: %v", err)
	}
}

// revocations are changes that a restart must not undo, with what shows it.
func revocations() map[string]struct {
	change  func(*rig)
	revived func(*snapshot.Snapshot) bool
} {
	type c = struct {
		change  func(*rig)
		revived func(*snapshot.Snapshot) bool
	}
	isAdmin := func(email string) func(*snapshot.Snapshot) bool {
		return func(s *snapshot.Snapshot) bool {
			u, ok := s.UserByEmail(email)
			return ok && s.UserPrincipal(u, noon).Admin
		}
	}
	return map[string]c{
		"token": {
			func(r *rig) { r.revoke(identity.DigestOf("token 1")) },
			func(s *snapshot.Snapshot) bool { _, ok := s.Token(identity.DigestOf("token 1")); return ok },
		},
		"narrowed token": {
			func(r *rig) { r.putToken(1, "ann", &identity.Narrowing{Models: []string{}}) },
			func(s *snapshot.Snapshot) bool {
				tok, ok := s.Token(identity.DigestOf("token 1"))
				return ok && tok.Narrowing == nil
			},
		},
		"user": {
			func(r *rig) { r.removeUser("ann") },
			func(s *snapshot.Snapshot) bool { _, ok := s.UserByUID("ann"); return ok },
		},
		"tombstone": {
			func(r *rig) { r.removeUser("ann") },
			func(s *snapshot.Snapshot) bool {
				return !s.Tombstoned(identity.IdentityKey{Issuer: "https://idp.example.com", Subject: "ann"}, "ann@example.com")
			},
		},
		"deactivated user": {
			func(r *rig) { r.putUser("ann", false, "research") },
			func(s *snapshot.Snapshot) bool { u, ok := s.UserByUID("ann"); return ok && u.Active },
		},
		"membership": {
			func(r *rig) { r.putUser("ann", true) },
			func(s *snapshot.Snapshot) bool { u, _ := s.UserByUID("ann"); return len(u.Memberships) > 0 },
		},
		"removed binding": {
			func(r *rig) { r.remove(identity.ResourceKey{Kind: v1.KindRoleBinding, Name: "admins"}) },
			isAdmin("ann@example.com"),
		},
		"grant inside a binding": {func(r *rig) {
			r.put(v1.KindRoleBinding, "admins", `{"subjects":["user:bob@example.com"],"role":"tenant-admin","resources":["tenant"]}`)
		}, isAdmin("ann@example.com")},
		"quarantined binding": {
			func(r *rig) { r.quarantine(identity.ResourceKey{Kind: v1.KindRoleBinding, Name: "admins"}) },
			isAdmin("ann@example.com"),
		},
	}
}

func TestSecurityRevokedTokenStaysRevokedAfterRestartFromDisk(t *testing.T) {
	for name, c := range revocations() {
		t.Run(name, func(t *testing.T) {
			step := int64(1) // every byte of a short entry, some of a long one
			if name != "token" {
				step = 7
			}
			r := furnished(t)
			if !c.revived(r.mustRead()) {
				t.Fatal("there is nothing to revoke, so the test shows nothing")
			}
			path := filepath.Join(r.opt.Dir, journalName)
			before, _ := os.Stat(path)
			old, err := os.ReadFile(filepath.Join(r.opt.Dir, baseName))
			if err != nil {
				t.Fatal(err)
			}
			c.change(r)
			r.commit()
			change := r.delta()
			r.publish()
			if c.revived(r.mustRead()) {
				t.Fatal("it is back after a restart")
			}
			whole, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			// A crash while the entry is written: nothing was published yet. The
			// copy is that of before, and goes on from there.
			crash := t.TempDir()
			copyDir(t, r.opt.Dir, crash)
			for n := before.Size(); n < int64(len(whole)); n += step {
				if err := os.WriteFile(filepath.Join(crash, journalName), whole[:n], 0o600); err != nil {
					t.Fatal(err)
				}
				s, _, err := Read(crash, r.opt.Keys, r.now, time.Hour)
				if err != nil || !c.revived(s) {
					t.Fatalf("%d of %d bytes of the entry: %v; the last published snapshot is lost", n-before.Size(), int64(len(whole))-before.Size(), err)
				}
			}
			for n := before.Size() + 1; n < int64(len(whole)); n += 60 {
				copyDir(t, r.opt.Dir, crash)
				if err := os.Truncate(filepath.Join(crash, journalName), n); err != nil {
					t.Fatal(err)
				}
				r.resumeAfterTorn(crash, change, c.revived)
			}
			// A crash while the next base is written.
			r.base()
			next, err := os.ReadFile(filepath.Join(r.opt.Dir, baseName))
			if err != nil {
				t.Fatal(err)
			}
			crash = t.TempDir()
			for n := 0; n <= len(next); n += 1 + len(next)/50 {
				for file, b := range map[string][]byte{baseName: old, baseName + temporary: next[:n], journalName: whole} {
					if err := os.WriteFile(filepath.Join(crash, file), b, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				s, _, err := Read(crash, r.opt.Keys, r.now, time.Hour)
				if err != nil || c.revived(s) {
					t.Fatalf("%d bytes of the next base: %v; revived, or lost", n, err)
				}
			}
			if c.revived(r.mustRead()) {
				t.Fatal("it is back with the next base")
			}
		})
	}
}

// resumeAfterTorn goes on after a crash that tore the last entry: the change
// comes again and holds.
func (r *rig) resumeAfterTorn(dir string, change *identity.Rows, revived func(*snapshot.Snapshot) bool) {
	r.t.Helper()
	opt := r.opt
	opt.Dir = dir
	c, err := begin(opt)
	if err != nil {
		r.t.Fatalf("%v", err)
	}
	defer func() { _ = c.Close() }()
	if err := c.Removed(r.head, change); err != nil {
		r.t.Fatalf("%v", err)
	}
	s, _, err := Read(dir, opt.Keys, r.now, time.Hour)
	if err != nil || revived(s) {
		r.t.Fatalf("after a torn entry: %v", err)
	}
}

// cutFrames returns the header and the frames of a file.
func TestSecurityAFullLoadRemovesTheOldCopyFirst(t *testing.T) {
	r := furnished(t)
	r.revoke(identity.DigestOf("token 1"))
	r.commit() // published by a full load, so the journal never heard of it
	r.copy.Full(r.head)
	if _, err := r.read(); !errors.Is(err, ErrNone) {
		t.Fatalf("the old copy is still there: %v", err)
	}
	r.world.published()
	r.published = r.head.Revision
	r.base()
	r.mustRead()
}

func TestSecurityABaseBegunBeforeAFullLoadIsNotPutInPlace(t *testing.T) {
	r := furnished(t)
	r.putUser("dan", true)
	r.commitAndPublish()
	r.beforeEnd = func() { // a database that was copied back by hand: the same epoch, an older revision
		r.head.Revision -= 2
		r.copy.Full(r.head)
	}
	if err := r.copy.writeBase(t.Context()); err == nil {
		t.Fatal("it was")
	}
	if _, err := r.read(); !errors.Is(err, ErrNone) {
		t.Fatalf("got %v", err)
	}
}

func TestSecuritySecretsInTheClearAreNotWritten(t *testing.T) {
	r := furnished(t)
	bare := resource(t, v1.KindProviderAccount, "bare", `{"provider":"echo","credentials":{"apiKey":{"value":"sk-very-secret"}}}`)
	key := identity.ResourceKey{Kind: v1.KindProviderAccount, Name: "bare"}
	r.resources[key], r.changedResources[key] = bare, true
	r.commitAndPublish() // not the journal's business to refuse
	if _, err := r.read(); !errors.Is(err, ErrNone) {
		t.Fatalf("the change could not be kept, so the copy must be gone: %v", err)
	}
	err := r.copy.writeBase(t.Context())
	if err == nil || strings.Contains(err.Error(), "sk-very-secret") || !strings.Contains(err.Error(), "spec.credentials.apiKey") {
		t.Fatalf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(r.opt.Dir, baseName+temporary)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a temporary file is left: %v", err)
	}
}

func TestSecurityAChangeThatCannotBeKeptRemovesTheCopy(t *testing.T) {
	r := furnished(t)
	_ = r.copy.journal.file.Close() // as if the disk failed
	r.revoke(identity.DigestOf("token 1"))
	r.commitAndPublish()
	if _, err := r.read(); !errors.Is(err, ErrNone) {
		t.Fatalf("a copy without the revocation is left: %v", err)
	}
	r.base()
	r.mustRead()
}

func TestSecurityAChangeIsHeldBackWhereTheCopyCanNeitherBeKeptNorRemoved(t *testing.T) {
	r := furnished(t)
	_ = r.copy.journal.file.Close()
	path := filepath.Join(r.opt.Dir, baseName)
	saved, _ := os.ReadFile(path)
	_ = os.Remove(path)
	if err := os.MkdirAll(filepath.Join(path, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	r.revoke(identity.DigestOf("token 1"))
	r.commit()
	for range 2 {
		if err := r.copy.Removed(r.head, r.delta()); err == nil {
			t.Fatal("the change may be published though a restart would undo it")
		}
	}
	if err := errors.Join(os.RemoveAll(path), os.WriteFile(path, saved, 0o600)); err != nil {
		t.Fatal(err)
	}
	r.publish()
	if _, err := r.read(); !errors.Is(err, ErrNone) {
		t.Fatalf("got %v", err)
	}
}

func TestAJournalThatGrowsTooLongIsGivenUp(t *testing.T) {
	r := furnished(t)
	r.copy.opt.MaxJournal = 4 << 10
	due := false
	for i := range 200 {
		r.putUser(fmt.Sprint("u", i), true)
		r.commitAndPublish()
		if _, overfull := r.copy.due(); overfull {
			due = true
		}
	}
	info, err := os.Stat(filepath.Join(r.opt.Dir, journalName))
	if err != nil || info.Size() > 5*r.copy.opt.MaxJournal || !due {
		t.Fatalf("%d bytes, due %t, %v", info.Size(), due, err)
	}
	if _, err := r.read(); !errors.Is(err, ErrNone) {
		t.Fatalf("got %v", err)
	}
	r.base()
	r.mustRead()
}

func TestTheJournalIsCutToWhatIsNewerThanTheBase(t *testing.T) {
	r := furnished(t)
	for i := range 50 {
		r.putUser(fmt.Sprint("u", i), true)
		r.commitAndPublish()
	}
	r.beforeEnd = func() {
		r.revoke(identity.DigestOf("token 1"))
		r.commitAndPublish()
	}
	r.base()
	if n := len(r.copy.journal.entries); n != 1 {
		t.Fatalf("%d entries are left, want the one that came meanwhile", n)
	}
	if s := r.mustRead(); s.Head() != r.head {
		t.Fatalf("at %v, want %v", s.Head(), r.head)
	}
	r.base()
	if n := len(r.copy.journal.entries); n != 0 {
		t.Fatalf("%d entries are left, want none", n)
	}
	r.revoke(identity.DigestOf("token 2"))
	r.commitAndPublish()
	r.mustRead()
}

func TestEveryKindOfChangeIsKept(t *testing.T) {
	for name, change := range map[string]func(*rig){
		"a user":             func(r *rig) { r.putUser("dan", true, "research") },
		"a user made again":  func(r *rig) { r.liftTombstone("gone"); r.putUser("gone", true) },
		"a lifted tombstone": func(r *rig) { r.liftTombstone("gone") },
		"a token":            func(r *rig) { r.putToken(7, "ann", &identity.Narrowing{Agents: []string{}}) },
		"a resource":         func(r *rig) { r.put(v1.KindTeam, "ops", `{"members":["ann@example.com"]}`) },
		"a resource readable again": func(r *rig) {
			r.put(v1.KindRole, "odd", `{"scope":"tenant","permissions":[]}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := furnished(t)
			before := r.look(r.mustRead())
			change(r)
			r.commitAndPublish()
			s := r.mustRead()
			after := r.look(s)
			before.Head = after.Head
			if s.Head() != r.head || cmp.Equal(before, after, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })) {
				t.Fatalf("at %v, want %v; or nothing changed", s.Head(), r.head)
			}
			// A base that is ahead of what was published, and a restart from it.
			r.putUser("eve", true)
			r.commit()
			r.base()
			_ = r.copy.Close()
			r.begin()
			if r.copy.journal.last != r.head.Revision {
				t.Fatalf("the journal goes on from %d, the base was %d", r.copy.journal.last, r.head.Revision)
			}
			r.world.published()
			r.revoke(identity.DigestOf("token 1"))
			r.commitAndPublish()
			r.mustRead()
		})
	}
}

func TestAConfirmationOfTheOldCopyDoesNotSpoilTheNewOne(t *testing.T) {
	r := furnished(t)
	r.copy.ConfirmedBy(func() time.Time { return r.now })
	r.copy.confirm()
	r.head = identity.Head{Epoch: "e2", Revision: 3} // a restored database
	r.states[3] = r.compile()
	r.copy.Full(r.head)
	r.published = 3
	r.base()
	r.mustRead()
}

func TestAnythingButTheSameRevisionsBeginsAnew(t *testing.T) {
	for name, head := range map[string]identity.Head{"another epoch": {Epoch: "e2", Revision: 99}, "an older revision": {Epoch: "e1", Revision: 3}} {
		t.Run(name, func(t *testing.T) {
			r := furnished(t)
			if err := r.copy.Removed(head, &identity.Rows{RemovedUsers: []string{"ann"}}); err != nil {
				t.Fatal(err)
			}
			if _, err := r.read(); !errors.Is(err, ErrNone) {
				t.Fatalf("got %v", err)
			}
		})
	}
}

// TestCopyIsTheStoreWhateverHappens makes changes, bases, restarts and crashes
// at every step of every write. Whatever is read is exactly what the store held
// at that revision, never before what was published.
// anyChange changes something of a small world, so that things come and go.
func TestAWrongKeyLeavesTheCopyUntilSomethingIsPublished(t *testing.T) {
	r := furnished(t)
	_ = r.copy.Close()
	opt := r.opt
	opt.Keys = testKeys(t, 9)
	c, err := begin(opt)
	if err != nil {
		t.Fatal(err)
	}
	r.mustRead()
	c.Full(r.head)
	_ = c.Close()
	if _, err := r.read(); !errors.Is(err, ErrNone) {
		t.Fatalf("got %v", err)
	}
}

// TestSizeAndTimeOfALargeCopy prints what a fifth of the promised million
// costs, and bounds the memory that writing takes.
