package auditchain

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/record"
)

// errLine is a line that cannot be a line of an export.
var errLine = errors.New("auditchain: not a line")

// lines reads lines that end with a line feed, the last too.
type lines struct {
	r   *bufio.Reader
	buf []byte
	n   uint64
}

// next returns a line, valid until the next call. Errors: io.EOF after the last,
// errLine for one that is too long or has no end, and the reader's own.
func (l *lines) next() ([]byte, error) {
	l.n++
	part, err := l.r.ReadSlice('\n')
	if err == nil {
		return part[:len(part)-1], nil
	}
	l.buf = l.buf[:0]
	for errors.Is(err, bufio.ErrBufferFull) {
		l.buf = append(l.buf, part...)
		if len(l.buf) > MaxLine+1 {
			return nil, fmt.Errorf("%w: it is longer than %d bytes", errLine, MaxLine)
		}
		part, err = l.r.ReadSlice('\n')
	}
	l.buf = append(l.buf, part...)
	switch {
	case errors.Is(err, io.EOF) && len(l.buf) == 0:
		return nil, io.EOF
	case errors.Is(err, io.EOF):
		return nil, fmt.Errorf("%w: it breaks off without a line feed", errLine)
	case err != nil:
		return nil, err
	case len(l.buf) > MaxLine+1:
		return nil, fmt.Errorf("%w: it is longer than %d bytes", errLine, MaxLine)
	}
	return l.buf[:len(l.buf)-1], nil
}

// wire is any line, as encoding/json reads it: more than the one form, which is
// why every line that is accepted is written again and compared.
type wire struct {
	V           int             `json:"v"`
	Chain       string          `json:"chain"`
	From        uint64          `json:"from"`
	Keys        []wireKey       `json:"keys"`
	Seq         uint64          `json:"seq"`
	PrevHash    string          `json:"prevHash"`
	ID          string          `json:"id"`
	At          string          `json:"at"`
	Actor       string          `json:"actor"`
	ActorUID    string          `json:"actorUid"`
	Via         string          `json:"via"`
	TokenID     string          `json:"tokenId"`
	RemoteAddr  string          `json:"remoteAddr"`
	RequestID   string          `json:"requestId"`
	Action      string          `json:"action"`
	Target      string          `json:"target"`
	Before      json.RawMessage `json:"before"`
	After       json.RawMessage `json:"after"`
	Outcome     string          `json:"outcome"`
	Hash        string          `json:"hash"`
	EntryHash   string          `json:"entryHash"`
	Key         string          `json:"key"`
	Signature   string          `json:"signature"`
	Entries     uint64          `json:"entries"`
	Checkpoints uint64          `json:"checkpoints"`
}

type wireKey struct {
	ID        string `json:"id"`
	PublicKey string `json:"publicKey"`
}

func (w *wire) entry() (Entry, error) {
	e := Entry{AuditEntry: record.AuditEntry{
		ID: w.ID, Actor: w.Actor, ActorUID: w.ActorUID, Via: w.Via, TokenID: w.TokenID,
		RemoteAddr: w.RemoteAddr, RequestID: w.RequestID, Action: w.Action, Target: w.Target, Before: w.Before, After: w.After, Outcome: w.Outcome,
	}, Seq: w.Seq}
	var err, errs error
	e.At, errs = time.Parse(timeLayout, w.At)
	if e.PrevHash, err = ParseHash(w.PrevHash); err != nil {
		errs = err
	}
	if e.Hash, err = ParseHash(w.Hash); err != nil {
		errs = err
	}
	return e, errs
}

func (w *wire) checkpoint() (Checkpoint, error) {
	c := Checkpoint{Chain: w.Chain, Head: Head{Seq: w.Seq}, KeyID: w.Key}
	var err, errs error
	c.At, errs = time.Parse(timeLayout, w.At)
	if c.Hash, err = ParseHash(w.EntryHash); err != nil {
		errs = err
	}
	if c.Signature, err = base64.StdEncoding.Strict().DecodeString(w.Signature); err != nil {
		errs = err
	}
	return c, errs
}

func (w *wire) header() (Header, error) {
	h := Header{Chain: w.Chain, After: Head{Seq: w.From - 1}}
	if w.From == 0 || w.From > maxSeq || !validChainID(w.Chain) {
		return h, errors.New("its chain or its from is not valid")
	}
	var err error
	if h.After.Hash, err = ParseHash(w.PrevHash); err != nil {
		return h, errors.New("its prevHash is not a hash")
	}
	if w.From == 1 && h.After.Hash != (Hash{}) {
		return h, errors.New("it begins with entry 1, before which there is none, and its prevHash is not zero")
	}
	for _, k := range w.Keys {
		der, err := base64.StdEncoding.Strict().DecodeString(k.PublicKey)
		if err != nil {
			return h, fmt.Errorf("the public key %.80q is not base64", k.ID)
		}
		key, err := parseSPKI(der)
		if err != nil {
			return h, fmt.Errorf("the public key %.80q is not an Ed25519 key", k.ID)
		}
		if KeyID(key) != k.ID {
			return h, fmt.Errorf("the public key %.80q has another thumbprint, %s", k.ID, KeyID(key))
		}
		h.Keys = append(h.Keys, key)
	}
	return h, nil
}

// kindOf returns how a line begins, or nothing.
func kindOf(line []byte) string {
	for _, kind := range []string{entryType, checkpointType, headerType, endType} {
		if bytes.HasPrefix(line, []byte(kind)) {
			return kind
		}
	}
	return ""
}
