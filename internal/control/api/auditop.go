package api

import (
	"context"
	"crypto/ed25519"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatehouse-ai/gatehouse/internal/auditchain"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

// maxPlace is the last place in the chain that can be asked for: JSON's numbers
// are exact so far (RFC 8259, 6).
const maxPlace = 1<<53 - 1

// formLines is one JSON text a line.
const formLines = "application/jsonl"

// AuditPage is one page of the audit, the newest first.
type AuditPage struct {
	Items      []record.AuditEntry `json:"items"`
	NextCursor string              `json:"nextCursor,omitempty"`
}

// AuditFinder is what an AuditLog may be besides: one that finds entries.
type AuditFinder interface {
	// AuditWhere lists the entries that a filter lets through, the newest
	// first, those older than the entry with the id after.
	AuditWhere(ctx context.Context, f record.AuditFilter, after string, limit int) ([]record.AuditEntry, error)
}

// AuditExport writes the audit as a signed chain.
type AuditExport interface {
	// Export writes the chain from an entry on, 1 for the whole.
	Export(ctx context.Context, w io.Writer, from uint64) error
	// PublicKey verifies what is signed.
	PublicKey() ed25519.PublicKey
}

// AuditKeys are the keys that the audit's checkpoints are signed with.
type AuditKeys struct {
	Items []AuditKey `json:"items"`
}

// AuditKey is a public key.
type AuditKey struct {
	// KeyID is its thumbprint: sha256: and the SHA-256 of its
	// SubjectPublicKeyInfo in hexadecimal.
	KeyID     string `json:"keyId"`
	Algorithm string `json:"algorithm"`
	// PEM is for gatehouse audit verify --public-key.
	PEM string `json:"pem"`
}

func (a *API) auditOperations() []operation {
	read := operation{Method: http.MethodGet, Permission: identity.PermAuditRead, On: onTenant, AuditAction: notAudited, Status: http.StatusOK}
	list := read
	list.ID, list.Path, list.Summary, list.Answer, list.run = "audit", base+"/audit", "What was done, by whom", AuditPage{}, (*call).audit
	list.Query = paging()
	if _, ok := a.opt.Audit.(AuditFinder); ok {
		list.Query = append(list.Query, auditFilters()...)
	}
	ops := []operation{list}
	if a.opt.AuditExport == nil {
		return ops
	}
	export, keys := read, read
	export.ID, export.Path, export.Summary, export.Form, export.run = "export-audit", base+"/audit/export", "The audit as JSON Lines, for gatehouse audit verify", formLines, (*call).exportAudit
	least, most := 1.0, float64(maxPlace)
	from := "The first entry, by its place in the chain. Default 1. The place after the last is an export without entries; one beyond is answered with 409."
	export.Query = []query{{"from", from, &huma.Schema{Type: huma.TypeInteger, Minimum: &least, Maximum: &most, Default: 1}}}
	keys.ID, keys.Path, keys.Summary, keys.Answer, keys.run = "audit-keys", base+"/audit/keys", "The public keys of the audit's signatures", AuditKeys{}, (*call).auditKeys
	return append(ops, export, keys)
}

func auditFilters() []query {
	const most = 512
	return []query{
		{"actor", "The subject that acted, exactly: user:EMAIL.", word(most)},
		{"action", "The action, exactly, or with * at the end what begins so: user.*.", patterned(`^[a-z][a-z.-]{0,62}\*?$`)},
		{"target", "What was acted on, exactly: team:research.", word(most)},
		{"outcome", "done or denied.", enum("done", "denied")},
		{"since", "The first moment that belongs to it (RFC 3339).", formatted("date-time")},
		{"until", "The first moment that does not belong to it any more (RFC 3339).", formatted("date-time")},
	}
}

// auditFilter reads the filter, and writes it as the cursor's context.
func (c *call) auditFilter() (f record.AuditFilter, context string, err error) {
	q := c.r.URL.Query()
	f = record.AuditFilter{Actor: q.Get("actor"), Action: q.Get("action"), Target: q.Get("target"), Outcome: q.Get("outcome")}
	for name, into := range map[string]*time.Time{"since": &f.Since, "until": &f.Until} {
		if !q.Has(name) {
			continue
		}
		if *into, err = time.Parse(time.RFC3339, q.Get(name)); err != nil {
			return f, "", identity.Errorf(identity.CodeInvalidRequest, "%s must be a time like 2026-01-31T12:00:00Z (RFC 3339)", name)
		}
	}
	parts := []string{"audit", f.Actor, f.Action, f.Target, f.Outcome, q.Get("since"), q.Get("until")}
	return f, strings.Join(parts, "\x00"), nil
}

func (c *call) audit() (*answer, error) {
	limit, err := c.limit()
	if err != nil {
		return nil, err
	}
	f, context, err := c.auditFilter()
	if err != nil {
		return nil, err
	}
	after, err := c.after(context)
	if err != nil {
		return nil, err
	}
	var list []record.AuditEntry
	if finder, ok := c.opt.Audit.(AuditFinder); ok {
		list, err = finder.AuditWhere(c.r.Context(), f, after, limit+1)
	} else {
		list, err = c.opt.Audit.Audit(c.r.Context(), after, limit+1)
	}
	if err != nil {
		return nil, err
	}
	page := AuditPage{Items: []record.AuditEntry{}}
	page.Items = append(page.Items, list[:min(limit, len(list))]...)
	if len(list) > limit {
		if page.NextCursor, err = c.cursor(context, list[limit-1].ID); err != nil {
			return nil, err
		}
	}
	return &answer{body: page}, nil
}

func (c *call) auditKeys() (*answer, error) {
	key := c.opt.AuditExport.PublicKey()
	return &answer{body: AuditKeys{Items: []AuditKey{{
		KeyID: auditchain.KeyID(key), Algorithm: "Ed25519", PEM: string(auditchain.MarshalPublicKey(key)),
	}}}}, nil
}

// exportAudit streams. What goes wrong before the first byte is answered as
// ever; afterwards the connection is broken off, so that no client takes what
// it has for whole.
func (c *call) exportAudit() (*answer, error) {
	from := uint64(1)
	if v := c.r.URL.Query().Get("from"); v != "" {
		var err error
		if from, err = strconv.ParseUint(v, 10, 63); err != nil || from == 0 || from > maxPlace {
			return nil, identity.Errorf(identity.CodeInvalidRequest, "from must be a number from 1 to %d", maxPlace)
		}
	}
	out := &export{w: c.w, conn: http.NewResponseController(c.w)}
	err := c.opt.AuditExport.Export(c.r.Context(), out, from)
	switch {
	case err == nil && !out.begun:
		err = errors.New("the export is empty")
	case err == nil:
		return &answer{sent: true}, nil
	case out.begun:
		c.opt.Log.ErrorContext(c.r.Context(), "an export of the audit broke off", "request_id", c.id, "error", err)
		panic(http.ErrAbortHandler)
	}
	return nil, err
}

// exportWrite is how long one write of an export may take.
const exportWrite = time.Minute

// export begins the answer with the first byte, and gives every write its own
// time: an export is as long as the audit.
type export struct {
	w     http.ResponseWriter
	conn  *http.ResponseController
	begun bool
}

// Write writes a part of the export.
func (e *export) Write(p []byte) (int, error) {
	// Not every kind of connection has deadlines.
	_ = e.conn.SetWriteDeadline(time.Now().Add(exportWrite))
	if !e.begun {
		e.begun = true
		e.w.Header().Set("Content-Type", formLines)
		e.w.Header().Set("Content-Disposition", `attachment; filename="gatehouse-audit.jsonl"`)
		e.w.WriteHeader(http.StatusOK)
	}
	return e.w.Write(p)
}
