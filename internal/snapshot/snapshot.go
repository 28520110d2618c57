package snapshot

import (
	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// Snapshot is the configuration at one revision. It is immutable; every method
// may be called by any number of goroutines at once.
type Snapshot struct {
	head identity.Head
	cfg  *config

	resources   map[identity.ResourceKey]v1.Resource
	quarantined map[identity.ResourceKey]string

	tokens         *tokenTable
	tokenOwners    *sharded[string, uint32]
	owners         owners
	users          *sharded[string, *User]
	byEmail        *sharded[string, string]
	byIdentity     *sharded[identity.IdentityKey, string]
	tombs          *sharded[string, *identity.Tombstone]
	tombIdentities *sharded[identity.IdentityKey, string]
	tombEmails     *sharded[string, string]
	hasAdmin       bool
	adminUID       string // somebody who makes hasAdmin true, where that took a search
}

// Head returns the epoch and revision.
func (s *Snapshot) Head() identity.Head { return s.head }

// Resource returns what was written. Do not change it.
func (s *Snapshot) Resource(key identity.ResourceKey) (v1.Resource, bool) {
	r, ok := s.resources[key]
	return r, ok
}

// Resources walks over everything that was written, in no order.
func (s *Snapshot) Resources(yield func(v1.Resource) bool) {
	for _, r := range s.resources {
		if !yield(r) {
			return
		}
	}
}

// HasAdmin reports whether there is a person or an application that is a
// tenant admin; then the bootstrap token works no longer.
func (s *Snapshot) HasAdmin() bool { return s.hasAdmin }

// Stats counts what a snapshot holds.
type Stats struct {
	Users, Tokens, Resources, Accounts, Models, Problems int
}

// Stats counts what the snapshot holds.
func (s *Snapshot) Stats() Stats {
	st := Stats{Users: s.users.count, Resources: len(s.resources), Accounts: len(s.cfg.accounts), Problems: len(s.cfg.problems), Tokens: len(s.cfg.digests)}
	for _, shard := range s.tokens {
		if shard != nil {
			st.Tokens += shard.used - shard.gone
		}
	}
	for _, a := range s.cfg.accountList {
		for _, m := range a.models {
			if m.Listed {
				st.Models++
			}
		}
	}
	return st
}

// ConfigID changes whenever any manifest does, and only then.
func (s *Snapshot) ConfigID() uint64 { return s.cfg.id }
