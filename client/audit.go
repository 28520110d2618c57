package client

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// formLines is the media type of the audit's export: one JSON text a line.
const formLines = "application/jsonl"

// AuditEntry is one administrative act or refusal.
type AuditEntry struct {
	ID         string    `json:"id"`
	At         time.Time `json:"at"`
	Actor      string    `json:"actor"`
	ActorUID   string    `json:"actorUid"`
	Via        string    `json:"via"`
	TokenID    string    `json:"tokenId"`
	RemoteAddr string    `json:"remoteAddr"`
	RequestID  string    `json:"requestId"`
	Action     string    `json:"action"`
	Target     string    `json:"target"`
	// Before and After are what was acted on, secrets redacted.
	Before json.RawMessage `json:"before"`
	After  json.RawMessage `json:"after"`
	// Outcome is done or denied.
	Outcome string `json:"outcome"`
}

// AuditOptions choose a page of the audit; what is empty chooses nothing.
type AuditOptions struct {
	// Actor is a subject, user:EMAIL, and Target what was acted on,
	// team:research: both exactly.
	Actor, Target string
	// Action is exact, or ends with *: user.* is what begins so.
	Action string
	// Outcome is done or denied.
	Outcome string
	// Since is the first moment that belongs to it, Until the first that does
	// not any more.
	Since, Until time.Time
	// Limit is 50 by default, at most 500.
	Limit  int
	Cursor string
}

func (o *AuditOptions) query() url.Values {
	q := ListOptions{Limit: o.Limit, Cursor: o.Cursor}.query()
	for name, v := range map[string]string{"actor": o.Actor, "target": o.Target, "action": o.Action, "outcome": o.Outcome} {
		if v != "" {
			q.Set(name, v)
		}
	}
	for name, at := range map[string]time.Time{"since": o.Since, "until": o.Until} {
		if !at.IsZero() {
			q.Set(name, at.Format(time.RFC3339Nano))
		}
	}
	return q
}

// Audit reads one page of the audit, the newest first. next is the cursor of
// the page after it, empty at the end.
func (c *Client) Audit(ctx context.Context, opt AuditOptions) (entries []AuditEntry, next string, err error) {
	var page struct {
		Items      []AuditEntry `json:"items"`
		NextCursor string       `json:"nextCursor"`
	}
	err = c.do(ctx, request{method: http.MethodGet, segments: []string{"audit"}, query: opt.query()}, &page)
	return page.Items, page.NextCursor, err
}

// ExportAudit begins the export of the audit's chain, as gatehouse audit verify
// reads it, from an entry on; 0 is the first. The export is whole where reading
// it comes to io.EOF. The client's timeout bounds how long the server may take
// to begin; the caller closes the export, and ends it early by the context.
func (c *Client) ExportAudit(ctx context.Context, from uint64) (io.ReadCloser, error) {
	q := url.Values{}
	if from != 0 {
		q.Set("from", strconv.FormatUint(from, 10))
	}
	return c.stream(ctx, request{method: http.MethodGet, segments: []string{"audit", "export"}, query: q}, formLines)
}

// LogRecord is one call through the gateway.
type LogRecord struct {
	ID       string    `json:"id"`
	At       time.Time `json:"at"`
	Endpoint string    `json:"endpoint"`
	// Principal is who called: user:NAME, virtual-account:NAME, …
	Principal        string `json:"principal"`
	UID              string `json:"uid"`
	Email            string `json:"email"`
	Team             string `json:"team"`
	Via              string `json:"via"`
	TokenID          string `json:"tokenId"`
	IdentityProvider string `json:"identityProvider"`
	Account          string `json:"account"`
	Model            string `json:"model"`
	UpstreamModel    string `json:"upstreamModel"`
	Status           int    `json:"status"`
	Code             string `json:"code"`
	Stream           bool   `json:"stream"`
	InputTokens      int64  `json:"inputTokens"`
	OutputTokens     int64  `json:"outputTokens"`
	CachedTokens     int64  `json:"cachedTokens"`
	// DurationMS and FirstByteMS are milliseconds.
	DurationMS  int64  `json:"durationMs"`
	FirstByteMS int64  `json:"firstByteMs"`
	RemoteAddr  string `json:"remoteAddr"`
	// Metadata is what the caller sent with the call.
	Metadata string `json:"metadata"`
	TraceID  string `json:"traceId"`
}

// Logs reads the newest calls through the gateway: the caller's own, or with
// all everybody's, which needs logs:read.
func (c *Client) Logs(ctx context.Context, all bool, limit int) ([]LogRecord, error) {
	q := url.Values{}
	if all {
		q.Set("scope", "all")
	}
	if limit > 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	var page struct {
		Items []LogRecord `json:"items"`
	}
	err := c.do(ctx, request{method: http.MethodGet, segments: []string{"logs"}, query: q}, &page)
	return page.Items, err
}
