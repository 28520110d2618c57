// Package gateway is the data plane for models: it serves /v1 from the
// snapshot, without a database.
//
// Every request is one Exchange, and its stages stand in order in
// Exchange.serve: admit, authenticate, attribute; for a call of a model then
// read the body, peek, authorise, judge what it refers to, send, relay; and
// whatever the outcome, render errors in one place and record.
//
// What is authorised is what is forwarded: the body's bytes go upstream as
// they came, with only the model's value replaced. Of the request's header an
// allow-list goes on, of the answer's header all but a deny-list comes back.
//
// Decisions that are not written elsewhere:
//
//   - x-request-id is always ours (a UUIDv7). A caller's own id is not taken
//     over; X-Client-Request-Id goes upstream as OpenAI documents it. The
//     provider's id comes back as x-upstream-request-id.
//   - Upstreams are asked for Accept-Encoding: identity, so that usage can be
//     read of every answer in passing. One that compresses all the same is
//     passed through as it is, and its usage is unknown.
//   - No query string goes upstream; Azure's api-version is the account's.
//   - Idempotency-Key goes upstream hashed with the caller's identity, since
//     callers share the provider's key and must not share its answers.
//   - There is no record yet of who made which stored response, file or vector
//     store, so references to such things, and tools that the provider runs on
//     them, need provider-account:hosted-tools on the account.
//   - JSON goes upstream as application/json, as which it was read. A body with
//     a Content-Encoding is refused: it could not be read here.
//
// It does not own connections (gateway/route), the APIs' shapes (gateway/llm),
// who is calling (internal/authn), or what they may do (internal/authz). app
// mounts it and tells it of each snapshot.
package gateway
