// Package llm knows the endpoints of the model APIs: what each is called, which
// model type it needs, in which dialect it speaks, what of a request's body
// must be read before the caller is authorised, where a provider wants the
// request, how usage is written in an answer, and what an error looks like.
// The echo provider, which answers in process, lives here too.
//
// What is authorised is what is forwarded: Peek and PeekMultipart give the one
// reading of a body and the place of the model's name in it; everything else
// passes byte for byte.
//
// It does not own connections and catalogues (gateway/route), nor the order of
// a request's stages, its limits and its relay (internal/gateway, the only
// caller besides gateway/route).
package llm
