package gateway

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"

	"github.com/gatehouse-ai/gatehouse/internal/gateway/llm"
)

// Header values that are shared by all requests and never changed.
var (
	jsonContent     = []string{"application/json"}
	identityContent = []string{"identity"}
	userAgent       = []string{"gatehouse"}
)

// forwarded is the allow-list of request headers. What is not in it stays
// here: credentials, cookies, addresses, and whatever claims to say who is
// calling, under any spelling.
func forwarded(name string) bool {
	switch name {
	case "Accept", "Content-Type", "User-Agent", "Openai-Beta", "Anthropic-Version", "Anthropic-Beta", "X-Client-Request-Id", "Traceparent", "Tracestate":
		return true
	default:
		return strings.HasPrefix(name, "X-Stainless-")
	}
}

// upstreamHeader makes the header of the upstream's request, without its key.
func (e *Exchange) upstreamHeader() http.Header {
	n := 8 // as many as a map holds without a directory
	if len(e.r.Header) > 16 {
		n = len(e.r.Header)
	}
	h := make(http.Header, n)
	for name, values := range e.r.Header {
		if forwarded(name) {
			h[name] = values
		}
	}
	if !e.op.endpoint.Multipart() {
		h["Content-Type"] = jsonContent
	}
	h["Accept-Encoding"] = identityContent
	if _, ok := h["User-Agent"]; !ok {
		h["User-Agent"] = userAgent
	}
	if v := e.r.Header["Idempotency-Key"]; len(v) == 1 {
		h["Idempotency-Key"] = []string{e.idempotencyKey(v[0])}
	}
	return h
}

// idempotencyKey makes a key that is the caller's own: callers share the
// provider's key, and must not get each other's answers by guessing.
func (e *Exchange) idempotencyKey(theirs string) string {
	p := e.caller.Principal
	s := sha256.New()
	for _, part := range []string{string(p.Kind), p.UID, p.Name, p.Key.Issuer, p.Key.Subject, theirs} {
		_, _ = s.Write([]byte(part)) // never fails
		_, _ = s.Write([]byte{0})
	}
	return "gh-" + hex.EncodeToString(s.Sum(nil)[:16])
}

// withheld is the deny-list of the answer's headers: those of one connection
// (RFC 9110 section 7.6.1), those that speak for the origin as a whole, and
// those that are ours.
func withheld(name string) bool {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
		"Set-Cookie", "Set-Cookie2", "Www-Authenticate", "Authentication-Info", "Alt-Svc", "Strict-Transport-Security", "Public-Key-Pins", "Clear-Site-Data",
		"Nel", "Report-To", "Reporting-Endpoints", "Location", "Refresh", "Service-Worker-Allowed", "Date", "Server", "Via", "Authorization", "X-Api-Key", "Api-Key",
		"Link", "Content-Location", "Surrogate-Control", "Speculation-Rules", "X-Sendfile", "X-Lighttpd-Send-File", "X-Content-Type-Options",
		"Server-Timing", "X-Request-Id", "Request-Id", "X-Upstream-Request-Id":
		return true
	default:
		// X-Accel- and X-Reproxy- are orders to a proxy in front of us.
		return strings.HasPrefix(name, "X-Accel-") || strings.HasPrefix(name, "X-Reproxy-") || strings.HasPrefix(name, "Access-Control-") || strings.HasPrefix(name, "X-Gatehouse-")
	}
}

// nosniff keeps a browser from taking a model's answer for a page. Shared by
// all answers: nobody appends to it.
var nosniff = []string{"nosniff"}

// answerHeader copies the upstream's header and adds ours.
func (e *Exchange) answerHeader(from http.Header) {
	h := e.w.Header()
	for name, values := range from {
		if !withheld(name) {
			h[name] = values
		}
	}
	if e.r.Header["Origin"] != nil { // the upstream's Vary has replaced ours
		h["Vary"] = append([]string{"Origin"}, from["Vary"]...)
	}
	// Named in Connection: for one hop only.
	for _, list := range from["Connection"] {
		for name := range strings.SplitSeq(list, ",") {
			delete(h, http.CanonicalHeaderKey(strings.TrimSpace(name)))
		}
	}
	own := []string{e.id, e.model.Account.Name + "/" + e.rec.Model, e.timings()}
	h["X-Request-Id"], h["X-Gatehouse-Model"], h["Server-Timing"] = own[0:1:1], own[1:2:2], own[2:3:3]
	h["X-Content-Type-Options"] = nosniff
	theirs := from["X-Request-Id"]
	if theirs == nil {
		theirs = from["Request-Id"]
	}
	if theirs != nil {
		h["X-Upstream-Request-Id"] = theirs
	}
	if e.dialect == llm.Anthropic { // Anthropic's clients read request-id
		h["Request-Id"] = own[0:1:1]
	}
}
