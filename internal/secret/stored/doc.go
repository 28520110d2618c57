// Package stored is the secret backend for {stored: true}: values that people
// gave with {value: …} and that are kept sealed. It declares the two ports that
// it needs: SealedReader, which internal/store implements (or whatever holds a
// copy of the sealed bytes while the database is away), and Opener, which is
// seal.Keyset. It owns no key and no storage. internal/app gives it to
// secret.Cache.
package stored
