package identity

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Code names a refusal or failure. Codes are an interface: they stand in
// answers, logs and documentation, and are never renamed.
type Code string

// The codes, by the status they are answered with.
const (
	// 400
	CodeInvalidRequest      Code = "invalid_request"
	CodeAmbiguousBody       Code = "ambiguous_body"
	CodeCredentialsDisagree Code = "credentials_disagree"
	CodeInvalidManifest     Code = "invalid_manifest"
	// 401
	CodeNoCredential Code = "no_credential"
	CodeInvalidToken Code = "invalid_token"
	// 403
	CodeModelNotPermitted   Code = "model_not_permitted"
	CodePermissionDenied    Code = "permission_denied"
	CodeIdentityNotMapped   Code = "identity_not_mapped"
	CodeIdentityAmbiguous   Code = "identity_ambiguous"
	CodeIdentityConflict    Code = "identity_conflict"
	CodeNotAMember          Code = "not_a_team_member"
	CodeAddressNotPermitted Code = "address_not_permitted"
	CodeResourceNotOwned    Code = "resource_not_owned"
	CodeEndpointUnsupported Code = "endpoint_not_supported"
	// 404, 405, 409, 412, 413, 428
	CodeNotFound             Code = "not_found"
	CodeMethodNotAllowed     Code = "method_not_allowed"
	CodeManagedBy            Code = "managed_by"
	CodeConflict             Code = "conflict"
	CodeManifestConflict     Code = "manifest_conflict"
	CodePreconditionFailed   Code = "precondition_failed"
	CodePreconditionRequired Code = "precondition_required"
	CodeBodyTooLarge         Code = "body_too_large"
	// 415, 421
	CodeUnsupportedMediaType Code = "unsupported_media_type"
	CodeMisdirectedRequest   Code = "misdirected_request"
	// 429
	CodeRateLimited Code = "rate_limited"
	// 500
	CodeInternal Code = "internal_error"
	// 502, 503, 504
	CodeUpstreamUnreachable  Code = "upstream_unreachable"
	CodeUpstreamBroke        Code = "upstream_broke"
	CodeProviderCredentials  Code = "provider_credentials_rejected"
	CodeKeysUnavailable      Code = "identity_provider_unavailable"
	CodeDirectoryUnavailable Code = "directory_unavailable"
	CodeSecretUnavailable    Code = "secret_unavailable"
	CodeNoSnapshot           Code = "configuration_unavailable"
	CodeDatabaseUnavailable  Code = "database_unavailable"
	CodeDraining             Code = "draining"
	CodeUpstreamTimeout      Code = "upstream_timeout"
)

// Status returns the HTTP status of a code; 500 for one that is not listed.
func (c Code) Status() int {
	switch c {
	case CodeInvalidRequest, CodeAmbiguousBody, CodeCredentialsDisagree, CodeInvalidManifest:
		return http.StatusBadRequest
	case CodeMisdirectedRequest:
		return http.StatusMisdirectedRequest
	case CodeUnsupportedMediaType:
		return http.StatusUnsupportedMediaType
	case CodeNoCredential, CodeInvalidToken:
		return http.StatusUnauthorized
	case CodeModelNotPermitted, CodePermissionDenied, CodeIdentityNotMapped, CodeIdentityAmbiguous, CodeIdentityConflict,
		CodeNotAMember, CodeAddressNotPermitted, CodeResourceNotOwned, CodeEndpointUnsupported:
		return http.StatusForbidden
	case CodeNotFound:
		return http.StatusNotFound
	case CodeMethodNotAllowed:
		return http.StatusMethodNotAllowed
	case CodeManagedBy, CodeConflict, CodeManifestConflict:
		return http.StatusConflict
	case CodePreconditionFailed:
		return http.StatusPreconditionFailed
	case CodePreconditionRequired:
		return http.StatusPreconditionRequired
	case CodeBodyTooLarge:
		return http.StatusRequestEntityTooLarge
	case CodeRateLimited:
		return http.StatusTooManyRequests
	case CodeUpstreamUnreachable, CodeUpstreamBroke, CodeProviderCredentials:
		return http.StatusBadGateway
	case CodeKeysUnavailable, CodeDirectoryUnavailable, CodeSecretUnavailable, CodeNoSnapshot, CodeDatabaseUnavailable, CodeDraining:
		return http.StatusServiceUnavailable
	case CodeUpstreamTimeout:
		return http.StatusGatewayTimeout
	default:
		return http.StatusInternalServerError
	}
}

// Error is the one coded error of Gatehouse. The caller sees Code and
// Message; the operator sees Detail and what it wraps besides.
type Error struct {
	// Code says what kind of refusal or failure it is.
	Code Code
	// Message is for the caller: what is wrong and what to do. It never names
	// anything that the caller may not see.
	Message string
	// Detail is for the operator's log and for explain.
	Detail string
	// Permission is the missing permission, where one is.
	Permission string
	// RetryAfter is sent as Retry-After where it is not zero.
	RetryAfter time.Duration
	// Err is the cause.
	Err error
}

func (e *Error) Error() string {
	s := string(e.Code) + ": " + e.Message
	if e.Detail != "" {
		s += " (" + e.Detail + ")"
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is makes errors.Is(err, &Error{Code: c}) compare codes.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && t.Message == "" && t.Err == nil
}

// Errorf returns a coded error whose message is for the caller.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Wrap returns a coded error with a cause that the caller does not see.
func Wrap(code Code, err error, message string) *Error {
	return &Error{Code: code, Message: message, Err: err}
}

// IsCode reports whether an error, or what it wraps, has a code.
func IsCode(err error, code Code) bool { return errors.Is(err, &Error{Code: code}) }

// CodeOf returns the code of an error, CodeInternal for one without.
func CodeOf(err error) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return CodeInternal
}
