package disk

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// baseHead is the last frame of a base.
type baseHead struct {
	identity.Head
	// At is when the full read began.
	At time.Time `json:"at"`
}

// baseWriter seals rows to a file, a chunk at a time.
type baseWriter struct {
	enc    encoder
	keys   Keys
	out    *bufio.Writer
	id     fileID
	number uint64
	sealed []byte
}

func newBaseWriter(w io.Writer, keys Keys, chunk int) (*baseWriter, error) {
	b := &baseWriter{keys: keys, out: bufio.NewWriterSize(w, 256<<10)}
	b.enc.full, b.enc.limit = func() error { return b.flush(false) }, chunk
	_, _ = rand.Read(b.id[:]) // never fails: crypto/rand
	_, err := b.out.Write(appendHeader(nil, baseMagic, b.id))
	return b, err
}

func (b *baseWriter) flush(last bool) (err error) {
	b.sealed, err = appendFrame(b.sealed[:0], b.keys, baseMagic, b.id, b.number, last, b.enc.buf)
	if err != nil {
		return err
	}
	b.number++
	b.enc.buf = b.enc.buf[:0]
	_, err = b.out.Write(b.sealed)
	return err
}

func (b *baseWriter) add(rows *identity.Rows) error {
	if rows == nil {
		return nil
	}
	if len(rows.RemovedResources)+len(rows.RemovedUsers)+len(rows.RemovedTokens)+len(rows.LiftedTombstones) > 0 {
		return errors.New("a full read removes something; that is not what full means")
	}
	return b.enc.rows(rows)
}

// finish writes the last frame.
func (b *baseWriter) finish(head baseHead) (err error) {
	if len(b.enc.buf) > 0 {
		if err := b.flush(false); err != nil {
			return err
		}
	}
	if b.enc.buf, err = json.Marshal(head); err != nil {
		return err
	}
	if err := b.flush(true); err != nil {
		return err
	}
	return b.out.Flush()
}

// writeTemporary reads everything from the source to the base's temporary
// file, fsynced and closed.
func (c *Copy) writeTemporary(ctx context.Context) (head baseHead, err error) {
	file, err := create(c.opt.Dir, baseName)
	if err != nil {
		return head, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	w, err := newBaseWriter(file, c.opt.Keys, c.opt.chunk)
	if err != nil {
		return head, err
	}
	head.At = c.opt.Now().UTC()
	if head.Head, err = c.opt.Source.Load(ctx, w.add); err != nil {
		return head, err
	}
	if err := w.finish(head); err != nil {
		return head, err
	}
	c.step("base written")
	return head, file.Sync()
}

// openBase opens the base. The error is ErrNone where there is none.
func openBase(dir string, keys Opener) (*frames, error) {
	f, err := openFrames(filepath.Join(dir, baseName), baseMagic, keys)
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrNone
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", baseName, asUnusable(err))
	}
	return f, nil
}

func asUnusable(err error) error {
	if errors.Is(err, ErrUnusable) {
		return err
	}
	return unusable("%w", err)
}

func parseBaseHead(plain []byte) (head baseHead, err error) {
	if err := strict(plain, &head); err != nil || head.Epoch == "" {
		return head, unusable("%s: its last frame does not say its revision", baseName)
	}
	return head, nil
}

// readBase hands over everything.
func readBase(dir string, keys Opener, add func(*identity.Rows)) (head baseHead, err error) {
	f, err := openBase(dir, keys)
	if err != nil {
		return head, err
	}
	defer f.close()
	for {
		plain, last, err := f.next(true)
		if err != nil {
			return head, fmt.Errorf("%s: %w", baseName, asUnusable(err))
		}
		if last {
			return parseBaseHead(plain)
		}
		rows, err := parseRows(plain)
		if err != nil {
			return head, fmt.Errorf("%s: %w", baseName, asUnusable(err))
		}
		add(rows)
	}
}

// readBaseHead looks at the lengths of all frames and into the last alone.
func readBaseHead(dir string, keys Opener) (head baseHead, err error) {
	f, err := openBase(dir, keys)
	if err != nil {
		return head, err
	}
	defer f.close()
	if err := f.skipToLast(); err != nil {
		return head, err
	}
	plain, _, err := f.next(true)
	if err != nil {
		return head, fmt.Errorf("%s: %w", baseName, asUnusable(err))
	}
	return parseBaseHead(plain)
}
