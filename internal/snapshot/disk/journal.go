package disk

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// journalHead is the first frame of a journal.
type journalHead struct {
	Epoch string `json:"epoch"`
	// Start: every change after this revision stands in the journal.
	Start uint64    `json:"start"`
	At    time.Time `json:"at"`
}

// entryHead begins each other frame; the rows follow.
type entryHead struct {
	// From and To: the rows are what has changed after From, as of To.
	From uint64    `json:"from"`
	To   uint64    `json:"to"`
	At   time.Time `json:"at"`
}

// journal is an open journal. Its owner locks it.
type journal struct {
	keys  Keys
	file  *os.File
	id    fileID
	epoch string
	// start and last: it lists the changes after start, up to last.
	start, last uint64
	size        int64
	entries     []placedEntry
}

// placedEntry is where an entry's frame begins. The number of its frame is its
// index and one.
type placedEntry struct {
	from, to uint64
	offset   int64
}

func encodeEntry(h entryHead, rows []byte) ([]byte, error) {
	b, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	plain := make([]byte, 0, len(b)+len(rows)+binary.MaxVarintLen64)
	plain = binary.AppendUvarint(plain, uint64(len(b)))
	plain = append(plain, b...)
	return append(plain, rows...), nil
}

func parseEntry(plain []byte) (h entryHead, rows []byte, err error) {
	n, used := binary.Uvarint(plain)
	if used <= 0 || n > uint64(len(plain)-used) {
		return h, nil, errShort
	}
	end := used + int(n)
	return h, plain[end:], strict(plain[used:end], &h)
}

// newJournal writes a journal with the entries that kept hands over to its
// temporary file, durable and closed. take puts it in its place.
func newJournal(dir string, keys Keys, head journalHead, kept func(yield func(entryHead, []byte) error) error) (j *journal, err error) {
	file, err := create(dir, journalName)
	if err != nil {
		return nil, err
	}
	j = &journal{keys: keys, file: file, epoch: head.Epoch, start: head.Start, last: head.Start}
	defer func() { err = errors.Join(err, file.Close()) }()
	_, _ = rand.Read(j.id[:]) // never fails: crypto/rand
	plain, err := json.Marshal(head)
	if err != nil {
		return nil, err
	}
	first, err := appendFrame(appendHeader(nil, journalMagic, j.id), keys, journalMagic, j.id, 0, false, plain)
	if err != nil {
		return nil, err
	}
	if _, err := file.Write(first); err != nil {
		return nil, err
	}
	j.size = int64(len(first))
	if kept != nil {
		if err := kept(j.write); err != nil {
			return nil, err
		}
	}
	return j, file.Sync()
}

// take puts a new journal in the place of the old one, durably, and opens it.
func (j *journal) take(dir string) error {
	if err := install(dir, journalName); err != nil {
		return err
	}
	if err := syncDir(dir); err != nil {
		return err
	}
	return j.open(dir)
}

// open opens the file for appending. What follows the last whole entry, torn
// by a crash, is cut off.
func (j *journal) open(dir string) error {
	file, err := os.OpenFile(filepath.Join(dir, journalName), os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err == nil && info.Size() > j.size {
		err = errors.Join(file.Truncate(j.size), file.Sync())
	}
	if err != nil {
		return errors.Join(err, file.Close())
	}
	j.file = file
	return nil
}

// write adds an entry, without waiting for it to be durable.
func (j *journal) write(h entryHead, rows []byte) error {
	plain, err := encodeEntry(h, rows)
	if err != nil {
		return err
	}
	frame, err := appendFrame(nil, j.keys, journalMagic, j.id, uint64(len(j.entries))+1, false, plain)
	if err != nil {
		return err
	}
	if _, err := j.file.Write(frame); err != nil {
		return err
	}
	j.entries = append(j.entries, placedEntry{from: h.From, to: h.To, offset: j.size})
	j.size += int64(len(frame))
	j.last = h.To
	return nil
}

// append adds an entry and returns when it is on stable storage.
func (j *journal) append(h entryHead, rows []byte) error {
	if err := j.write(h, rows); err != nil {
		return err
	}
	return j.file.Sync()
}

func (j *journal) close() error {
	if j == nil || j.file == nil {
		return nil
	}
	return j.file.Close()
}

// firstAfter is the index of the first entry that a base of this revision lacks.
func (j *journal) firstAfter(revision uint64) int {
	i, _ := slices.BinarySearchFunc(j.entries, revision, func(e placedEntry, r uint64) int {
		if e.to <= r {
			return -1
		}
		return 1
	})
	return i
}

// entry reads an entry back.
func (j *journal) entry(i int) (h entryHead, rows []byte, err error) {
	end := j.size
	if i+1 < len(j.entries) {
		end = j.entries[i+1].offset
	}
	frame := make([]byte, end-j.entries[i].offset)
	if _, err := j.file.ReadAt(frame, j.entries[i].offset); err != nil {
		return h, nil, err
	}
	plain, err := j.keys.Open(frame[frameHeaderLen:], binding(journalMagic, j.id, uint64(i)+1, false))
	if err != nil {
		return h, nil, err
	}
	return parseEntry(plain)
}

// without returns a new journal, not yet in its place, of the entries that a
// base of this revision lacks; nil where that is all of them.
func (j *journal) without(dir string, revision uint64, at time.Time) (*journal, error) {
	first := j.firstAfter(revision)
	if first == 0 {
		return nil, nil
	}
	head := journalHead{Epoch: j.epoch, Start: j.entries[first-1].to, At: at}
	return newJournal(dir, j.keys, head, func(yield func(entryHead, []byte) error) error {
		for i := first; i < len(j.entries); i++ {
			h, rows, err := j.entry(i)
			if err != nil {
				return err
			}
			if err := yield(h, rows); err != nil {
				return err
			}
		}
		return nil
	})
}

// readJournal reads a journal and hands over its entries. The result's file is
// not open. yield may be nil.
func readJournal(dir string, keys Opener, yield func(h entryHead, rows []byte) error) (*journal, time.Time, error) {
	j, at, err := scanJournal(dir, keys, yield)
	if err != nil {
		return nil, at, fmt.Errorf("%s: %w", journalName, asUnusable(err))
	}
	return j, at, nil
}

func scanJournal(dir string, keys Opener, yield func(h entryHead, rows []byte) error) (*journal, time.Time, error) {
	f, err := openFrames(filepath.Join(dir, journalName), journalMagic, keys)
	if err != nil {
		// Also where there is none: a base without its journal has lost what
		// was removed since.
		return nil, time.Time{}, err
	}
	defer f.close()
	whole := int64(headerLen) + f.left
	plain, _, err := f.next(false)
	if err != nil {
		return nil, time.Time{}, err // a journal is put in its place with its first frame
	}
	var head journalHead
	if err := strict(plain, &head); err != nil || head.Epoch == "" {
		return nil, time.Time{}, errors.New("its first frame does not say its epoch")
	}
	j := &journal{id: f.id, epoch: head.Epoch, start: head.Start, last: head.Start}
	at := head.At
	for {
		j.size = whole - f.left
		plain, _, err := f.next(false)
		if errors.Is(err, io.EOF) || errors.Is(err, errTorn) {
			return j, at, nil
		}
		if err != nil {
			return nil, at, err
		}
		h, rows, err := parseEntry(plain)
		if err != nil {
			return nil, at, err
		}
		if h.From != j.last || h.To <= h.From {
			return nil, at, fmt.Errorf("entry %d leads from %d to %d, after %d", len(j.entries)+1, h.From, h.To, j.last)
		}
		if yield != nil {
			if err := yield(h, rows); err != nil {
				return nil, at, err
			}
		}
		j.entries = append(j.entries, placedEntry{from: h.From, to: h.To, offset: j.size})
		j.last, at = h.To, h.At
	}
}
