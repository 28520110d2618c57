package gateway

import (
	"context"
	"slices"
	"sync"
)

// callContext is the context of what is sent to a provider. It ends when the
// request's own context does (the caller is gone), when we cut the call, or
// with the exchange; the first cause stands.
//
// It does what context.WithCancelCause would, for one call at a time and with
// a quarter of the allocations: most calls are never waited for by Done.
type callContext struct {
	context.Context // the request's, for its values

	unwatch func() bool // ends the watch over the request's context

	mu        sync.Mutex
	cause     error
	done      chan struct{} // made when somebody asks
	interrupt func()        // ends the wait of the connection in use
	after     []*func()     // run when it ends
}

// ended is the cause of a context that nobody had to cut.
type ended struct{}

func (ended) Error() string { return "the call has ended" }

// watch begins to follow the request's context.
func (c *callContext) watch(request context.Context) {
	c.Context = request
	c.unwatch = context.AfterFunc(request, c.gone)
}

// gone ends the context because the request's has ended.
func (c *callContext) gone() { c.cut(context.Cause(c.Context)) }

// cut ends the context for a reason. It may be called by any goroutine, any
// number of times.
func (c *callContext) cut(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		return
	}
	c.cause = cause
	if c.done != nil {
		close(c.done)
	}
	if c.interrupt != nil {
		c.interrupt()
		c.interrupt = nil
	}
	for _, f := range c.after {
		go (*f)()
	}
	c.after = nil
}

// end lets go of everything, once the exchange needs the context no more.
func (c *callContext) end() {
	if c.unwatch != nil {
		c.unwatch()
		c.cut(ended{})
	}
}

// why returns the cause of the end; nil while the context goes on.
func (c *callContext) why() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause
}

// Err is context.Canceled once the context has ended.
func (c *callContext) Err() error {
	if c.why() != nil {
		return context.Canceled
	}
	return nil
}

// Done is closed when the context ends.
func (c *callContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done == nil {
		c.done = make(chan struct{})
		if c.cause != nil {
			close(c.done)
		}
	}
	return c.done
}

// Attach has the connection in use interrupted when the context ends
// (h1.Interrupter). interrupt must not wait.
func (c *callContext) Attach(interrupt func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		interrupt()
		return
	}
	c.interrupt = interrupt
}

// Detach takes back what Attach was given, and reports whether it had not run.
func (c *callContext) Detach() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	attached := c.interrupt != nil
	c.interrupt = nil
	return attached
}

// AfterFunc runs f in a goroutine of its own when the context ends, unless
// stop is called before. Package context uses it for the contexts that are
// derived of this one.
func (c *callContext) AfterFunc(f func()) (stop func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		go f()
		return func() bool { return false }
	}
	entry := &f
	c.after = append(c.after, entry)
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		i := slices.Index(c.after, entry)
		if i < 0 {
			return false
		}
		c.after = slices.Delete(c.after, i, i+1)
		return true
	}
}
