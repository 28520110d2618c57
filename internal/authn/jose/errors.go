package jose

import (
	"fmt"
	"time"
)

// Code is why a token was refused. Codes are stable: explain prints them, the log counts them.
type Code string

const (
	Malformed           Code = "malformed"
	AlgorithmNotAllowed Code = "algorithm_not_allowed"
	BadSignature        Code = "bad_signature"
	UnknownKey          Code = "unknown_key"
	TokenExpired        Code = "token_expired"
	TokenNotYetValid    Code = "token_not_yet_valid"
	WrongTokenKind      Code = "wrong_token_kind"
	// The following are given out by authn, which knows what is configured; they stand here so that one list is complete.
	WrongIssuer   Code = "wrong_issuer"
	WrongAudience Code = "wrong_audience"
	NoSubject     Code = "no_subject"
)

// Error is one refusal. Detail is for explain and the log, never for the caller; it holds claim names, algorithms and
// durations, never a signature or a whole token.
type Error struct {
	Code   Code
	Detail string
	// By is how far outside its time a token is, skew included; zero where time is not the reason.
	By time.Duration
}

func (e *Error) Error() string { return string(e.Code) + ": " + e.Detail }

// Is compares codes, so errors.Is(err, &Error{Code: TokenExpired}) asks for the reason.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// Refuse makes an Error; authn uses it for the codes it gives out.
func Refuse(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...)}
}
