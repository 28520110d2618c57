package scim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/authn"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

const (
	maxUserName    = 254     // bytes, as in the control API
	maxDisplayName = 256     // bytes
	maxExternalID  = 512     // bytes
	maxAttributes  = 128_000 // bytes of all that is kept beside the person's own fields
)

// versionOf is a person's weak entity tag.
func versionOf(u *identity.User) string {
	return `W/"` + strconv.FormatUint(u.Version, 10) + `"`
}

// stored reads what a directory has kept about a person.
func stored(u *identity.User) (map[string]any, error) {
	doc := map[string]any{}
	if len(u.Attributes) == 0 {
		return doc, nil
	}
	d := json.NewDecoder(bytes.NewReader(u.Attributes))
	d.UseNumber()
	if err := d.Decode(&doc); err != nil {
		return nil, fmt.Errorf("the attributes of user %s: %w", u.UID, err)
	}
	return doc, nil
}

// writable is the part of a person that a directory writes: a resource without
// what is read-only.
func writable(u *identity.User) (map[string]any, error) {
	doc, err := stored(u)
	if err != nil {
		return nil, err
	}
	delete(doc, "meta")
	doc["userName"], doc["active"] = u.UserName, u.Active
	if u.ExternalID != "" {
		doc["externalId"] = u.ExternalID
	}
	return doc, nil
}

// userDoc is a person as a resource.
func (c *call) userDoc(u *identity.User) (map[string]any, error) {
	kept, err := stored(u)
	if err != nil {
		return nil, err
	}
	doc, err := writable(u)
	if err != nil {
		return nil, err
	}
	created := u.CreatedAt.UTC().Format(time.RFC3339Nano)
	meta := map[string]any{
		"resourceType": c.user.Name, "created": created, "lastModified": created, "location": c.location(c.user, u.UID), "version": versionOf(u),
	}
	if m, ok := kept["meta"].(map[string]any); ok && m["lastModified"] != nil {
		meta["lastModified"] = m["lastModified"]
	}
	doc["id"], doc["meta"], doc["schemas"] = u.UID, meta, c.user.schemasOf(doc)
	if !c.view.wants(c.user, "groups") {
		return doc, nil
	}
	groups, err := c.groupsOf(u)
	if len(groups) > 0 {
		doc["groups"] = groups
	}
	return doc, err
}

// teamView is a team of this directory as a member sees it.
type teamView struct{ uid, display string }

// groupsOf lists a person's groups: the teams of this directory alone.
func (c *call) groupsOf(u *identity.User) ([]any, error) {
	var list []any
	for _, m := range u.Memberships {
		if m.Source != sourceSCIM {
			continue
		}
		t, known := c.teams[m.Team]
		if !known {
			r, err := c.opt.Teams.Resource(c.ctx, teamKey(m.Team))
			if err != nil && !identity.IsCode(err, identity.CodeNotFound) {
				return nil, err
			}
			if team, ok := r.(*v1.Team); ok && err == nil && team.Manager == c.manager {
				t = &teamView{uid: team.UID, display: displayOf(team)}
			}
			c.teams[m.Team] = t
		}
		if t != nil {
			list = append(list, map[string]any{"value": t.uid, "$ref": c.location(c.group, t.uid), "display": t.display, "type": "direct"})
		}
	}
	return list, nil
}

// person makes a user of a resource: what a user has a field for goes there,
// the rest is kept as it is.
func (c *call) person(doc map[string]any, base *identity.User) (identity.User, error) {
	u := *base
	userName, _ := doc["userName"].(string)
	u.UserName = strings.TrimSpace(userName)
	if u.UserName == "" {
		return u, bad(invalidValue, "userName is required")
	}
	active, has := doc["active"].(bool)
	u.Active = active || !has
	u.ExternalID, _ = doc["externalId"].(string)
	u.DisplayName = displayName(doc)
	for _, f := range []struct {
		name, value, was string
		most             int
	}{
		{"userName", u.UserName, base.UserName, maxUserName},
		{"externalId", u.ExternalID, base.ExternalID, maxExternalID},
		{"displayName", u.DisplayName, base.DisplayName, maxDisplayName},
	} {
		if err := plain(f.name, f.value, f.was, f.most); err != nil {
			return u, err
		}
	}
	var err error
	if u.Email, err = address(doc, u.UserName, base.Email); err != nil {
		return u, err
	}
	if identity.ReservedEmail(u.Email) {
		return u, c.denyUser("the address is Gatehouse's own", u.Email, base, &u, bad(invalidValue, "emails: this address is Gatehouse's own"))
	}
	u.Manager = c.manager
	rest := cloneDoc(doc)
	for _, k := range []string{"id", "schemas", "groups", "meta", "userName", "active", "externalId"} {
		delete(rest, k)
	}
	rest["meta"] = map[string]any{"lastModified": c.opt.Now().UTC().Truncate(time.Millisecond).Format(time.RFC3339Nano)}
	u.Attributes = asJSON(rest)
	if len(u.Attributes) > maxAttributes {
		return u, bad(invalidValue, "the attributes of one person may have %d bytes", maxAttributes)
	}
	return u, nil
}

// displayName is what people are shown.
func displayName(doc map[string]any) string {
	if s, _ := doc["displayName"].(string); s != "" {
		return s
	}
	name, _ := doc["name"].(map[string]any)
	if s, _ := name["formatted"].(string); s != "" {
		return s
	}
	given, _ := name["givenName"].(string)
	family, _ := name["familyName"].(string)
	return strings.TrimSpace(given + " " + family)
}

// address chooses the person's e-mail address: the primary one, else the one of
// type work, else the first, else the userName. It must be one that a token or a
// sign-in can have too, or a mailbox would have two spellings here; was is the
// address that the person has already, which stays whatever it is.
func address(doc map[string]any, userName, was string) (string, error) {
	chosen, rank := "", 0
	for _, v := range values(doc["emails"]) {
		m, _ := v.(map[string]any)
		value, _ := m["value"].(string)
		kind, _ := m["type"].(string)
		r := 1
		switch {
		case isPrimary(m):
			r = 3
		case strings.EqualFold(kind, "work"):
			r = 2
		}
		if strings.TrimSpace(value) != "" && r > rank {
			chosen, rank = value, r
		}
	}
	from, email := "emails", v1.NormalizeEmail(chosen)
	if chosen == "" {
		from, email = "userName", v1.NormalizeEmail(userName)
	}
	switch {
	case v1.ValidEmail(email):
	case chosen == "":
		return "", bad(invalidValue, "a person needs an e-mail address: send emails, or a userName that is one")
	default:
		return "", bad(invalidValue, "emails: the person's address is not an e-mail address; a domain of another script is written in its xn-- form")
	}
	if email != was && authn.NormalizeEmail(email) != email {
		return "", bad(invalidValue, "%s: nobody can sign in with such an address, which is ASCII before the @ and has the name of a domain after it; send another of the person's as the primary one of emails", from)
	}
	return email, nil
}
