package llm

import (
	"encoding/json"
	"net/http"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/sse"
)

type openAIError struct {
	Error struct {
		Message string        `json:"message"`
		Type    string        `json:"type"`
		Param   *string       `json:"param"`
		Code    identity.Code `json:"code"`
	} `json:"error"`
}

type anthropicError struct {
	Type  string `json:"type"`
	Error struct {
		Type    string `json:"type"`
		Message string `json:"message"`
	} `json:"error"`
	RequestID string `json:"request_id"`
}

// ErrorBody writes an error as the dialect's clients expect it.
func ErrorBody(d Dialect, code identity.Code, message, requestID string) []byte {
	var b []byte
	switch d {
	case Anthropic:
		e := anthropicError{Type: "error", RequestID: requestID}
		e.Error.Type, e.Error.Message = anthropicType(code.Status()), string(code)+": "+message
		b, _ = json.Marshal(&e) // strings always marshal
	default:
		var e openAIError
		e.Error.Message, e.Error.Type, e.Error.Code = message, openAIType(code.Status()), code
		b, _ = json.Marshal(&e)
	}
	return b
}

// ErrorEvent writes an error as an event of a stream that has begun.
func ErrorEvent(e Endpoint, code identity.Code, message, requestID string) []byte {
	switch e {
	case Messages, CountTokens:
		return sse.AppendEvent(nil, "error", ErrorBody(Anthropic, code, message, requestID))
	case Responses:
		b, _ := json.Marshal(map[string]any{"type": "error", "code": code, "message": message, "param": nil, "sequence_number": 0})
		return sse.AppendEvent(nil, "error", b)
	default:
		return sse.AppendEvent(nil, "", ErrorBody(OpenAI, code, message, requestID))
	}
}

func openAIType(status int) string {
	switch {
	case status == http.StatusUnauthorized:
		return "authentication_error"
	case status == http.StatusForbidden:
		return "permission_error"
	case status == http.StatusTooManyRequests:
		return "rate_limit_error"
	case status < http.StatusInternalServerError:
		return "invalid_request_error"
	default:
		return "server_error"
	}
}

func anthropicType(status int) string {
	switch {
	case status == http.StatusUnauthorized:
		return "authentication_error"
	case status == http.StatusForbidden:
		return "permission_error"
	case status == http.StatusNotFound:
		return "not_found_error"
	case status == http.StatusRequestEntityTooLarge:
		return "request_too_large"
	case status == http.StatusTooManyRequests:
		return "rate_limit_error"
	case status < http.StatusInternalServerError:
		return "invalid_request_error"
	case status == http.StatusGatewayTimeout:
		return "timeout_error"
	default:
		return "api_error"
	}
}
