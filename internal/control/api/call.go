package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/gatehouse-ai/gatehouse/internal/authn"
	"github.com/gatehouse-ai/gatehouse/internal/authz"
	"github.com/gatehouse-ai/gatehouse/internal/control/api/apply"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

// maxBody is the size of the largest body, in bytes.
const maxBody = 4 << 20

// call is one request to an operation.
type call struct {
	*API
	w      http.ResponseWriter
	r      *http.Request
	op     *operation
	caller authn.Caller
	snap   *snapshot.Snapshot
	now    time.Time
	id     string
	addr   string
	// about names what the call is about, for the audit of a refusal.
	about string
}

func newRequestID(*http.Request) string { return uuid.Must(uuid.NewV7()).String() }

// begin prepares the answer and finds out who is asking. The credential leaves
// the header here; nothing later sees it.
func (a *API) begin(w http.ResponseWriter, r *http.Request, op *operation) (*call, error) {
	c := &call{API: a, w: w, r: r, op: op, now: a.opt.Now(), id: w.Header().Get("X-Request-Id")}
	if c.id == "" {
		c.id = a.opt.RequestID(r)
	}
	h := w.Header()
	h.Set("X-Request-Id", c.id)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	r.Header.Del("Cookie")
	addr := a.opt.Addr(r)
	if addr.IsValid() {
		c.addr = addr.String()
	}
	cred := authn.FromHeader(r.Header, addr)
	s := a.opt.Snapshots.Load()
	switch {
	case len(cred.Authorization)+len(cred.APIKey) == 0:
		// Not left to the authenticator: with AUTH_ENABLE=false it knows an
		// anonymous caller, who is nobody here.
		return c, identity.Errorf(identity.CodeNoCredential, "send a token: Authorization: Bearer TOKEN")
	case s == nil:
		return c, &identity.Error{Code: identity.CodeNoSnapshot, Message: "the configuration is not available yet", RetryAfter: time.Second}
	}
	caller, err := a.opt.Authenticator.Authenticate(r.Context(), s, cred)
	if err != nil {
		return c, err
	}
	if caller.Principal == nil || caller.Grant == nil || !caller.Grant.AllowsAddress(addr) {
		return c, identity.Errorf(identity.CodeAddressNotPermitted, "this token does not work from your address")
	}
	if c.caller, c.snap = caller, caller.Snapshot; c.snap == nil {
		c.snap = s
	}
	return c, nil
}

// may asks the one function that decides.
func (c *call) may(perm identity.Permission, t *snapshot.Target) error {
	return authz.Allows(c.caller.Principal, c.caller.Grant, perm, t, c.now)
}

// mayTenant asks on the installation.
func (c *call) mayTenant(perm identity.Permission) error { return c.may(perm, c.snap.Tenant()) }

// actor is the caller as somebody who writes.
func (c *call) actor(manager string) apply.Actor {
	return apply.Actor{
		Principal: c.caller.Principal, Grant: c.caller.Grant, Snapshot: c.snap, Manager: manager,
		RemoteAddr: c.addr, RequestID: c.id,
	}
}

// entry begins an audit entry of the caller.
func (c *call) entry(action, target, outcome string) record.AuditEntry {
	return apply.Entry(c.actor(apply.ManagerAPI), action, target, outcome)
}

// commit writes a batch with its audit entry and returns when it is live.
func (c *call) commit(b *record.Batch) error {
	head, err := c.opt.Writer.Commit(c.r.Context(), b)
	if err != nil {
		return err
	}
	c.await(head)
	return nil
}

// await gives the change two seconds to be live; it is stored in any case.
func (c *call) await(head identity.Head) {
	ctx, cancel := contextWithTimeout(c.r.Context())
	defer cancel()
	if c.opt.Snapshots.WaitFor(ctx, head) != nil {
		c.warn("the change is stored, but not live yet")
	}
}

// warn tells the caller something that is not an error.
func (c *call) warn(message string) {
	clean := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, message)
	c.w.Header().Add("X-Gatehouse-Warning", clean)
}

// The forms of a body.
const (
	formJSON = "application/json"
	formYAML = "application/yaml"
)

// body reads the body, and says in which form it is.
func (c *call) body() (data []byte, form string, err error) {
	form, err = bodyForm(c.r.Header)
	if err != nil {
		return nil, "", err
	}
	data, err = io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, maxBody))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return nil, "", identity.Errorf(identity.CodeBodyTooLarge, "the body is larger than %d MiB", maxBody>>20)
	}
	if err != nil {
		return nil, "", identity.Wrap(identity.CodeInvalidRequest, err, "the body could not be read")
	}
	return data, form, nil
}

func bodyForm(h http.Header) (string, error) {
	if e := h.Get("Content-Encoding"); e != "" && e != "identity" {
		return "", identity.Errorf(identity.CodeUnsupportedMediaType, "send the body without a Content-Encoding")
	}
	if h.Get("Content-Type") == "" {
		return formJSON, nil
	}
	media, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	switch {
	case err != nil:
	case media == formJSON:
		return formJSON, nil
	case media == formYAML, media == "application/x-yaml", media == "text/yaml", media == "text/x-yaml":
		return formYAML, nil
	}
	return "", identity.Errorf(identity.CodeUnsupportedMediaType, "send application/json, or application/yaml where manifests are meant")
}

// decode reads a JSON body strictly: nothing unknown, nothing twice, nothing after it.
func (c *call) decode(into any) error {
	data, form, err := c.body()
	if err != nil {
		return err
	}
	if form != formJSON {
		return identity.Errorf(identity.CodeUnsupportedMediaType, "send application/json")
	}
	return strictJSON(data, into)
}

func strictJSON(data []byte, into any) error {
	if err := unambiguous(json.NewDecoder(bytes.NewReader(data)), 0); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return notJSON(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return identity.Errorf(identity.CodeInvalidRequest, "there is something after the JSON text")
	}
	return nil
}

// notJSON says what is wrong without repeating what was sent.
func notJSON(err error) error {
	e := identity.Wrap(identity.CodeInvalidRequest, err, "the body is not the JSON that is expected here")
	if t, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		e.Message = "the field " + t.Field + " must be a " + t.Type.String()
	} else if rest, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		e.Message = "there is no field " + rest
	}
	return e
}

// unambiguous refuses an object with two members that encoding/json would take
// for one another.
func unambiguous(d *json.Decoder, depth int) error {
	t, err := d.Token()
	if err != nil {
		return notJSON(err)
	}
	open, ok := t.(json.Delim)
	if !ok {
		return nil
	}
	if depth > 64 {
		return identity.Errorf(identity.CodeInvalidRequest, "the body is nested too deep")
	}
	seen := map[string]bool{}
	for d.More() {
		if open == '{' {
			k, err := d.Token()
			if err != nil {
				return notJSON(err)
			}
			key, _ := k.(string)
			// Upper, then lower: the folding of encoding/json knows ſ and K (kelvin).
			folded := strings.ToLower(strings.ToUpper(key))
			if seen[folded] {
				return identity.Errorf(identity.CodeAmbiguousBody, "a field stands in the body twice")
			}
			seen[folded] = true
		}
		if err := unambiguous(d, depth+1); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return notJSON(err)
	}
	return nil
}

// flag reads a parameter that is true or false; absent is false.
func (c *call) flag(name string) (bool, error) {
	v := c.r.URL.Query().Get(name)
	if v == "" {
		return false, nil
	}
	b, err := strconv.ParseBool(v)
	if err != nil {
		return false, identity.Errorf(identity.CodeInvalidRequest, "%s must be true or false", name)
	}
	return b, nil
}

// limit reads how many are wanted: 50, at most 500.
func (c *call) limit() (int, error) {
	v := c.r.URL.Query().Get("limit")
	if v == "" {
		return 50, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > 500 {
		return 0, identity.Errorf(identity.CodeInvalidRequest, "limit must be a number from 1 to 500")
	}
	return n, nil
}
