package auditchain

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Verify reads an export to its end and returns what it found. It keeps one line
// in memory. Errors: *Problem for what is wrong with the export, and then the
// report is of what is good before it; any other is the reader's.
func Verify(r io.Reader, opt Options) (Report, error) {
	v := &verifier{
		opt: opt, lines: lines{r: bufio.NewReaderSize(r, 64<<10)},
		keys:   map[string]ed25519.PublicKey{},
		report: Report{Pinned: opt.pinned()},
	}
	for {
		line, err := v.lines.next()
		if errors.Is(err, io.EOF) {
			return v.report, v.finish()
		}
		if err == nil {
			err = v.line(line)
		}
		switch {
		case errors.Is(err, errLine) && v.ended:
			return v.report, v.trailing()
		case errors.Is(err, errLine):
			return v.report, v.problem(KindMalformed, 0, "this is not a line of an export: "+err.Error()[len(errLine.Error())+2:],
				"the export broke off here or was written over")
		case err != nil:
			return v.report, err
		}
	}
}

type verifier struct {
	opt    Options
	lines  lines
	again  []byte // a line written again
	keys   map[string]ed25519.PublicKey
	chain  string // "" before the header
	head   Head
	signed bool // the head has its checkpoint
	ended  bool
	report Report
}

// problem is one of the line that was read last.
func (v *verifier) problem(kind Kind, seq uint64, what, means string) *Problem {
	return &Problem{Line: v.lines.n, Seq: seq, Kind: kind, What: what, Means: means}
}

func (v *verifier) trailing() *Problem {
	return v.problem(KindTrailing, 0, "something stands after the end of the export", "it was added to the file: nothing that follows the end is part of the export")
}

func (v *verifier) line(line []byte) error {
	if v.ended {
		return v.trailing()
	}
	kind := kindOf(line)
	var w wire
	if kind == "" || json.Unmarshal(line, &w) != nil {
		return v.problem(KindMalformed, 0, fmt.Sprintf("this is not a line of an export: %.60q", line), "the line was damaged or put there, or the file is not an export")
	}
	if w.V != 1 {
		return v.problem(KindVersion, w.Seq, fmt.Sprintf("the line is of version %d, and this verifier knows version 1", w.V), "verify with a newer gatehouse; if there is none, the line was altered")
	}
	if (kind == headerType) != (v.chain == "") {
		if kind == headerType {
			return v.problem(KindHeader, 0, "a second header", "two exports were joined: verify each by itself")
		}
		return v.problem(KindHeader, w.Seq, "the export does not begin with its header", "the beginning was removed")
	}
	if kind != headerType && w.Chain != v.chain {
		return v.problem(KindChain, w.Seq, fmt.Sprintf("the line is of the chain %.80q, and the export of %q", w.Chain, v.chain), "it was put there from another installation's audit, or altered")
	}
	switch kind {
	case headerType:
		return v.header(&w, line)
	case entryType:
		return v.entry(&w, line)
	case checkpointType:
		return v.checkpoint(&w, line)
	default:
		return v.end(&w, line)
	}
}

// sameForm compares a line with how it would be written.
func (v *verifier) sameForm(line, again []byte, seq uint64) error {
	v.again = again
	if bytes.Equal(line, again) {
		return nil
	}
	return v.problem(KindMalformed, seq, "the line is not written in the one form of an export", "it was altered after it was exported, if only by a program that writes JSON again")
}

func (v *verifier) header(w *wire, line []byte) error {
	h, err := w.header()
	if err != nil {
		return v.problem(KindHeader, 0, "the header is not valid: "+err.Error(), "it was altered, or written by something else")
	}
	if err := v.sameForm(line, appendHeader(v.again[:0], &h), 0); err != nil {
		return err
	}
	if v.opt.Whole && w.From != 1 {
		return v.problem(KindPartial, 0, fmt.Sprintf("the export begins with entry %d", w.From), "a whole one was asked for: what came before is not in it")
	}
	v.trust(h.Keys)
	v.chain, v.head = h.Chain, h.After
	v.report.Chain, v.report.From, v.report.Head = h.Chain, w.From, h.After
	return v.expect()
}

// trust says which keys may sign: those that are pinned, or else the header's.
func (v *verifier) trust(header []ed25519.PublicKey) {
	for _, k := range v.opt.Keys {
		v.keys[KeyID(k)] = k
	}
	for _, k := range header {
		if id := KeyID(k); !v.opt.pinned() || slices.Contains(v.opt.KeyIDs, id) {
			v.keys[id] = k
		}
	}
}

func (v *verifier) entry(w *wire, line []byte) error {
	e, err := w.entry()
	switch {
	case w.Seq != v.head.Seq+1:
		return v.misplaced(w)
	case err != nil:
		return v.problem(KindMalformed, w.Seq, "the entry's time or a hash of it cannot be read", "it was altered")
	case e.PrevHash != v.head.Hash && w.Seq == v.report.From:
		return v.problem(KindUnlinked, w.Seq, "the first entry's prevHash is not that of the header", "entries at the start were removed or replaced, or the header was altered")
	case e.PrevHash != v.head.Hash:
		return v.problem(KindUnlinked, w.Seq, fmt.Sprintf("its prevHash is not the hash of entry %d", v.head.Seq), fmt.Sprintf("entry %d was altered and its hash computed again, or this one was replaced or inserted", v.head.Seq))
	case len(line) <= hashTail || hashEntry(line[:len(line)-hashTail]) != e.Hash:
		return v.problem(KindAltered, w.Seq, "its hash is not that of its fields", "the entry was altered after it was written, or its hash was")
	}
	if err := v.sameForm(line, appendEntry(v.again[:0], v.chain, &e), w.Seq); err != nil {
		return err
	}
	v.head, v.signed = Head{e.Seq, e.Hash}, false
	if v.report.Entries == 0 {
		v.report.First = e.At
	}
	v.report.Last, v.report.Head = e.At, v.head
	v.report.Entries++
	return v.expect()
}

// misplaced says what it means that an entry does not have the next seq.
func (v *verifier) misplaced(w *wire) error {
	want := v.head.Seq + 1
	if w.Seq > want {
		return v.missing(want, w.Seq)
	}
	h, _ := ParseHash(w.Hash)
	switch {
	case w.Seq < v.report.From:
		return v.problem(KindInserted, w.Seq, fmt.Sprintf("the export begins with entry %d", v.report.From), "the entry was put there, or the header was altered")
	case w.Seq == v.head.Seq && h == v.head.Hash:
		return v.problem(KindRepeated, w.Seq, "the entry stands here a second time", "the line was duplicated")
	case w.Seq == v.head.Seq:
		return v.problem(KindInserted, w.Seq, fmt.Sprintf("two entries say that they are entry %d", w.Seq), "one of them was inserted, here or in the line before")
	default:
		return v.problem(KindInserted, w.Seq, fmt.Sprintf("entry %d should stand here", want), "the entry was inserted, duplicated or moved from its place")
	}
}

// missing looks, without keeping anything, whether the entry that should stand
// here stands further down: then nothing was removed, it was moved.
func (v *verifier) missing(want, got uint64) error {
	found := v.problem(KindRemoved, want, fmt.Sprintf("entry %d should stand here, and it is entry %d", want, got), fmt.Sprintf("entry %d was removed", want))
	if got > want+1 {
		found.Means = fmt.Sprintf("entries %d to %d were removed", want, got-1)
	}
	if want == v.report.From {
		found.Means += " from the start"
	}
	for {
		line, err := v.lines.next()
		if err != nil { // it is the gap that is reported, and not what comes later
			return found
		}
		var w wire
		if kindOf(line) == entryType && json.Unmarshal(line, &w) == nil && w.Seq == want {
			found.Kind, found.Means = KindReordered, fmt.Sprintf("entries were reordered: entry %d stands in line %d", want, v.lines.n)
			return found
		}
	}
}

func (v *verifier) checkpoint(w *wire, line []byte) error {
	c, err := w.checkpoint()
	switch {
	case err != nil:
		return v.problem(KindMalformed, w.Seq, "the checkpoint cannot be read", "it was altered")
	case c.Seq > v.head.Seq:
		return v.problem(KindRemoved, v.head.Seq+1, fmt.Sprintf("a checkpoint of entry %d stands after entry %d", c.Seq, v.head.Seq), fmt.Sprintf("entries %d to %d were removed, or the checkpoint was moved", v.head.Seq+1, c.Seq))
	case c.Seq < v.head.Seq || c.Seq == 0:
		return v.problem(KindCheckpoint, c.Seq, fmt.Sprintf("a checkpoint of entry %d stands after entry %d", c.Seq, v.head.Seq), "the checkpoint was moved from its place, swapped or altered, or entries were inserted before it")
	case v.signed:
		return v.problem(KindRepeated, c.Seq, fmt.Sprintf("a second checkpoint of entry %d", c.Seq), "the line was duplicated or inserted")
	}
	key := v.keys[c.KeyID]
	if key == nil {
		means := "it was signed by somebody else, or the header's keys were altered"
		if v.opt.pinned() {
			means = "it was signed by somebody else; if the key was rotated, pin the new key as well"
		}
		return v.problem(KindUnknownKey, c.Seq, fmt.Sprintf("the checkpoint is by the key %.80q, which is not trusted", c.KeyID), means)
	}
	if !c.SignedBy(key) {
		return v.problem(KindSignature, c.Seq, "the checkpoint's signature is wrong", "the checkpoint was altered or forged")
	}
	if c.Hash != v.head.Hash {
		return v.problem(KindCheckpoint, c.Seq, fmt.Sprintf("entry %d had another hash when it was signed", c.Seq), "this entry, or one before it, was altered or inserted and the hashes computed again")
	}
	if err := v.sameForm(line, appendCheckpoint(v.again[:0], &c), c.Seq); err != nil {
		return err
	}
	v.signed = true
	r := &v.report
	r.Checkpoints++
	r.Signed, r.SignedAt, r.Covered = c.Seq, c.At, c.Seq
	if !slices.Contains(r.KeyIDs, c.KeyID) {
		r.KeyIDs = append(r.KeyIDs, c.KeyID)
	}
	return nil
}

func (v *verifier) end(w *wire, line []byte) error {
	r := &v.report
	h, err := ParseHash(w.EntryHash)
	switch {
	case err != nil:
		return v.problem(KindMalformed, w.Seq, "the end cannot be read", "it was altered")
	case w.Seq > v.head.Seq:
		return v.problem(KindRemoved, v.head.Seq+1, fmt.Sprintf("the export should end with entry %d, and ends with entry %d", w.Seq, v.head.Seq), "entries were removed from its end, or the end was altered")
	case w.Seq != v.head.Seq || h != v.head.Hash || w.Entries != r.Entries || w.Checkpoints != r.Checkpoints:
		return v.problem(KindTruncated, 0, fmt.Sprintf("the end says entry %d, %d entries and %d checkpoints, and there are entry %d, %d and %d", w.Seq, w.Entries, w.Checkpoints, v.head.Seq, r.Entries, r.Checkpoints),
			"lines were removed or added, or the end was altered or is that of another export")
	}
	if err := v.sameForm(line, appendEnd(v.again[:0], &end{v.chain, v.head, r.Entries, r.Checkpoints}), 0); err != nil {
		return err
	}
	v.ended = true
	return nil
}

// expect compares the head with the expected one, when it comes by.
func (v *verifier) expect() error {
	want := v.opt.Expect
	if want == nil || want.Seq != v.head.Seq || want.Seq == 0 && want.Hash == (Hash{}) {
		return nil
	}
	if want.Hash != v.head.Hash {
		return v.problem(KindExpected, want.Seq, fmt.Sprintf("entry %d was expected to have the hash %s", want.Seq, want.Hash), "this entry, or one before it, was altered or replaced and the hashes computed again, or it is another chain")
	}
	v.report.Expected, v.report.Covered = true, want.Seq
	return nil
}

// finish asks, at the end of the file, for what the export had to hold.
func (v *verifier) finish() error {
	r := &v.report
	want := v.opt.Expect
	switch {
	case v.chain == "":
		return v.problem(KindHeader, 0, "the file is empty", "an export has a header, also when it has no entries")
	case want != nil && !r.Expected && want.Seq > v.head.Seq:
		return v.problem(KindExpected, want.Seq, fmt.Sprintf("entry %d was expected, and the export ends with entry %d", want.Seq, v.head.Seq), "entries were removed from its end, or the export is older than the expected head")
	case !v.ended:
		return v.problem(KindTruncated, 0, fmt.Sprintf("the export breaks off after entry %d", v.head.Seq), "the end of the file is missing: it was cut off, or the copy was not completed")
	case want != nil && !r.Expected && want.Seq > 0:
		return v.problem(KindExpected, want.Seq, fmt.Sprintf("entry %d was expected, and the export begins with entry %d", want.Seq, r.From), "the expected head cannot be compared: export from an earlier entry")
	case v.opt.pinned() && r.Checkpoints == 0 && r.Entries > 0:
		return v.problem(KindUnsigned, 0, "the export has no checkpoint", "nothing in it is signed by the pinned key: its checkpoints were removed, or none was made yet")
	case v.opt.SignedHead && r.Signed < r.Head.Seq:
		return v.problem(KindUnsigned, r.Head.Seq, fmt.Sprintf("the last checkpoint is of entry %d, and the export ends with entry %d", r.Signed, r.Head.Seq), "the entries after it could have been written by anybody, and a later checkpoint may have been removed")
	}
	return nil
}
