package store

import (
	"context"
	"errors"
	"math"

	"github.com/google/uuid"

	"github.com/gatehouse-ai/gatehouse/internal/auditchain"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

var errNoChain = errors.New("the database has no audit chain: it was never started, or the chain was removed")

// startChain makes the chain's id, once.
func (t *tx) startChain() error {
	var none auditchain.Hash
	_, err := t.exec(`INSERT INTO audit_chain (id, chain, seq, hash) VALUES (1, ?, 0, ?) ON CONFLICT (id) DO NOTHING`, uuid.NewString(), none[:])
	return err
}

// lockChain returns the head, and keeps others from linking behind it until the
// end of the transaction. The row is locked by writing it. It comes after the
// lock of Dialect.Exclusive and before that of the revision, always.
func (t *tx) lockChain() (auditchain.Chain, auditchain.Head, error) {
	id, head, err := t.chainWhere(`UPDATE audit_chain SET seq = seq WHERE id = 1 RETURNING chain, seq, hash`)
	if err != nil {
		return auditchain.Chain{}, head, err
	}
	chain, err := auditchain.NewChain(id)
	return chain, head, err
}

func (t *tx) moveChain(head auditchain.Head) error {
	n, err := t.exec(`UPDATE audit_chain SET seq = ?, hash = ? WHERE id = 1`, int64(head.Seq), head.Hash[:])
	if err == nil && n != 1 {
		err = errNoChain
	}
	return err
}

func (t *tx) chainWhere(query string) (id string, head auditchain.Head, err error) {
	var hash []byte
	found, err := t.one(query, nil, &id, &head.Seq, &hash)
	copy(head.Hash[:], hash)
	if err == nil && !found {
		err = errNoChain
	}
	return id, head, err
}

// seqArg is a seq as the database has it; one that it cannot have comes after all.
func seqArg(seq uint64) int64 { return int64(min(seq, math.MaxInt64)) }

// AuditHead returns the id of the audit's chain, which is made once and stays
// over restores, and its newest entry; the zero Head is that of an empty chain.
// Errors: database_unavailable.
func (db *Database) AuditHead(ctx context.Context) (chain string, head auditchain.Head, err error) {
	err = db.view(ctx, db.config, func(t *tx) error {
		chain, head, err = t.chainWhere(`SELECT chain, seq, hash FROM audit_chain WHERE id = 1`)
		return err
	})
	return chain, head, err
}

// Checkpoints lists checkpoints in the order of the entries that they sign,
// those of a seq and later ones. A limit of 0 is 500; 10 000 is the most.
// Errors: database_unavailable.
func (db *Database) Checkpoints(ctx context.Context, from uint64, limit int) ([]auditchain.Checkpoint, error) {
	var list []auditchain.Checkpoint
	err := db.view(ctx, db.config, func(t *tx) error {
		id, _, err := t.chainWhere(`SELECT chain, seq, hash FROM audit_chain WHERE id = 1`)
		if err != nil {
			return err
		}
		return t.each(`SELECT seq, hash, at, key_id, signature FROM audit_checkpoints WHERE seq >= ? ORDER BY seq LIMIT ?`,
			[]any{seqArg(from), pageSize(limit)}, func(r row) error {
				c := auditchain.Checkpoint{Chain: id}
				var hash []byte
				var at int64
				err := r.Scan(&c.Seq, &hash, &at, &c.KeyID, &c.Signature)
				copy(c.Hash[:], hash)
				c.At = fromMillis(at)
				list = append(list, c)
				return err
			})
	})
	return list, err
}

// PutCheckpoint keeps a checkpoint. Where there is one of the same entry, that
// one stays: of several processes that sign one head the first is enough.
// Errors: invalid_request (of another chain, of no entry or unsigned),
// database_unavailable.
func (db *Database) PutCheckpoint(ctx context.Context, c *auditchain.Checkpoint) error {
	return db.update(ctx, db.config, func(t *tx) error {
		id, head, err := t.chainWhere(`SELECT chain, seq, hash FROM audit_chain WHERE id = 1`)
		if err != nil {
			return err
		}
		if c.Chain != id || c.Seq == 0 || c.Seq > head.Seq || len(c.Signature) == 0 {
			return identity.Errorf(identity.CodeInvalidRequest, "this is not a checkpoint of the audit's chain")
		}
		_, err = t.exec(`INSERT INTO audit_checkpoints (seq, hash, at, key_id, signature) VALUES (?, ?, ?, ?, ?) ON CONFLICT (seq) DO NOTHING`,
			int64(c.Seq), c.Hash[:], c.At.UnixMilli(), c.KeyID, c.Signature)
		return err
	})
}
