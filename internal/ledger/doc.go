// Package ledger takes what happened off the request path: request records go
// into a bounded queue in memory and from there in batches to a sink, and the
// times at which tokens were last used are gathered and written once a minute.
//
// It owns: the queue, its bound and what happens at the bound (Policy), the
// batching, retrying while a sink is away, and the counters that metrics show.
//
// It does not own: what a record holds (internal/record), where records are
// kept (internal/store, through the ports Sink and Toucher), or who may see
// them (the queries of the control wing).
//
// What a kill -9 or a power cut costs: the records of the last
// Options.Interval, more only while the sink is away; and the last-used times
// of the last Options.TouchInterval. An orderly Close loses nothing. The
// configuration and the audit log never come this way.
//
// Called by: internal/app makes one; gateway adds a record at the end of every
// request; authn touches tokens.
package ledger
