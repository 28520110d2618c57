package saml

import (
	"errors"
	"fmt"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// Reason says why a message of an identity provider was refused, for the page
// that tells an administrator what to change, and for the audit. Reasons are
// closed: each has a sentence in the documentation.
type Reason string

// The reasons.
const (
	ReasonMalformed     Reason = "malformed"        // not a SAML message that could be read in one way only
	ReasonTooLarge      Reason = "too_large"        // over the bounds of size, depth or number of elements
	ReasonUnsigned      Reason = "unsigned"         // no signature of its own: sign assertions at the IdP
	ReasonAlgorithm     Reason = "weak_algorithm"   // SHA-1, or a transform or cipher that is not accepted
	ReasonSignature     Reason = "wrong_signature"  // not signed by a key of the connection, or changed since
	ReasonCertificate   Reason = "certificate_date" // the IdP's certificate is expired or not valid yet
	ReasonUndecryptable Reason = "undecryptable"    // encrypted for another key, changed, or unsigned inside
	ReasonEncryption    Reason = "wrong_encryption" // not encrypted and it must be, or the other way around
	ReasonIssuer        Reason = "wrong_issuer"
	ReasonDestination   Reason = "wrong_destination" // Destination or Recipient is not our address
	ReasonAudience      Reason = "wrong_audience"    // meant for another service provider
	ReasonInResponseTo  Reason = "wrong_request"     // answers no request of this browser
	ReasonUnsolicited   Reason = "unsolicited"       // IdP-initiated, and that is not enabled
	ReasonConfirmation  Reason = "wrong_confirmation"
	ReasonExpired       Reason = "expired"
	ReasonNotYetValid   Reason = "not_yet_valid"
	ReasonReplayed      Reason = "replayed"
	ReasonAuthnContext  Reason = "authentication_too_weak" // the class or age of the sign-in that is demanded
	ReasonStatus        Reason = "idp_refused"             // the IdP itself said that it did not succeed
)

// Refusal is the cause of every error about a message that was read and not
// accepted. Detail is for the operator and holds nothing secret.
type Refusal struct {
	Reason Reason
	Detail string
}

func (r *Refusal) Error() string { return "saml: " + string(r.Reason) + ": " + r.Detail }

// ReasonOf returns why a message was refused; empty when the error is not a
// refusal (the store was away, for instance).
func ReasonOf(err error) Reason {
	if r, ok := errors.AsType[*Refusal](err); ok {
		return r.Reason
	}
	return ""
}

func refuse(reason Reason, format string, args ...any) error {
	return &Refusal{Reason: reason, Detail: fmt.Sprintf(format, args...)}
}

// coded gives a refusal the code that it is answered with. What is not a
// refusal keeps its own.
func coded(err error) error {
	if ReasonOf(err) == "" {
		return err
	}
	return identity.Wrap(identity.CodeInvalidToken, err, "The identity provider's message was refused.")
}

// configError is what New and ParseMetadata return for a wrong setting.
func configError(format string, args ...any) error {
	return identity.Errorf(identity.CodeInvalidRequest, format, args...)
}
