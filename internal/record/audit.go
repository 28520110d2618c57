package record

import (
	"encoding/json"
	"time"
)

// AuditEntry is one administrative act or decision worth keeping.
type AuditEntry struct {
	ID string    `json:"id"`
	At time.Time `json:"at"`
	// Actor is the subject that acted; ActorUID its uid where it has one.
	Actor    string `json:"actor"`
	ActorUID string `json:"actorUid,omitempty"`
	// Via and TokenID say through which credential.
	Via     string `json:"via,omitempty"`
	TokenID string `json:"tokenId,omitempty"`
	// RemoteAddr is where from; RequestID is that of the answer (x-request-id).
	RemoteAddr string `json:"remoteAddr,omitempty"`
	RequestID  string `json:"requestId,omitempty"`
	// Action is kind.verb: provider-account.update, token.revoke.
	Action string `json:"action"`
	// Target is the resource acted on: provider-account:openai-main.
	Target string `json:"target"`
	// Before and After are the resource as JSON, secrets redacted.
	Before json.RawMessage `json:"before,omitempty"`
	After  json.RawMessage `json:"after,omitempty"`
	// Outcome is done or denied.
	Outcome string `json:"outcome"`
}
