package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// errStalled: the database did not answer in time.
var errStalled = errors.New("the database does not answer in time")

// guard gives up on a database that does not answer: one that is frozen or has
// left the network says nothing, for minutes. It counts only while a statement
// runs, so that a transaction may take as long as its function wants.
type guard struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
}

// newGuard returns the context of one transaction and its guard, which is nil
// where the database may take as long as it likes. Call end.
func newGuard(ctx context.Context, d *Dialect) (context.Context, *guard) {
	if d.Patience == 0 || d.StatementPatience == 0 {
		return ctx, nil
	}
	g := &guard{}
	g.ctx, g.cancel = context.WithCancelCause(ctx)
	g.timer = time.AfterFunc(d.Patience, func() { g.cancel(errStalled) })
	g.timer.Stop()
	return g.ctx, g
}

// wait begins a stretch in which the database must answer.
func (g *guard) wait(limit time.Duration) {
	if g != nil {
		g.timer.Reset(limit)
	}
}

// rest ends the stretch.
func (g *guard) rest() {
	if g != nil {
		g.timer.Stop()
	}
}

func (g *guard) end() {
	if g != nil {
		g.timer.Stop()
		g.cancel(nil)
	}
}

// explain says of an error that it came of giving up.
func (g *guard) explain(err error) error {
	if g != nil && errors.Is(context.Cause(g.ctx), errStalled) {
		return fmt.Errorf("%w: %w", errStalled, err)
	}
	return err
}
