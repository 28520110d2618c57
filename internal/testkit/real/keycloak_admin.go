package real

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"testing"
)

// admin calls the realm's admin API with the bootstrap administrator of the
// template database (admin / admin, reachable on loopback only).
func (k *KeycloakServer) admin(t testing.TB, method, path string, body, out any) {
	t.Helper()
	token := postToken(t, k.client, k.URL+"/realms/master/protocol/openid-connect/token", url.Values{
		"grant_type": {"password"}, "client_id": {"admin-cli"}, "username": {"admin"}, "password": {"admin"},
	})
	raw, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, k.URL+"/admin/realms/gatehouse"+path, bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token.Access)
	req.Header.Set("Content-Type", "application/json")
	if err := doJSON(k.client, req, out); err != nil {
		t.Fatalf("Keycloak's admin API: %v", err)
	}
}

// idOf finds the id of the one object of a list whose field is exactly value.
func (k *KeycloakServer) idOf(t testing.TB, path, field, value string) string {
	t.Helper()
	var list []map[string]any
	k.admin(t, http.MethodGet, path, nil, &list)
	for _, item := range list {
		if item[field] == value {
			id, _ := item["id"].(string)
			return id
		}
	}
	t.Fatalf("no %s %q at %s", field, value, path)
	return ""
}

func (k *KeycloakServer) userID(t testing.TB, user string) string {
	t.Helper()
	return k.idOf(t, "/users?exact=true&username="+url.QueryEscape(user), "username", user)
}

func (k *KeycloakServer) membership(t testing.TB, user, group string) string {
	t.Helper()
	return "/users/" + k.userID(t, user) + "/groups/" + k.idOf(t, "/groups", "name", group)
}

// changeClient changes a client of the realm.
func (k *KeycloakServer) changeClient(t testing.TB, id string, change func(map[string]any)) {
	t.Helper()
	path := "/clients/" + k.idOf(t, "/clients?clientId="+url.QueryEscape(id), "clientId", id)
	var client map[string]any
	k.admin(t, http.MethodGet, path, nil, &client)
	change(client)
	k.admin(t, http.MethodPut, path, client, nil)
}

// UseFrontChannel makes Keycloak tell a client of a sign-out by a frame of its
// own page, and no other way.
func (k *KeycloakServer) UseFrontChannel(t testing.TB, id, address string) {
	t.Helper()
	k.changeClient(t, id, func(client map[string]any) {
		client["frontchannelLogout"] = true
		own, _ := client["attributes"].(map[string]any)
		own["frontchannel.logout.url"], own["frontchannel.logout.session.required"] = address, "true"
		own["backchannel.logout.url"] = ""
	})
}

// AddUserToGroup puts a user into a group; tokens made from then on say so.
func (k *KeycloakServer) AddUserToGroup(t testing.TB, user, group string) {
	t.Helper()
	k.admin(t, http.MethodPut, k.membership(t, user, group), nil, nil)
}

// RemoveUserFromGroup takes a user out of a group.
func (k *KeycloakServer) RemoveUserFromGroup(t testing.TB, user, group string) {
	t.Helper()
	k.admin(t, http.MethodDelete, k.membership(t, user, group), nil, nil)
}

// SetUserEnabled disables or enables a user.
func (k *KeycloakServer) SetUserEnabled(t testing.TB, user string, enabled bool) {
	t.Helper()
	path := "/users/" + k.userID(t, user)
	var rep map[string]any
	k.admin(t, http.MethodGet, path, nil, &rep)
	rep["enabled"] = enabled
	k.admin(t, http.MethodPut, path, rep, nil)
}

// AddAudienceMapper adds to a client the mapper that puts audience into the
// aud of its access tokens: the mend for tokens that say only `aud: account`.
func (k *KeycloakServer) AddAudienceMapper(t testing.TB, client, audience string) {
	t.Helper()
	id := k.idOf(t, "/clients?clientId="+url.QueryEscape(client), "clientId", client)
	k.admin(t, http.MethodPost, "/clients/"+id+"/protocol-mappers/models", map[string]any{
		"name": "audience-" + audience, "protocol": "openid-connect", "protocolMapper": "oidc-audience-mapper",
		"config": map[string]string{"included.custom.audience": audience, "access.token.claim": "true", "id.token.claim": "false"},
	}, nil)
}

// RotateSigningKey gives the realm a new RS256 key that signs from now on and
// takes the old ones away: they leave the JWKS at once.
func (k *KeycloakServer) RotateSigningKey(t testing.TB) {
	t.Helper()
	const kind = "org.keycloak.keys.KeyProvider"
	var old []map[string]any
	k.admin(t, http.MethodGet, "/components?type="+kind, nil, &old)
	var realm map[string]any
	k.admin(t, http.MethodGet, "", nil, &realm)
	k.admin(t, http.MethodPost, "/components", map[string]any{
		"name": "rotated", "providerId": "rsa-generated", "providerType": kind, "parentId": realm["id"],
		"config": map[string][]string{"priority": {"1000"}, "algorithm": {"RS256"}, "keySize": {"2048"}},
	}, nil)
	for _, c := range old {
		if c["providerId"] == "rsa-generated" {
			id, _ := c["id"].(string)
			k.admin(t, http.MethodDelete, "/components/"+id, nil, nil)
		}
	}
}
