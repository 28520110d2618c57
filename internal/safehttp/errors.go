package safehttp

import "fmt"

// Error is a refusal of this package. Codes are stable; the message is for the operator and never holds a credential.
type Error struct {
	Code    string
	Message string
	Err     error // the cause, if there is one
}

// What errors.Is compares with; comparison is by code.
var (
	// ErrBlockedAddress: the address is not one the policy lets us connect to.
	ErrBlockedAddress = &Error{Code: "blocked_address", Message: "address refused by policy"}
	// ErrInvalidURL: the URL is not one we would ever fetch.
	ErrInvalidURL = &Error{Code: "invalid_url", Message: "URL refused"}
	// ErrTooLarge: the answer is longer than the cap.
	ErrTooLarge = &Error{Code: "too_large", Message: "answer too large"}
	// ErrRedirect: the answer redirects to where we do not follow.
	ErrRedirect = &Error{Code: "redirect_refused", Message: "redirect refused"}
	// ErrStatus: the answer's status is not 200.
	ErrStatus = &Error{Code: "unexpected_status", Message: "unexpected status"}
)

func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %s: %v", e.Code, e.Message, e.Err)
	}
	return e.Code + ": " + e.Message
}

func (e *Error) Unwrap() error { return e.Err }

// Is compares codes.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

func refuse(kind *Error, format string, args ...any) error {
	return &Error{Code: kind.Code, Message: fmt.Sprintf(format, args...)}
}
