package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

const (
	// defaultStaleness is snapshot.maxStaleness where nothing is set.
	defaultStaleness = 24 * time.Hour
	// skew is how far in the future a copy may have been written: clocks are
	// set back by a little. By more, and nobody knows how old it is.
	skew = 5 * time.Minute
)

// Read rebuilds the last snapshot that was published from what a Copy has
// written to dir, and returns when the loader last agreed with it: the latest
// of the base, the journal's last change and the confirmation. now is the
// present time; a copy that is older than maxStaleness (0: 24h) is refused.
// Read before a Copy is made for the same directory.
// Errors: ErrNone, ErrStale, ErrUnusable. The first two are what a first start
// and a long rest look like; the third wraps seal.ErrWrongKey where the key is
// another.
func Read(dir string, keys Opener, now time.Time, maxStaleness time.Duration) (*snapshot.Snapshot, time.Time, error) {
	if maxStaleness == 0 {
		maxStaleness = defaultStaleness
	}
	b := snapshot.NewBuilder(nil)
	base, err := readBase(dir, keys, b.Add)
	if err != nil {
		return nil, time.Time{}, err
	}
	at := base.Head
	j, confirmed, err := readJournal(dir, keys, func(h entryHead, records []byte) error {
		rows, err := parseRows(records)
		if err != nil {
			return err
		}
		if h.To > at.Revision { // otherwise the base has it
			b.Add(rows)
			at.Revision = h.To
		}
		return nil
	})
	if err != nil {
		return nil, time.Time{}, err
	}
	if err := follows(base.Head, j); err != nil {
		return nil, time.Time{}, err
	}
	stamp := readStamp(dir, keys)
	if err := behind(stamp, at); err != nil {
		return nil, time.Time{}, err
	}
	for _, t := range []time.Time{base.At, stamp.At} {
		if t.After(confirmed) {
			confirmed = t
		}
	}
	switch age := now.Sub(confirmed); {
	case age > maxStaleness:
		return nil, confirmed, fmt.Errorf("%w: the last agreement with the database was at %s", ErrStale, confirmed.UTC().Format(time.RFC3339))
	case age < -skew:
		return nil, confirmed, unusable("it was written at %s, in the future", confirmed.UTC().Format(time.RFC3339))
	}
	return b.Build(at), confirmed, nil
}

// Present reports whether a directory holds a copy, good or not.
func Present(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, baseName))
	return err == nil
}

// follows reports whether a journal lists every change after a base. That the
// journal has no hole itself was seen when it was read.
func follows(base identity.Head, j *journal) error {
	switch {
	case j.epoch != base.Epoch:
		return unusable("%s is of another epoch than %s", journalName, baseName)
	case j.start > base.Revision:
		return unusable("the changes between revision %d and %d are missing", base.Revision, j.start)
	}
	return nil
}

// confirmation says that the loader agreed at a time with a revision.
type confirmation struct {
	identity.Head
	At time.Time `json:"at"`
}

// behind refuses a copy that does not reach what was confirmed: its journal
// has lost its end.
func behind(s confirmation, at identity.Head) error {
	if s.At.IsZero() {
		return nil
	}
	if s.Epoch != at.Epoch || s.Revision > at.Revision {
		return unusable("it ends at revision %d, but revision %d was confirmed", at.Revision, s.Revision)
	}
	return nil
}

func stampBinding() []byte { return binding(stampMagic, fileID{}, 0, true) }

// readStamp returns nothing where there is no confirmation that can be read:
// it is not fsynced, and without it the copy is only older.
func readStamp(dir string, keys Opener) (s confirmation) {
	file, err := os.Open(filepath.Join(dir, stampName))
	if err != nil {
		return s
	}
	defer file.Close() //nolint:errcheck // read only
	sealed, err := io.ReadAll(io.LimitReader(file, 64<<10))
	if err != nil {
		return s
	}
	plain, err := keys.Open(sealed, stampBinding())
	if err != nil || strict(plain, &s) != nil {
		return confirmation{}
	}
	return s
}

// resume finds out what a directory holds: the base's head and the journal,
// ready to be appended to. The error says why the copy is of no use.
func resume(dir string, keys Keys) (base identity.Head, j *journal, err error) {
	head, err := readBaseHead(dir, keys)
	if err != nil {
		return base, nil, err
	}
	if j, _, err = readJournal(dir, keys, nil); err != nil {
		return base, nil, err
	}
	end := identity.Head{Epoch: j.epoch, Revision: max(j.last, head.Revision)}
	if err := errors.Join(follows(head.Head, j), behind(readStamp(dir, keys), end)); err != nil {
		return base, nil, err
	}
	j.keys = keys
	if head.Revision <= j.last {
		return head.Head, j, j.open(dir)
	}
	// The base was ahead of what was published. The publisher is seeded with
	// the base, so the next change begins there.
	j, err = newJournal(dir, keys, journalHead{Epoch: head.Epoch, Start: head.Revision, At: head.At}, nil)
	if err == nil {
		err = j.take(dir)
	}
	return head.Head, j, err
}
