package api

import (
	"net/http"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

// LogPage is records of requests, the newest first.
type LogPage struct {
	Items []LogRecord `json:"items"`
}

// LogRecord is one call through the gateway.
type LogRecord struct {
	ID               string    `json:"id"`
	At               time.Time `json:"at"`
	Endpoint         string    `json:"endpoint"`
	Principal        string    `json:"principal"`
	UID              string    `json:"uid,omitempty"`
	Email            string    `json:"email,omitempty"`
	Team             string    `json:"team,omitempty"`
	Via              string    `json:"via,omitempty"`
	TokenID          string    `json:"tokenId,omitempty"`
	IdentityProvider string    `json:"identityProvider,omitempty"`
	Account          string    `json:"account,omitempty"`
	Model            string    `json:"model,omitempty"`
	UpstreamModel    string    `json:"upstreamModel,omitempty"`
	Status           int       `json:"status"`
	Code             string    `json:"code,omitempty"`
	Stream           bool      `json:"stream,omitempty"`
	InputTokens      int64     `json:"inputTokens"`
	OutputTokens     int64     `json:"outputTokens"`
	CachedTokens     int64     `json:"cachedTokens,omitempty"`
	// DurationMS and FirstByteMS are milliseconds.
	DurationMS  int64  `json:"durationMs"`
	FirstByteMS int64  `json:"firstByteMs,omitempty"`
	RemoteAddr  string `json:"remoteAddr,omitempty"`
	Metadata    string `json:"metadata,omitempty"`
	TraceID     string `json:"traceId,omitempty"`
}

func logRecord(r *record.Request) LogRecord {
	return LogRecord{
		ID: r.ID, At: r.At, Endpoint: r.Endpoint, Principal: r.PrincipalKind + ":" + r.Principal, UID: r.UID, Email: r.Email, Team: r.Team, Via: r.Via,
		TokenID: r.TokenID, IdentityProvider: r.Provider, Account: r.Account, Model: r.Model, UpstreamModel: r.UpstreamModel, Status: r.Status,
		Code: r.Code, Stream: r.Stream, InputTokens: r.Usage.InputTokens, OutputTokens: r.Usage.OutputTokens, CachedTokens: r.Usage.CachedTokens,
		DurationMS: r.Duration.Milliseconds(), FirstByteMS: r.FirstByte.Milliseconds(), RemoteAddr: r.RemoteAddr, Metadata: r.Metadata, TraceID: r.TraceID,
	}
}

func (a *API) logOperations() []operation {
	if a.opt.Logs == nil {
		return nil
	}
	return []operation{{
		ID: "logs", Method: http.MethodGet, Path: base + "/logs", Summary: "Requests through the gateway: one's own, or with scope=all everybody's (logs:read)",
		Permission: authenticated, On: onSelf, AuditAction: notAudited, Answer: LogPage{}, Status: http.StatusOK, run: (*call).logs,
		Query: []query{{"limit", "How many, 50 by default, at most 500.", limitSchema()}, {"scope", "own (default) or all.", enum("own", "all")}},
	}}
}

// logs shows one's own requests to everybody. Data access rules will widen
// this to teams.
func (c *call) logs() (*answer, error) {
	limit, err := c.limit()
	if err != nil {
		return nil, err
	}
	var list []record.Request
	scope := "own"
	if q := c.r.URL.Query(); q.Has("scope") {
		scope = q.Get("scope")
	}
	switch scope {
	case "own":
		if c.caller.Grant.Narrowing != nil {
			return nil, identity.Errorf(identity.CodePermissionDenied, "a narrowed token reads no logs")
		}
		if uid := c.caller.Principal.UID; uid != "" {
			list, err = c.opt.Logs.Requests(c.r.Context(), uid, limit)
		}
	case "all":
		if err := c.mayTenant(identity.PermLogsRead); err != nil {
			return nil, err
		}
		list, err = c.opt.Logs.AllRequests(c.r.Context(), limit)
	default:
		return nil, identity.Errorf(identity.CodeInvalidRequest, "scope must be own or all")
	}
	if err != nil {
		return nil, err
	}
	page := LogPage{Items: []LogRecord{}}
	for i := range list {
		page.Items = append(page.Items, logRecord(&list[i]))
	}
	return &answer{body: page}, nil
}
