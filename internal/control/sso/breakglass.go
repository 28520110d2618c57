package sso

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

const (
	// BreakGlassConnection stands for the local administrator in sessions.
	BreakGlassConnection = "break-glass"
	// breakGlassEmail is under a domain that exists nowhere (RFC 2606), so that
	// no identity provider can come to speak for it.
	breakGlassEmail = identity.LocalAdministrator
	breakGlassLife  = 4 * time.Hour
	breakGlassLink  = 24 * time.Hour
	minPassword     = 14
	maxPassword     = 256
)

// breakGlassState is what BreakGlassStore keeps, sealed.
type breakGlassState struct {
	UID string `json:"uid"`
	// Password is an argon2id hash; empty until the link was used.
	Password string `json:"password,omitempty"`
	// Link is the digest of the one-time link's token, until LinkUntil.
	Link      string    `json:"link,omitempty"`
	LinkUntil time.Time `json:"linkUntil,omitzero"`
}

func breakGlassPlace() []byte { return []byte("gatehouse/break-glass/1") }

func (h *Handler) breakGlassOn() bool {
	return h.opt.BreakGlass != nil && (h.opt.BreakGlassOff == nil || !h.opt.BreakGlassOff())
}

// breakGlass reads the state with its stored form, which a write must name.
func (h *Handler) breakGlass(ctx context.Context) (st breakGlassState, stored []byte, err error) {
	if stored, err = h.opt.BreakGlass.BreakGlass(ctx); err != nil || stored == nil {
		return st, stored, err
	}
	plain, err := h.opt.Sealer.Open(stored, breakGlassPlace())
	if err != nil {
		return st, stored, err
	}
	return st, stored, json.Unmarshal(plain, &st)
}

func (h *Handler) setBreakGlass(ctx context.Context, old []byte, st breakGlassState) error {
	plain, err := json.Marshal(st)
	if err != nil {
		return err
	}
	sealed, err := h.opt.Sealer.Seal(plain, breakGlassPlace())
	if err != nil {
		return err
	}
	return h.opt.BreakGlass.SetBreakGlass(ctx, old, sealed)
}

// BreakGlassLink returns the one-time link by which the local administrator
// gets a password; empty where there is one already, or the administrator is
// switched off. Each call makes a new link and ends the one before; it works
// for a day. Print it at the first start and nowhere else.
func (h *Handler) BreakGlassLink(ctx context.Context) (string, error) {
	if !h.breakGlassOn() {
		return "", nil
	}
	return h.newLink(ctx, false)
}

// BreakGlassReset takes the local administrator's password away, ends their
// sessions and returns a new link. For an operator with access to the machine,
// who has the master key anyway. Errors: conflict (switched off).
func (h *Handler) BreakGlassReset(ctx context.Context) (string, error) {
	if !h.breakGlassOn() {
		return "", identity.Errorf(identity.CodeConflict, "the local administrator is switched off (breakGlass: disabled in TenantSettings)")
	}
	actor := record.AuditEntry{Actor: "system:operator", Via: "command"}
	reset := actor
	reset.Action, reset.Target, reset.Outcome = "break-glass.reset", "user:"+breakGlassEmail, "done"
	// First of all it is written down, and last the sessions end, so that the old
	// password has made none since; a sign-in under way ends its own (unchanged).
	if _, err := h.opt.Store.Commit(ctx, &record.Batch{Audit: []record.AuditEntry{reset}}); err != nil {
		return "", err
	}
	link, err := h.newLink(ctx, true)
	if err != nil {
		return "", err
	}
	st, _, err := h.breakGlass(ctx)
	if err != nil {
		return "", err
	}
	list, err := h.opt.Sessions.Sessions(ctx, st.UID)
	if err == nil && len(list) > 0 {
		_, err = h.sessions.end(ctx, list, "reset", reset.Target, actor)
	}
	if err != nil {
		return "", err
	}
	return link, nil
}

func (h *Handler) newLink(ctx context.Context, reset bool) (string, error) {
	st, stored, err := h.breakGlass(ctx)
	if err != nil || st.Password != "" && !reset {
		return "", err
	}
	if st.UID == "" {
		st.UID = uuid.Must(uuid.NewV7()).String()
	}
	token := randomText()
	st.Password, st.Link, st.LinkUntil = "", identity.DigestOf(token).String(), h.now().Add(breakGlassLink).UTC()
	if err := h.setBreakGlass(ctx, stored, st); err != nil {
		return "", err
	}
	return h.base + "/sso/break-glass/setup?token=" + token, nil
}

func noBreakGlass() *Failure {
	return &Failure{
		Status: http.StatusNotFound, Reason: "break_glass_off", Title: "There is no local administrator",
		Text: "It is switched off, or was never set up. Use single sign-on.",
	}
}

func (h *Handler) breakGlassPage(w http.ResponseWriter, r *http.Request) {
	if !h.breakGlassOn() {
		h.fail(w, r, "", noBreakGlass())
		return
	}
	h.pages.breakGlass(w, http.StatusOK, breakGlassForm{ReturnTo: safeReturnTo(r.URL.Query().Get("return_to"))})
}

// breakGlassSignIn signs the local administrator in by password. Every try is
// written down, those with the right password too: this is a door for
// emergencies.
func (h *Handler) breakGlassSignIn(w http.ResponseWriter, r *http.Request) {
	s, err := h.snapshot()
	if err == nil {
		err = h.breakGlassRequest(w, r)
	}
	if err != nil {
		h.fail(w, r, BreakGlassConnection, err)
		return
	}
	wrong := Refused("wrong_password", "The password is wrong.", nil)
	if !longEnough(r.PostForm.Get("password")) { // no try: nobody has such a one
		h.breakGlassDenied(w, r, wrong, false)
		return
	}
	if !h.guard.mayTry(network(h.addr(r)), h.now()) {
		h.breakGlassDenied(w, r, tooMany(), false)
		return
	}
	st, stored, err := h.breakGlass(r.Context())
	switch {
	case err != nil:
		h.fail(w, r, BreakGlassConnection, err)
		return
	case st.Password == "":
		h.breakGlassDenied(w, r, noBreakGlass(), true)
		return
	case !h.guard.verify(r.PostForm.Get("password"), st.Password):
		h.breakGlassDenied(w, r, wrong, true)
		return
	}
	sound, err := h.soundAdmin(r.Context(), s, st.UID)
	if err == nil && !sound {
		err = h.repair(r, &st, stored)
	}
	if err != nil {
		h.fail(w, r, BreakGlassConnection, err)
		return
	}
	h.breakGlassSession(w, r, st, r.PostForm.Get("return_to"))
}

// unchanged refuses where the password was reset, or made, since st was read. A
// reset takes the password away first and then ends the sessions that there are:
// a session that is written later sees it here.
func (h *Handler) unchanged(ctx context.Context, st breakGlassState) error {
	now, _, err := h.breakGlass(ctx)
	if err == nil && (now.UID != st.UID || now.Password != st.Password) {
		err = Refused("password_reset", "The password was reset while you signed in. Use the new link.", nil)
	}
	return err
}

func (h *Handler) breakGlassSession(w http.ResponseWriter, r *http.Request, st breakGlassState, returnTo string) {
	s, err := h.snapshot()
	if err == nil {
		n := &newSession{
			connection: BreakGlassConnection, uid: st.UID, assertion: &Assertion{}, life: breakGlassLife, action: "break-glass.sign-in",
			holds: func(ctx context.Context) error { return h.unchanged(ctx, st) },
		}
		err = h.establish(w, r, s, n)
	}
	if err != nil {
		h.fail(w, r, BreakGlassConnection, err)
		return
	}
	h.opt.Log.ErrorContext(r.Context(), "BREAK GLASS: the local administrator has signed in", "id", requestID(r), "remote_addr", h.addr(r))
	http.Redirect(w, r, safeReturnTo(returnTo), http.StatusSeeOther)
}

func (h *Handler) breakGlassRequest(w http.ResponseWriter, r *http.Request) error {
	if !h.breakGlassOn() {
		return noBreakGlass()
	}
	if err := h.SameOrigin(r); err != nil {
		return Refused("cross_origin", "Another site sent this form. Open the page yourself.", err)
	}
	return parseForm(w, r)
}

// longEnough reports whether a password could be one.
func longEnough(password string) bool { return utf8.RuneCountInString(password) >= minPassword }

// breakGlassDenied is as loud as a success. looked says whether the password was
// compared with the right one.
func (h *Handler) breakGlassDenied(w http.ResponseWriter, r *http.Request, f *Failure, looked bool) {
	h.opt.Log.ErrorContext(r.Context(), "BREAK GLASS: a sign-in of the local administrator was refused", "id", requestID(r), "reason", f.Reason, "remote_addr", h.addr(r), "error", f.Error())
	// Each that was looked at is told: there are few of them.
	if looked || h.guard.mayTellDenied(network(h.addr(r)), h.now()) {
		after, _ := json.Marshal(map[string]string{"reason": f.Reason})
		_, err := h.opt.Store.Commit(r.Context(), &record.Batch{Audit: []record.AuditEntry{{
			Actor: "anonymous", Via: "sso:" + BreakGlassConnection, RemoteAddr: h.addr(r), RequestID: requestID(r),
			Action: "break-glass.sign-in", Target: "user:" + breakGlassEmail, After: after, Outcome: "denied",
		}}})
		if err != nil {
			h.fail(w, r, BreakGlassConnection, err)
			return
		}
	}
	if f.Reason == "wrong_password" {
		h.pages.breakGlass(w, f.Status, breakGlassForm{ReturnTo: safeReturnTo(r.PostForm.Get("return_to")), Problem: f.Text})
		return
	}
	h.show(w, r, BreakGlassConnection, f)
}

func (h *Handler) breakGlassSetupPage(w http.ResponseWriter, r *http.Request) {
	token := r.URL.Query().Get("token")
	if _, _, err := h.checkLink(r.Context(), token); err != nil {
		h.fail(w, r, BreakGlassConnection, err)
		return
	}
	h.pages.setup(w, http.StatusOK, setupForm{Token: token, Minimum: minPassword})
}

// checkLink looks whether a token is the one-time link's. Nobody guesses 256
// random bits, so tries are not counted: a count could only keep out the one who
// has the link.
func (h *Handler) checkLink(ctx context.Context, token string) (st breakGlassState, stored []byte, err error) {
	if !h.breakGlassOn() {
		return st, nil, noBreakGlass()
	}
	if st, stored, err = h.breakGlass(ctx); err != nil {
		return st, nil, err
	}
	right := subtle.ConstantTimeCompare([]byte(identity.DigestOf(token).String()), []byte(st.Link)) == 1
	if !right || st.Link == "" || st.Password != "" || !h.now().Before(st.LinkUntil) {
		return st, nil, Refused("link", "This link has been used, has expired, or was replaced by a newer one. An operator with access to the machine can make another by gatehouse break-glass reset.", nil)
	}
	return st, stored, nil
}

// breakGlassSetup makes the local administrator, gives them the password, uses
// the link up, and signs them in.
func (h *Handler) breakGlassSetup(w http.ResponseWriter, r *http.Request) {
	if err := h.breakGlassRequest(w, r); err != nil {
		h.fail(w, r, BreakGlassConnection, err)
		return
	}
	token, password := r.PostForm.Get("token"), r.PostForm.Get("password")
	st, stored, err := h.checkLink(r.Context(), token)
	if err != nil {
		h.fail(w, r, BreakGlassConnection, err)
		return
	}
	problem := ""
	switch {
	case !longEnough(password):
		problem = "The password must have at least 14 characters."
	case len(password) > maxPassword:
		problem = "The password must have at most 256 bytes."
	case password != r.PostForm.Get("again"):
		problem = "The two passwords are not the same."
	}
	if problem != "" {
		h.pages.setup(w, http.StatusBadRequest, setupForm{Token: token, Minimum: minPassword, Problem: problem})
		return
	}
	if st.UID, err = h.makeAdmin(r, "break-glass.setup", st.UID); err != nil {
		h.fail(w, r, BreakGlassConnection, err)
		return
	}
	st.Password, st.Link, st.LinkUntil = h.guard.hash(password), "", time.Time{}
	if err := h.setBreakGlass(r.Context(), stored, st); err != nil {
		if identity.CodeOf(err) == identity.CodePreconditionFailed {
			err = Refused("link", "This link has just been used.", err)
		}
		h.fail(w, r, BreakGlassConnection, err)
		return
	}
	h.breakGlassSession(w, r, st, "/")
}
