// Package saml is the SAML 2.0 service provider: it writes requests and
// metadata, and turns an identity provider's answer into an [Assertion] or a
// refusal with a [Reason].
//
// It owns what is mechanical about SAML: the bindings HTTP-Redirect and
// HTTP-POST, XML signatures and encryption, and every check of the Web Browser
// SSO profile and of single logout that can be made from a message alone. It
// does not own sessions, people, storage, pages or the fetching of metadata:
// the parent package does, and is its only caller.
//
// # What is trusted
//
// An assertion is believed only when it carries an XML signature of its own, by
// a key of the identity provider's configuration. A signature of the response
// around it is checked when there is one, and never replaces it. What is read
// afterwards are the canonical bytes that the signature's digest was computed
// over, parsed again; the document as it was received is not looked at any
// more, except for the outer response when that is not signed: its fields can
// only lead to a refusal, because everything that grants something stands in
// the assertion too.
//
// Before any cryptography a document has to pass a parser that is stricter than
// XML: no DOCTYPE, comments, CDATA or processing instructions, no name or
// prefix that could be read in two ways, no two equal IDs, and bounds on size,
// depth and number of elements, attributes and namespaces. Signatures are RSA with SHA-256 or better, over
// one reference to the element that they stand in, with the transforms
// enveloped-signature and exclusive canonicalization without comments; anything
// else is refused before it is verified. KeyInfo is ignored.
//
// Encryption is RSA-OAEP with AES-GCM. AES-CBC, which tells a forger about its
// padding, is accepted only inside a signed response: the signature then stands
// over the ciphertext, and a changed one is refused before it is decrypted.
// Whatever goes wrong from the decryption to the signature inside is one and
// the same refusal.
package saml
