// Package jsonpeek reads the few members of a raw JSON request body that
// decide what the caller may do, in one scan, without decoding the body.
//
// What is authorised must be what the upstream executes. JSON readers disagree
// about a body that has the same member twice, spells it "Model", or escapes a
// letter of it; so a body that any two of them could read differently is
// refused here, and the bytes that were looked at are the bytes that are
// forwarded. Splice replaces one value (the model's name for the upstream's)
// and leaves every other byte alone.
//
// It owns: the syntax check of the whole body (the same language as
// encoding/json.Valid, with less depth), finding members by name, the
// ambiguity rules, reading a found string, bool or integer, and Splice.
//
// It does not own: which members matter and what they mean (the endpoint's
// package), the size limit of a body (the listener), reading usage out of
// answers (gateway/llm).
//
// Called by: gateway/llm for every request body, before authz.Decide.
package jsonpeek
