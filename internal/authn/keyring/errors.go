package keyring

import (
	"errors"
	"fmt"
	"time"
)

var (
	// ErrUnknownKid: the provider's set was read and has no such key. The caller answers 401 (unknown_key).
	ErrUnknownKid = errors.New("unknown_key: the identity provider publishes no key with this kid")
	// ErrUnavailable: we cannot say. The caller answers 503 with Retry-After. Every such error is an *UnavailableError.
	ErrUnavailable = errors.New("identity_provider_unavailable")
)

// UnavailableError says which provider cannot be asked, why, and when to try again.
type UnavailableError struct {
	Provider   string        // its name, or its uid where the name is not known
	Reason     string        // for explain and the log
	RetryAfter time.Duration // at least 1 s
}

func (e *UnavailableError) Error() string {
	return fmt.Sprintf("%v: %s: %s (retry after %s)", ErrUnavailable, e.Provider, e.Reason, e.RetryAfter.Round(time.Second))
}

// Is makes errors.Is(err, ErrUnavailable) true.
func (e *UnavailableError) Is(target error) bool { return target == ErrUnavailable }

func unavailable(provider, reason string, retry time.Duration) error {
	return &UnavailableError{Provider: provider, Reason: reason, RetryAfter: max(retry, time.Second)}
}
