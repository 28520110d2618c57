package llm

import (
	"errors"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/jsonpeek"
)

// Call is what was read of a request before the caller is authorised.
type Call struct {
	// Model is the model as the caller wrote it: account/model.
	Model string
	// Start and End are where its value stands in the body, quotes included.
	Start, End int64
	// Stream says whether the caller asked for an event stream.
	Stream bool
	// Hosted is the first thing in the request that the provider would run by
	// itself, with access to what is stored under the account's key: a tool's
	// type or a member's name. Empty for none.
	Hosted string
	// Stored is the first reference to something stored under the account's
	// key: a member's name. Empty for none.
	Stored string
	form   bool
}

// The members that are looked at, by endpoint. The first three are in each.
var (
	plainMembers     = []string{"model", "stream", "tools", "models", "fallbacks", "deployment_id", "api_base", "base_url"}
	chatMembers      = []string{"model", "stream", "tools", "data_sources", "models", "fallbacks", "deployment_id", "api_base", "base_url"}
	responsesMembers = []string{
		"model", "stream", "tools", "previous_response_id", "conversation", "background", "prompt",
		"models", "fallbacks", "deployment_id", "api_base", "base_url", "input",
	}
	messagesMembers = []string{"model", "stream", "tools", "mcp_servers", "container"}
	toolMembers     = []string{"type", "model"}
	itemMembers     = []string{"type", "id", "role", "result"}
)

func members(e Endpoint) []string {
	switch e {
	case ChatCompletions:
		return chatMembers
	case Responses:
		return responsesMembers
	case Messages, CountTokens:
		return messagesMembers
	default:
		return plainMembers
	}
}

// Peek reads the JSON body of an endpoint. Errors: invalid_request,
// ambiguous_body.
func Peek(e Endpoint, body []byte) (Call, error) {
	var found [13]jsonpeek.Value
	names := members(e)
	out := found[:len(names)]
	if err := jsonpeek.Scan(body, names, out); err != nil {
		return Call{}, bodyError(err)
	}
	var c Call
	switch out[0].Kind {
	case jsonpeek.String:
	case jsonpeek.Absent:
		return Call{}, identity.Errorf(identity.CodeInvalidRequest, "model is required: write account/model")
	default:
		return Call{}, identity.Errorf(identity.CodeInvalidRequest, "model must be a string, not %s", out[0].Kind)
	}
	var err error
	if c.Model, err = jsonpeek.Str(body, out[0]); err != nil {
		return Call{}, bodyError(err)
	}
	c.Start, c.End = int64(out[0].Start), int64(out[0].End)
	switch out[1].Kind {
	case jsonpeek.Absent, jsonpeek.Null:
	case jsonpeek.Bool:
		c.Stream, _ = jsonpeek.Boolean(body, out[1])
	default:
		return Call{}, identity.Errorf(identity.CodeInvalidRequest, "stream must be true or false")
	}
	if err := c.hosted(e, body, out[2]); err != nil {
		return Call{}, err
	}
	if err := c.topLevel(names[3:], body, out[3:]); err != nil {
		return Call{}, err
	}
	if c.Stored == "" && mayRefer(e) {
		c.Stored = storedReference(e.Dialect(), body)
	}
	return c, nil
}

// topLevel judges the members that matter only at the top.
func (c *Call) topLevel(names []string, body []byte, values []jsonpeek.Value) error {
	for i, v := range values {
		switch {
		case v.Kind == jsonpeek.Absent || v.Kind == jsonpeek.Null:
		case v.Kind == jsonpeek.Bool && string(jsonpeek.Raw(body, v)) == "false":
		case names[i] == "models" || names[i] == "fallbacks" || names[i] == "deployment_id" || names[i] == "api_base" || names[i] == "base_url":
			// Routers behind a provider's address take these from the body.
			return identity.Errorf(identity.CodeInvalidRequest, "%s is not accepted: a request names one model, by model", names[i])
		case names[i] == "input":
			if c.Stored == "" && refersByItem(body, v) {
				c.Stored = "input"
			}
		case names[i] == "mcp_servers" || names[i] == "data_sources":
			if v.Kind != jsonpeek.Array || !empty(body, v) {
				c.Hosted = names[i]
			}
		default:
			c.Stored = names[i]
		}
	}
	return nil
}

// refersByItem reports whether an item of a response's input stands for
// something stored: {"id": …} is an item reference without its type, and an
// image is found again by its id.
func refersByItem(body []byte, input jsonpeek.Value) (found bool) {
	if input.Kind != jsonpeek.Array {
		return false
	}
	_ = jsonpeek.Elements(body, input, func(item jsonpeek.Value) bool {
		var v [4]jsonpeek.Value
		if err := jsonpeek.Members(body, item, itemMembers, v[:]); err != nil {
			found = !errors.Is(err, jsonpeek.ErrNotObject)
			return !found
		}
		kind, id, role, result := v[0], v[1], v[2], v[3]
		name, _ := jsonpeek.Str(body, kind)
		found = id.Kind == jsonpeek.String && (kind.Kind != jsonpeek.String && role.Kind != jsonpeek.String || name == "image_generation_call" && result.Kind != jsonpeek.String)
		return !found
	})
	return found
}

func empty(body []byte, v jsonpeek.Value) bool {
	none := true
	err := jsonpeek.Elements(body, v, func(jsonpeek.Value) bool {
		none = false
		return false
	})
	return err == nil && none
}

// hosted finds the first tool that the provider runs by itself.
func (c *Call) hosted(e Endpoint, body []byte, tools jsonpeek.Value) error {
	switch tools.Kind {
	case jsonpeek.Absent, jsonpeek.Null:
		return nil
	case jsonpeek.Array:
	default:
		return identity.Errorf(identity.CodeInvalidRequest, "tools must be a list")
	}
	var problem error
	err := jsonpeek.Elements(body, tools, func(tool jsonpeek.Value) bool {
		var kind [2]jsonpeek.Value
		if problem = jsonpeek.Members(body, tool, toolMembers, kind[:]); problem != nil {
			return false
		}
		if kind[0].Kind == jsonpeek.Absent && e.Dialect() == Anthropic {
			return true // a tool of the caller's own; Anthropic's default
		}
		var name []byte
		if name, problem = jsonpeek.Text(body, kind[0]); problem != nil {
			return false
		}
		if !freeTool(e.Dialect(), string(name)) || string(name) == "image_generation" && kind[1].Kind != jsonpeek.Absent {
			// The image tool with a model of its own reaches one that was not asked for.
			c.Hosted = string(name)
			return false
		}
		return true
	})
	switch {
	case errors.Is(problem, jsonpeek.ErrKind), errors.Is(problem, jsonpeek.ErrNotObject):
		return identity.Errorf(identity.CodeInvalidRequest, "each of tools must be an object whose type is a string")
	case problem != nil:
		return bodyError(problem)
	case err != nil:
		return bodyError(err)
	}
	return nil
}

// bodyError says what is wrong with a body in the caller's words.
func bodyError(err error) error {
	code, message := identity.CodeInvalidRequest, "the body is not a JSON object that can be read in one way only"
	var at *jsonpeek.Error
	if errors.As(err, &at) {
		message = at.Error()
	}
	if errors.Is(err, jsonpeek.ErrAmbiguous) {
		code = identity.CodeAmbiguousBody
	}
	return identity.Wrap(code, err, message)
}

// AppendModel appends the upstream's id of the model as it must stand in place
// of the caller's.
func (c *Call) AppendModel(dst []byte, upstream string) []byte {
	if c.form {
		return append(dst, upstream...)
	}
	const empty = `""`
	return jsonpeek.AppendSplice(dst, []byte(empty), jsonpeek.Value{Kind: jsonpeek.String, End: len(empty)}, upstream)
}
