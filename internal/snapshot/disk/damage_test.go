package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/seal"
)

func TestSecurityATornLengthInTheMiddleIsNotATornEnd(t *testing.T) {
	r := furnished(t)
	at, _ := os.Stat(filepath.Join(r.opt.Dir, journalName))
	for i := range 3 {
		r.revoke(identity.DigestOf(fmt.Sprint("token ", i+1)))
		r.commitAndPublish()
	}
	whole, err := os.ReadFile(filepath.Join(r.opt.Dir, journalName))
	if err != nil {
		t.Fatal(err)
	}
	// Every bit of the first entry, its length above all, and of the header.
	for i := range whole {
		if end := int(at.Size()); i > end+200 || (i > end+frameHeaderLen && i%7 > 0) {
			continue
		}
		for _, bit := range []byte{1, 0x80} {
			b := bytes.Clone(whole)
			b[i] ^= bit
			if err := os.WriteFile(filepath.Join(r.opt.Dir, journalName), b, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := r.read(); !errors.Is(err, ErrUnusable) {
				t.Fatalf("byte %d of the journal changed: %v", i, err)
			}
		}
	}
}

func cutFrames(t *testing.T, path string) [][]byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	parts := [][]byte{b[:headerLen]}
	for b = b[headerLen:]; len(b) > 0; {
		n := frameHeaderLen + int(b[0])<<24 + int(b[1])<<16 + int(b[2])<<8 + int(b[3])
		parts = append(parts, b[:n])
		b = b[n:]
	}
	return parts
}

func TestSecurityDamagedOrMixedFilesAreNotUsed(t *testing.T) {
	r := newRig(t, t, t.TempDir())
	r.opt.chunk = 20_000
	for i := range 3 { // a chunk each
		r.put(v1.KindTeam, fmt.Sprint("large-", i), `{"description":"`+strings.Repeat("x", r.opt.chunk)+`"}`)
	}
	r.furnish()
	r.putToken(9, "ann", nil)
	r.commit()
	r.full()
	r.base()
	first := t.TempDir()
	copyDir(t, r.opt.Dir, first)
	for i := range 3 {
		r.revoke(identity.DigestOf(fmt.Sprint("token ", i+1)))
		r.commitAndPublish()
	}
	middle := t.TempDir()
	copyDir(t, r.opt.Dir, middle)
	r.base()
	r.revoke(identity.DigestOf("token 9"))
	r.commitAndPublish()
	_ = r.copy.Close()
	r.mustRead()

	base, firstBase := cutFrames(t, filepath.Join(r.opt.Dir, baseName)), cutFrames(t, filepath.Join(first, baseName))
	journal, midJournal := cutFrames(t, filepath.Join(r.opt.Dir, journalName)), cutFrames(t, filepath.Join(middle, journalName))
	if len(base) != 6 || len(firstBase) != 6 || len(midJournal) != 5 {
		t.Fatalf("%d base frames, %d journal frames: too few to mix", len(base), len(midJournal))
	}
	// The checksums of the lengths are made to fit the new places: they are no
	// secret, so they must not be what holds.
	pick := func(from [][]byte, order ...int) (out []byte) {
		for at, i := range order {
			part := bytes.Clone(from[i])
			if i > 0 {
				binary.BigEndian.PutUint32(part[4:], lengthSum(binary.BigEndian.Uint32(part), uint64(at-1)))
			}
			out = append(out, part...)
		}
		return out
	}
	flipped := bytes.Clone(pick(base, 0, 1, 2, 3, 4, 5))
	flipped[len(flipped)/2] ^= 1
	otherFormat := bytes.Clone(pick(base, 0, 1, 2, 3, 4, 5))
	otherFormat[len(baseMagic)+1]++
	asOtherFile := append(bytes.Clone(base[0]), pick(firstBase, 0, 1, 2, 3, 4, 5)[headerLen:]...)
	oneFromFirst := pick([][]byte{base[0], firstBase[1], base[2], base[3], base[4], base[5]}, 0, 1, 2, 3, 4, 5)
	for name, c := range map[string]struct {
		file  string
		bytes []byte
	}{
		"a byte of the base":                  {baseName, flipped},
		"another format":                      {baseName, otherFormat},
		"base frames swapped":                 {baseName, pick(base, 0, 2, 1, 3, 4, 5)},
		"a base frame dropped":                {baseName, pick(base, 0, 1, 3, 4, 5)},
		"a base frame twice":                  {baseName, pick(base, 0, 1, 1, 2, 3, 4, 5)},
		"the base's end missing":              {baseName, pick(base, 0, 1, 2, 3, 4)},
		"the base cut within a frame":         {baseName, pick(base, 0, 1, 2, 3, 4, 5)[:len(pick(base, 0, 1, 2, 3, 4))+9]},
		"something after the base":            {baseName, append(pick(base, 0, 1, 2, 3, 4, 5), 0)},
		"another base's frames":               {baseName, asOtherFile},
		"one frame of another base":           {baseName, oneFromFirst},
		"an older base":                       {baseName, pick(firstBase, 0, 1, 2, 3, 4, 5)},
		"an empty base":                       {baseName, nil},
		"an empty journal":                    {journalName, nil},
		"a journal's header alone":            {journalName, journal[0]},
		"a journal without its first frame":   {journalName, pick(journal, 0, 2)},
		"journal entries swapped":             {journalName, pick(midJournal, 0, 1, 3, 2, 4)},
		"a journal entry dropped":             {journalName, pick(midJournal, 0, 1, 2, 4)},
		"a journal entry twice":               {journalName, pick(midJournal, 0, 1, 2, 2, 3, 4)},
		"an entry of another journal":         {journalName, pick([][]byte{journal[0], journal[1], midJournal[2]}, 0, 1, 2)},
		"a base as a journal":                 {journalName, pick(base, 0, 1, 2, 3, 4, 5)},
		"zeros after the journal, as a frame": {journalName, append(pick(journal, 0, 1, 2), make([]byte, 64)...)},
	} {
		t.Run(name, func(t *testing.T) {
			crash := t.TempDir()
			copyDir(t, r.opt.Dir, crash)
			if err := os.WriteFile(filepath.Join(crash, c.file), c.bytes, 0o600); err != nil {
				t.Fatal(err)
			}
			s, _, err := Read(crash, r.opt.Keys, r.now, time.Hour)
			if !errors.Is(err, ErrUnusable) || s != nil {
				t.Fatalf("got %v", err)
			}
		})
	}
	t.Run("no journal", func(t *testing.T) {
		crash := t.TempDir()
		copyDir(t, r.opt.Dir, crash)
		_ = os.Remove(filepath.Join(crash, journalName))
		if _, _, err := Read(crash, r.opt.Keys, r.now, time.Hour); !errors.Is(err, ErrUnusable) {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("another key", func(t *testing.T) {
		if _, _, err := Read(r.opt.Dir, testKeys(t, 7), r.now, time.Hour); !errors.Is(err, seal.ErrWrongKey) || !errors.Is(err, ErrUnusable) {
			t.Fatalf("got %v", err)
		}
	})
}

func TestSecurityAJournalThatLostWhatWasConfirmedIsNotUsed(t *testing.T) {
	r := furnished(t)
	path := filepath.Join(r.opt.Dir, journalName)
	before, _ := os.ReadFile(path)
	r.revoke(identity.DigestOf("token 1"))
	r.commitAndPublish()
	r.copy.ConfirmedBy(func() time.Time { return r.now })
	r.copy.confirm()
	r.mustRead()
	if err := os.WriteFile(path, before, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.read(); !errors.Is(err, ErrUnusable) {
		t.Fatalf("got %v", err)
	}
}

func TestSecurityACopyOfAnotherEpochIsNotUsed(t *testing.T) {
	r := furnished(t)
	other := newRig(t, t, t.TempDir())
	other.head.Epoch = "e2"
	other.furnish()
	other.commit()
	other.full()
	defer func() { _ = other.copy.Close() }()
	other.base()
	b, err := os.ReadFile(filepath.Join(other.opt.Dir, journalName))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.opt.Dir, journalName), b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.read(); !errors.Is(err, ErrUnusable) {
		t.Fatalf("got %v", err)
	}
}

func TestSecurityACopyThatIsTooOldIsRefused(t *testing.T) {
	r := furnished(t)
	check := func(now time.Time, want error, confirmed time.Time) {
		t.Helper()
		_, at, err := Read(r.opt.Dir, r.opt.Keys, now, time.Hour)
		if !errors.Is(err, want) || (err == nil && !at.Equal(confirmed)) {
			t.Errorf("at %s: %v, confirmed %s, want %v, %s", now, err, at, want, confirmed)
		}
	}
	check(noon.Add(time.Hour), nil, noon)
	check(noon.Add(time.Hour+time.Millisecond), ErrStale, noon)
	check(noon.Add(-skew), nil, noon)
	check(noon.Add(-skew-time.Millisecond), ErrUnusable, noon)

	r.now = noon.Add(50 * time.Minute) // a change is an agreement
	r.putUser("dan", true)
	r.commitAndPublish()
	check(noon.Add(110*time.Minute), nil, r.now)
	check(noon.Add(111*time.Minute), ErrStale, r.now)

	seen := noon.Add(100 * time.Minute) // and so is a confirmation
	r.copy.ConfirmedBy(func() time.Time { return seen })
	r.copy.confirm()
	check(noon.Add(160*time.Minute), nil, seen)
	check(noon.Add(161*time.Minute), ErrStale, seen)

	// One that a crash tore is as if it had not been.
	if err := os.Truncate(filepath.Join(r.opt.Dir, stampName), 9); err != nil {
		t.Fatal(err)
	}
	check(noon.Add(110*time.Minute), nil, r.now)
	check(noon.Add(160*time.Minute), ErrStale, r.now)
}

func TestSecurityABaseThatDoesNotGoWithTheJournalIsNotPutInPlace(t *testing.T) {
	for name, head := range map[string]identity.Head{"a replica that is behind": {Epoch: "e1", Revision: 5}, "another epoch": {Epoch: "e2", Revision: 50}} {
		t.Run(name, func(t *testing.T) {
			r := furnished(t)
			r.copy.Full(r.head)
			good := r.head
			r.head = head
			if err := r.copy.writeBase(t.Context()); err == nil {
				t.Error("it was")
			}
			if _, err := r.read(); !errors.Is(err, ErrNone) {
				t.Fatalf("got %v", err)
			}
			r.head = good
			r.base()
			r.mustRead()
		})
	}
}

func TestSecurityAJournalWithAHoleIsNotUsed(t *testing.T) {
	r := furnished(t)
	at := r.head.Revision
	for name, steps := range map[string][]uint64{"a hole": {at, at + 1, at + 2, at + 3}, "backward": {at, at + 2, at + 2, at + 1}} {
		j, err := newJournal(r.opt.Dir, r.opt.Keys, journalHead{Epoch: "e1", Start: at, At: noon}, func(yield func(entryHead, []byte) error) error {
			return errors.Join(yield(entryHead{From: steps[0], To: steps[1], At: noon}, nil), yield(entryHead{From: steps[2], To: steps[3], At: noon}, nil))
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(j.take(r.opt.Dir), j.close()); err != nil {
			t.Fatal(err)
		}
		if _, err := r.read(); !errors.Is(err, ErrUnusable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSecurityABaseEndsWhereItsWriterSaysSo(t *testing.T) {
	r := furnished(t)
	for last, want := range map[bool]error{true: nil, false: seal.ErrAltered} {
		f, err := openBase(r.opt.Dir, r.opt.Keys)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.skipToLast(); err != nil {
			t.Fatal(err)
		}
		if _, _, err := f.next(last); !errors.Is(err, want) {
			t.Errorf("last frame opened as last %t: %v, want %v", last, err, want)
		}
		f.close()
	}
}
