package app

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

// bootstrapLife is how long the one-time admin token works at most.
const bootstrapLife = time.Hour

// bootstrap writes a one-time admin token where there is no admin and no
// directory of manifests that could name one. Each start without an admin makes
// a new one and ends the last, so that nobody is locked out and no old file
// works. It returns the path, or nothing where there is no need.
func (a *App) bootstrap(ctx context.Context) (string, error) {
	file := a.cfg.BootstrapTokenFile()
	s := a.publisher.Load()
	if file == "" || s == nil {
		return "", nil
	}
	batch, err := a.endBootstrap(ctx)
	if err != nil {
		return "", err
	}
	if s.HasAdmin() || a.cfg.Manifests.Dir != "" || a.opt.Dev {
		removeIfThere(file)
		return "", a.commitBootstrap(ctx, &batch)
	}
	id, err := uuid.NewV7()
	if err != nil {
		return "", err
	}
	token := identity.NewToken(identity.TokenPersonal)
	now := a.now().UTC()
	batch.PutTokens = []identity.Token{{
		ID: id.String(), Kind: identity.TokenPersonal, Name: "bootstrap", Digest: identity.DigestOf(token), Bootstrap: true,
		CreatedAt: now, ExpiresAt: now.Add(bootstrapLife), CreatedBy: "system",
	}}
	batch.Audit = append(batch.Audit, record.AuditEntry{
		At: now, Actor: "system:bootstrap", Action: "token.create", Target: "token:" + id.String(), Outcome: "done",
	})
	if err := writePrivate(file, token+"\n"); err != nil {
		return "", fmt.Errorf("bootstrap.tokenFile: %w", err)
	}
	if err := a.commitBootstrap(ctx, &batch); err != nil {
		return "", err
	}
	a.watchForAdmin(ctx, file)
	return file, nil
}

// commitBootstrap writes a batch, if there is anything in it, and waits until
// it counts.
func (a *App) commitBootstrap(ctx context.Context, batch *record.Batch) error {
	if len(batch.RevokeTokens)+len(batch.PutTokens) == 0 {
		return nil
	}
	head, err := a.db.Commit(ctx, batch)
	if err != nil {
		return err
	}
	return a.publisher.WaitFor(ctx, head)
}

// watchForAdmin revokes the one-time token and removes its file when the first
// admin exists, so that neither comes back should that admin go again.
func (a *App) watchForAdmin(ctx context.Context, file string) {
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	a.onStop(func(context.Context) error { stop(); <-done; return nil })
	go func() {
		defer close(done)
		for {
			changed := a.publisher.Changed()
			if s := a.publisher.Load(); s != nil && s.HasAdmin() {
				removeIfThere(file)
				batch, err := a.endBootstrap(run)
				if err == nil {
					err = a.commitBootstrap(run, &batch)
				}
				if err == nil || run.Err() != nil {
					return
				}
				a.log.Error("the one-time admin token could not be revoked; it stays refused while there is an admin", "error", err)
			}
			select {
			case <-run.Done():
				return
			case <-changed:
			}
		}
	}()
}

// endBootstrap returns the batch that ends the one-time tokens of earlier starts.
func (a *App) endBootstrap(ctx context.Context) (record.Batch, error) {
	var batch record.Batch
	old, err := a.db.Tokens(ctx, "")
	if err != nil {
		return batch, err
	}
	for _, t := range old {
		if t.RevokedAt == nil {
			batch.RevokeTokens = append(batch.RevokeTokens, t.ID)
			batch.Audit = append(batch.Audit, record.AuditEntry{
				At: a.now().UTC(), Actor: "system:bootstrap", Action: "token.revoke", Target: "token:" + t.ID, Outcome: "done",
			})
		}
	}
	return batch, nil
}

// writePrivate replaces a file by one that only its owner may read.
func writePrivate(file, content string) error {
	f, err := os.CreateTemp(filepath.Dir(file), ".token-*") // 0600
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

func removeIfThere(file string) { _ = os.Remove(file) } // it works no longer, so leaving it is no harm
