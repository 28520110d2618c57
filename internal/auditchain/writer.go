package auditchain

import (
	"bufio"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
)

// Writer writes an export as a stream. It writes what it is given, without
// asking whether the chain is whole: an export of a database that was tampered
// with is evidence, and it is Verify that finds it.
type Writer struct {
	w    *bufio.Writer
	end  end
	line []byte
	// signed is the seq of the last checkpoint.
	signed uint64
	closed bool
}

// NewWriter begins an export. The caller calls Close at its end; without it the
// export does not verify, which is right when the reading broke off.
func NewWriter(w io.Writer, h Header) (*Writer, error) {
	if !validChainID(h.Chain) {
		return nil, fmt.Errorf("auditchain: %q is not the id of a chain", h.Chain)
	}
	for _, k := range h.Keys {
		if len(k) != ed25519.PublicKeySize {
			return nil, errors.New("auditchain: a public key has the wrong length")
		}
	}
	out := &Writer{w: bufio.NewWriterSize(w, 64<<10), end: end{chain: h.Chain, head: h.After}}
	return out, out.write(appendHeader(nil, &h))
}

// Entry writes an entry.
func (w *Writer) Entry(e *Entry) error {
	w.line = appendEntry(w.line[:0], w.end.chain, e)
	if len(w.line) > MaxLine {
		return fmt.Errorf("auditchain: the entry %d is longer than %d bytes", e.Seq, MaxLine)
	}
	w.end.head = Head{e.Seq, e.Hash}
	w.end.entries++
	return w.write(w.line)
}

// Checkpoint writes a checkpoint, directly after its entry. Of two of one entry
// the second is left out, since one is enough.
func (w *Writer) Checkpoint(c *Checkpoint) error {
	if w.end.checkpoints > 0 && c.Seq == w.signed {
		return nil
	}
	w.signed = c.Seq
	w.end.checkpoints++
	w.line = appendCheckpoint(w.line[:0], c)
	return w.write(w.line)
}

// Close writes the end and flushes; it does not close the writer below. Nothing
// can be written after it.
func (w *Writer) Close() error {
	if w.closed {
		return nil
	}
	if err := w.write(appendEnd(nil, &w.end)); err != nil {
		return err
	}
	w.closed = true
	if err := w.w.Flush(); err != nil {
		return fmt.Errorf("auditchain: write the export: %w", err)
	}
	return nil
}

func (w *Writer) write(line []byte) error {
	if w.closed {
		return errors.New("auditchain: the export is closed")
	}
	_, err := w.w.Write(line)
	if err == nil {
		err = w.w.WriteByte('\n')
	}
	if err != nil {
		return fmt.Errorf("auditchain: write the export: %w", err)
	}
	return nil
}
