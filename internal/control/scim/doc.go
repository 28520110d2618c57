// Package scim is the SCIM 2.0 server, /scim/v2 (RFC 7643, RFC 7644): a
// company's directory pushes its people and groups here, and people come and
// go by themselves.
//
// It owns the protocol: schemas, filters bound to them, PATCH, paging,
// versions, errors, and what a directory may touch: the people and the teams
// whose manager is "scim:NAME", and nobody and nothing else. It does not own
// the grammar of filters (internal/control/filter), who may call (the port
// Authenticator), whose account or which name may be taken (the port Trust),
// nor what a deactivation does to tokens and sessions: the store does that in
// the transaction that writes it.
//
// What it chooses where the RFCs leave a choice:
//   - A group is a Team. Its name is made of the displayName once and is never
//     changed; a rename changes spec.displayName alone. A name that is taken,
//     reserved, granted something, or still has members, gets a number.
//   - A group's version grows with its members, so a group that is being
//     deleted and one that is being filled exclude each other.
//   - Members are people of the same directory. Nested groups are refused.
//   - A change of up to 1000 members is one transaction. A larger one is
//     several, each whole; the answer is an error if one of them fails, and the
//     same request again does the rest.
//   - PATCH of a group answers 204, so that its cost is that of the change.
//   - Unknown attributes in POST and PUT are ignored, in PATCH refused.
//   - PUT without active keeps it, so that nobody comes back by omission.
//   - emails.value eq "x" finds the person whose address here is x: the one
//     that is primary, else of type work, else the first.
//   - No bulk, no sorting, no passwords (they are thrown away).
//   - A person's address is one that a token or a sign-in can have, or the one
//     that they have already.
//   - ?dryRun=true, on what writes, answers the differences and writes nothing,
//     to the audit either; a spelling of it that is not understood is refused.
//   - What Trust refuses is audited as denied; what is merely taken is not.
//
// internal/app makes a Server and mounts it at /scim/v2/.
package scim
