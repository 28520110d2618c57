package apply

import (
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// Refused is an error with what only the audit may know of it. The caller is
// answered with Err and nothing else.
type Refused struct {
	// Err is the answer.
	Err error
	// Ref is what would have been changed; empty where the operation knows.
	Ref identity.ResourceRef
	// Because is the refusal, where Err says that nothing is there.
	Because error
	// Exists reports whether it is there all the same.
	Exists bool
}

func (r *Refused) Error() string { return r.Err.Error() }

// Unwrap returns the answer.
func (r *Refused) Unwrap() error { return r.Err }

// Hide returns absent as the answer to a refusal, for something that the caller
// may not see. It is for what is not there as well: if only one of the two were
// taken down, the time that it takes would tell them apart. Without a refusal
// it is absent alone.
func Hide(refusal, absent error, exists bool) error {
	if refusal == nil {
		return absent
	}
	return &Refused{Err: absent, Because: refusal, Exists: exists}
}

// about says what was refused, where it was.
func about(ref identity.ResourceRef, err error) error {
	if identity.CodeOf(err) != identity.CodePermissionDenied {
		return err
	}
	return &Refused{Err: err, Ref: ref}
}
