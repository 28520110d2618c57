package record

import "time"

// Request is one call through the gateway: who, through what, to what, and
// how it went. It never holds a credential or a body.
type Request struct {
	// ID is the request id that the caller was shown (x-request-id).
	ID string
	// At is when the request arrived, UTC.
	At time.Time
	// Endpoint is the route: chat.completions, messages, models.list.
	Endpoint string
	// PrincipalKind, UID and Principal say who.
	PrincipalKind string
	UID           string
	Principal     string
	// Issuer and Subject are the person at their identity provider.
	Issuer  string
	Subject string
	// Email labels the request; for external identities it is a claim only.
	Email string
	// Team is the team that the request counts for; empty for none.
	Team string
	// Via and TokenID say through which credential, Provider through which
	// identity provider.
	Via      string
	TokenID  string
	Provider string
	// Account and Model are what was asked for; UpstreamModel is what served.
	Account       string
	Model         string
	UpstreamModel string
	// Status is the status of our answer; Code is why, where it was refused.
	Status int
	Code   string
	// Stream says whether the answer was an event stream.
	Stream bool
	Usage  Usage
	// BytesIn and BytesOut are the bodies' sizes.
	BytesIn  int64
	BytesOut int64
	// Duration is the whole request; FirstByte is until the upstream's first
	// byte of the body; Upstream is the time spent waiting for the upstream.
	Duration  time.Duration
	FirstByte time.Duration
	// RemoteAddr is the caller's address.
	RemoteAddr string
	// Metadata is x-gatehouse-metadata, as JSON; empty for none.
	Metadata string
	// TraceID is the trace id of traceparent, where one was sent.
	TraceID string
}

// Usage is what a provider says it used. Zero is unknown or none.
type Usage struct {
	InputTokens  int64
	OutputTokens int64
	CachedTokens int64
}
