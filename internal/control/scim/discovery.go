package scim

import (
	"net/http"
	"strings"
)

func (s *Server) schemas() []*schema {
	return []*schema{s.user.Core, s.user.Extension, s.group.Core}
}

func (c *call) schemaDoc(s *schema) map[string]any {
	return map[string]any{
		"schemas": []string{urnSchema}, "id": s.URN, "name": s.Name, "description": s.Description, "attributes": s.Attributes,
		"meta": map[string]any{"resourceType": "Schema", "location": c.opt.BaseURL + Root + "/Schemas/" + s.URN},
	}
}

// unfiltered: a filter on what describes the server is forbidden (RFC 7644, 4).
func (c *call) unfiltered() error {
	if c.query.Has("filter") {
		return &problem{status: http.StatusForbidden, detail: "what describes the server cannot be filtered"}
	}
	return nil
}

func (c *call) listSchemas() (*answer, error) {
	var all []any
	for _, s := range c.schemas() {
		all = append(all, c.schemaDoc(s))
	}
	return whole(all), c.unfiltered()
}

func (c *call) getSchema(id string) (*answer, error) {
	for _, s := range c.schemas() {
		if strings.EqualFold(s.URN, id) {
			return &answer{status: http.StatusOK, body: c.schemaDoc(s)}, nil
		}
	}
	return nil, absent("schema")
}

func (c *call) typeDoc(t *resourceType) map[string]any {
	doc := map[string]any{
		"schemas": []string{urnType}, "id": t.Name, "name": t.Name, "endpoint": t.Endpoint, "description": t.Description, "schema": t.Core.URN,
		"meta": map[string]any{"resourceType": "ResourceType", "location": c.opt.BaseURL + Root + "/ResourceTypes/" + t.Name},
	}
	if t.Extension != nil {
		doc["schemaExtensions"] = []any{map[string]any{"schema": t.Extension.URN, "required": false}}
	}
	return doc
}

func (c *call) listResourceTypes() (*answer, error) {
	return whole([]any{c.typeDoc(c.user), c.typeDoc(c.group)}), c.unfiltered()
}

func (c *call) getResourceType(id string) (*answer, error) {
	for _, t := range []*resourceType{c.user, c.group} {
		if t.Name == id {
			return &answer{status: http.StatusOK, body: c.typeDoc(t)}, nil
		}
	}
	return nil, absent("resource type")
}

func (c *call) serviceProviderConfig() (*answer, error) {
	is := func(b bool) map[string]any { return map[string]any{"supported": b} }
	return &answer{status: http.StatusOK, body: map[string]any{
		"schemas": []string{urnConfig},
		"patch":   is(true), "changePassword": is(false), "sort": is(false), "etag": is(true),
		"bulk":   map[string]any{"supported": false, "maxOperations": 0, "maxPayloadSize": 0},
		"filter": map[string]any{"supported": true, "maxResults": maxPage},
		"authenticationSchemes": []any{map[string]any{
			"type": "oauthbearertoken", "name": "SCIM token", "primary": true,
			"description": "A token of this directory, which can do nothing else: Authorization: Bearer gts_…",
		}},
		"meta": map[string]any{"resourceType": "ServiceProviderConfig", "location": c.opt.BaseURL + Root + "/ServiceProviderConfig"},
	}}, c.unfiltered()
}

// whole is a list that has one page.
func whole(all []any) *answer {
	return &answer{status: http.StatusOK, body: map[string]any{
		"schemas": []string{urnList}, "totalResults": len(all), "itemsPerPage": len(all), "startIndex": 1, "Resources": all,
	}}
}
