package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/control/api/apply"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/manifest"
)

// ApplyRequest is the body of POST /api/v1/apply. A body of YAML is the
// documents alone; the rest stands in the query.
type ApplyRequest struct {
	// Manager names the set: resources belong to apply:NAME. Default default.
	Manager   string            `json:"manager,omitempty"`
	Documents []json.RawMessage `json:"documents"`
	// DryRun checks everything and writes nothing.
	DryRun bool `json:"dryRun,omitempty"`
	// Prune removes the manager's resources that are not among the documents.
	Prune bool `json:"prune,omitempty"`
	// TakeOver makes another manager's resources the set's.
	TakeOver bool `json:"takeOver,omitempty"`
}

func (a *API) applyOperations() []operation {
	return []operation{{
		ID: "apply", Method: http.MethodPost, Path: base + "/apply", Summary: "Write many resources, all or nothing",
		// Each resource asks for its own; to be known is what all have in common.
		Permission: authenticated, On: onSelf, AuditAction: "tenant.apply",
		Body: ApplyRequest{}, YAML: true, Answer: apply.Result{}, Status: http.StatusOK,
		Query: []query{
			{"manager", "For a body of YAML: names the set. Default default.", patterned(namePattern)},
			{"dryRun", "For a body of YAML: check and write nothing.", flag()},
			{"prune", "For a body of YAML: remove what is not in it.", flag()},
			{"takeOver", "For a body of YAML: make another manager's resources the set's.", flag()},
		},
		run: (*call).apply,
	}}
}

func (c *call) apply() (*answer, error) {
	data, form, err := c.body()
	if err != nil {
		return nil, err
	}
	var req apply.Request
	var manager string
	if form == formYAML {
		manager, req, err = c.yamlSet(data)
	} else {
		manager, req, err = jsonSet(data)
	}
	if err != nil {
		return nil, err
	}
	c.dryRun = req.DryRun
	if manager == "" {
		manager = "default"
	}
	if !v1.ValidName(manager) {
		return nil, identity.Errorf(identity.CodeInvalidRequest, "manager must be 1 to 63 lower-case letters, digits and hyphens")
	}
	res, err := c.applier.Apply(c.r.Context(), c.actor("apply:"+manager), req)
	if err != nil {
		return nil, err
	}
	return &answer{body: res}, nil
}

func (c *call) yamlSet(data []byte) (manager string, req apply.Request, err error) {
	for name, into := range map[string]*bool{"dryRun": &req.DryRun, "prune": &req.Prune, "takeOver": &req.TakeOver} {
		if *into, err = c.flag(name); err != nil {
			return "", req, err
		}
	}
	if req.Documents, err = manifest.Parse("", data); err != nil {
		return "", req, manifestError(err)
	}
	if len(req.Documents) > maxDocuments {
		return "", req, identity.Errorf(identity.CodeInvalidRequest, "send at most %d documents at once", maxDocuments)
	}
	return c.r.URL.Query().Get("manager"), req, nil
}

const (
	// maxDocuments is how many documents one set may have, in whatever form.
	maxDocuments = 10_000
	// enoughErrors ends the reading of a set that is wrong throughout.
	enoughErrors = 100
)

func jsonSet(data []byte) (manager string, req apply.Request, err error) {
	var body ApplyRequest
	if err := strictJSON(data, &body); err != nil {
		return "", req, err
	}
	if body.Documents == nil {
		return "", req, identity.Errorf(identity.CodeInvalidRequest, "documents is required; an empty list is none")
	}
	if len(body.Documents) > maxDocuments {
		return "", req, identity.Errorf(identity.CodeInvalidRequest, "send at most %d documents at once", maxDocuments)
	}
	req.DryRun, req.Prune, req.TakeOver = body.DryRun, body.Prune, body.TakeOver
	var errs manifest.Errors
	for i, raw := range body.Documents {
		docs, err := manifest.Parse(fmt.Sprintf("documents[%d].json", i), raw)
		list, wrong := errors.AsType[manifest.Errors](err)
		switch {
		case wrong:
			if errs = append(errs, list...); len(errs) >= enoughErrors {
				return "", req, manifestError(errs)
			}
		case err != nil:
			return "", req, err
		}
		req.Documents = append(req.Documents, docs...)
	}
	if len(errs) > 0 {
		return "", req, manifestError(errs)
	}
	return body.Manager, req, nil
}
