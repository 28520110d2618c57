// Package h1 is the HTTP/1.1 client (RFC 9112) of the pass-through path: what
// net/http's Transport does for any client, for one that has read its request
// whole and reads its answer in the goroutine that asked for it.
//
// net/http keeps two goroutines beside every connection, so that a request
// may be sent while its answer already comes; each request pays for the
// handing over between the three. Here a small request leaves in one write and
// its answer is read where it is needed. What this does not suit — large and
// unknown lengths, upgrades, a proxy — goes to a net/http Transport beside it,
// so that nothing is lost but the shortcut.
//
// It owns connections while they are used and while they idle, the writing of
// a request's header, and when a request may be sent again. Reading an
// answer's header and body is net/http's own ReadResponse. It does not own
// which addresses may be dialled (internal/safehttp), where a request goes
// (internal/gateway/llm) or how long it may take (internal/gateway). Called by
// internal/gateway/route.
package h1
