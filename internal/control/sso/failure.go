package sso

import (
	"errors"
	"log/slog"
	"net/http"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// Failure is a sign-in that came to nothing, with what its page says. Nothing
// in Title, Text and Change is secret or was written by the identity provider;
// what is, stands in Err, for the log.
type Failure struct {
	Status int
	// Reason is one word for the audit, the log and tests.
	Reason string
	Title  string
	// Text is for the person, Change for their administrator: what to change.
	Text   string
	Change string
	Err    error
	// What has failed, for the log; empty is a sign-in.
	What string
}

func (f *Failure) Error() string {
	if f.Err != nil {
		return f.Reason + ": " + f.Err.Error()
	}
	return f.Reason
}

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

// Refused is a failure of this one sign-in.
func Refused(reason, text string, err error) *Failure {
	return &Failure{Status: http.StatusForbidden, Reason: reason, Title: "You are not signed in", Text: text, Err: err}
}

// Misconfigured is a failure that only an administrator can end.
func Misconfigured(reason, change string, err error) *Failure {
	return &Failure{
		Status: http.StatusBadGateway, Reason: reason, Title: "Single sign-on needs its administrator",
		Text: "This is not your fault, and trying again will not help. Send your administrator the code below.", Change: change, Err: err,
	}
}

// Away is a failure that time may end.
func Away(reason, text string, err error) *Failure {
	return &Failure{Status: http.StatusServiceUnavailable, Reason: reason, Title: "Please try again in a moment", Text: text, Err: err}
}

func again(reason string, err error) *Failure {
	return &Failure{
		Status: http.StatusBadRequest, Reason: reason, Title: "This sign-in cannot go on", Err: err,
		Text: "It was begun in another browser, too long ago, or is finished already. Begin again; nothing was changed.",
	}
}

// failureOf makes a failure of any error.
func failureOf(err error) *Failure {
	if f, ok := errors.AsType[*Failure](err); ok {
		return f
	}
	switch identity.CodeOf(err) {
	case identity.CodeDatabaseUnavailable, identity.CodeDirectoryUnavailable, identity.CodeNoSnapshot, identity.CodeSecretUnavailable, identity.CodeDraining:
		return Away("away", "Gatehouse cannot reach its own data right now.", err)
	case identity.CodeInvalidToken:
		return Refused("refused", "The identity provider's answer was refused.", err)
	}
	return &Failure{Status: http.StatusInternalServerError, Reason: "internal", Title: "Something went wrong here", Text: "It is not your fault. Tell your administrator the code below.", Err: err}
}

const (
	aSignOut = "sign-out"
	aPage    = "page"
)

// failed is a failure of something else than a sign-in.
func failed(what string, err error) *Failure {
	f := *failureOf(err)
	f.What = what
	return &f
}

// fail answers with the page of a failure and logs it under the request's id,
// which the page shows and the audit has. connection may be empty.
func (h *Handler) fail(w http.ResponseWriter, r *http.Request, connection string, err error) {
	f := failureOf(err)
	what := f.What
	if what == "" {
		what = "sign-in"
	}
	h.log(r, f, what+" failed", connection)
	h.show(w, r, connection, f)
}

// log is where failures are logged. What is not there at all is nothing that an
// operator has to look at: anybody can ask for anything.
func (h *Handler) log(r *http.Request, f *Failure, message, connection string) {
	level := slog.LevelWarn
	if f.Status == http.StatusNotFound {
		level = slog.LevelDebug
	}
	h.opt.Log.Log(r.Context(), level, message, "id", requestID(r), "reason", f.Reason, "connection", connection, "remote_addr", h.addr(r), "error", f.Error())
}

func (h *Handler) show(w http.ResponseWriter, r *http.Request, connection string, f *Failure) {
	h.pages.failed(w, f, requestID(r), connection)
}
