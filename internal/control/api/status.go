package api

import (
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
)

// withStatus returns a resource as it is answered: a connection with the
// addresses that its identity provider must be told. What is stored, and what
// the snapshot holds, has no status.
func (c *call) withStatus(r v1.Resource) v1.Resource {
	s, ok := r.(*v1.SsoConnection)
	if !ok {
		return r
	}
	shown := *s
	shown.Status = s.StatusAt(c.opt.ExternalURL)
	return &shown
}

// answeredConnection is the schema of an SsoConnection with its status. What
// is sent has another one: there the status may be anything, and means nothing.
const answeredConnection = "SsoConnectionAnswer"

// answerSchema is what a value looks like where it is answered.
func (a *API) answerSchema(v any) *huma.Schema {
	s := a.schema(v)
	if reflect.TypeOf(v) != reflect.TypeFor[v1.SsoConnection]() {
		return s
	}
	status := with("status", &huma.Schema{Ref: "#/components/schemas/SsoConnectionStatus"})
	a.huma.OpenAPI().Components.Schemas.Map()[answeredConnection] = allOf(s, status)
	return &huma.Schema{Ref: "#/components/schemas/" + answeredConnection}
}
