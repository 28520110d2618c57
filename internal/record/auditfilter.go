package record

import "time"

// AuditFilter says which audit entries are asked for: those for which
// everything holds that is set. The zero AuditFilter is all.
type AuditFilter struct {
	// Actor, Action, Target and Outcome are the entry's, exactly. An Action
	// that ends in * is a prefix: user.* for user.create and user.update.
	Actor, Action, Target, Outcome string
	// Since is the first moment that belongs to it, Until the first that does
	// not any more; both to the millisecond.
	Since, Until time.Time
}
