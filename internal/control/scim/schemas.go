package scim

import (
	"cmp"
	"strings"
)

// The URNs of schemas and messages.
const (
	urnUser       = "urn:ietf:params:scim:schemas:core:2.0:User"
	urnEnterprise = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
	urnGroup      = "urn:ietf:params:scim:schemas:core:2.0:Group"
	urnSchema     = "urn:ietf:params:scim:schemas:core:2.0:Schema"
	urnType       = "urn:ietf:params:scim:schemas:core:2.0:ResourceType"
	urnConfig     = "urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"
	urnList       = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
	urnError      = "urn:ietf:params:scim:api:messages:2.0:Error"
	urnPatch      = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
	urnSearch     = "urn:ietf:params:scim:api:messages:2.0:SearchRequest"
	urnDryRun     = "urn:gatehouse:params:scim:api:messages:1.0:DryRun"
)

// define fills in the defaults of RFC 7643, 2.2.
func define(a attribute, subs ...*attribute) *attribute {
	a.Type = cmp.Or(a.Type, typeString)
	a.Mutability = cmp.Or(a.Mutability, readWrite)
	a.Returned = cmp.Or(a.Returned, byDefault)
	a.Uniqueness = cmp.Or(a.Uniqueness, "none")
	if len(subs) > 0 {
		a.Type, a.Subs = typeComplex, subs
	}
	if a.Type == typeReference || a.Type == typeBinary {
		a.CaseExact = true
	}
	return &a
}

func text(name, about string) *attribute {
	return define(attribute{Name: name, Description: about})
}

// list is a multi-valued attribute with the usual sub-attributes (RFC 7643, 2.4).
func list(name, about string, value attribute, types ...string) *attribute {
	value.Name, value.Description = "value", cmp.Or(value.Description, "The value.")
	return define(attribute{Name: name, Description: about, MultiValued: true, Required: value.Required},
		define(value),
		text("display", "How the value is shown to people."),
		define(attribute{Name: "type", Description: "What the value is for.", Canonical: types}),
		define(attribute{Name: "primary", Type: typeBoolean, Description: "Whether this is the preferred value; at most one is."}))
}

func commonAttributes() []*attribute {
	return []*attribute{
		define(attribute{Name: "schemas", Type: typeReference, MultiValued: true, Mutability: readOnly, Returned: always, common: true}),
		define(attribute{Name: "id", CaseExact: true, Mutability: readOnly, Returned: always, common: true}),
		define(attribute{Name: "externalId", CaseExact: true, common: true}),
		define(attribute{Name: "meta", Mutability: readOnly, common: true},
			define(attribute{Name: "resourceType", CaseExact: true, Mutability: readOnly}),
			define(attribute{Name: "created", Type: typeDateTime, Mutability: readOnly}),
			define(attribute{Name: "lastModified", Type: typeDateTime, Mutability: readOnly}),
			define(attribute{Name: "location", Type: typeReference, Mutability: readOnly}),
			define(attribute{Name: "version", CaseExact: true, Mutability: readOnly})),
	}
}

func userType() *resourceType {
	return &resourceType{
		Name: "User", Endpoint: "/Users", Description: "A person.", common: commonAttributes(),
		Core:      &schema{URN: urnUser, Name: "User", Description: "A person.", Attributes: append(userAttributes(), userLists()...)},
		Extension: &schema{URN: urnEnterprise, Name: "EnterpriseUser", Description: "A person in a company.", Attributes: enterpriseAttributes()},
	}
}

func userAttributes() []*attribute {
	return []*attribute{
		define(attribute{
			Name: "userName", Required: true, Uniqueness: "server",
			Description: "The name by which the directory knows the person, often an e-mail address. Unique in the installation, without regard to case.",
		}),
		define(attribute{Name: "name", Description: "The parts of the person's name."},
			text("formatted", "The full name as it is shown."), text("familyName", "The family name."), text("givenName", "The given name."),
			text("middleName", "The middle names."), text("honorificPrefix", "Titles before the name."), text("honorificSuffix", "What follows the name.")),
		text("displayName", "The name that is shown to people."),
		text("nickName", "What the person is called casually."),
		define(attribute{Name: "profileUrl", Type: typeReference, References: []string{"external"}, Description: "The person's page."}),
		text("title", "The person's title."),
		text("userType", "The person's relation to the organisation."),
		text("preferredLanguage", "The preferred languages, as in Accept-Language."),
		text("locale", "The locale, such as en-GB."),
		text("timezone", "The time zone, such as Europe/Berlin."),
		define(attribute{
			Name: "active", Type: typeBoolean, Required: true,
			Description: "Whether the person may do anything. False revokes every token and ends every session for good. A new person without it is active; it cannot be removed.",
		}),
		define(attribute{Name: "password", Mutability: writeOnly, Returned: never, Description: "Accepted and thrown away."}),
	}
}

func userLists() []*attribute {
	external := attribute{Type: typeReference, References: []string{"external"}}
	return []*attribute{
		list("emails", "E-mail addresses. The person's own is the primary one, else the one of type work, else the first; without any, the userName must be an address.",
			attribute{Required: true, Description: "An e-mail address; a domain of another script in its xn-- form."}, "work", "home", "other"),
		list("phoneNumbers", "Telephone numbers.", attribute{}, "work", "home", "mobile", "fax", "pager", "other"),
		list("ims", "Addresses for instant messages.", attribute{}),
		list("photos", "Pictures.", external, "photo", "thumbnail"),
		define(attribute{Name: "addresses", MultiValued: true, Description: "Postal addresses."},
			text("formatted", "The whole address."), text("streetAddress", "Street and number."), text("locality", "City."),
			text("region", "State or region."), text("postalCode", "Postal code."), text("country", "Country, as ISO 3166-1 alpha-2."),
			define(attribute{Name: "type", Description: "What the address is for.", Canonical: []string{"work", "home", "other"}}),
			define(attribute{Name: "primary", Type: typeBoolean, Description: "Whether this is the preferred address; at most one is."})),
		define(attribute{Name: "groups", MultiValued: true, Mutability: readOnly, Description: "The groups of this directory to which the person belongs."},
			define(attribute{Name: "value", CaseExact: true, Mutability: readOnly, Description: "The group's id."}),
			define(attribute{Name: "$ref", Type: typeReference, Mutability: readOnly, References: []string{"Group"}, Description: "The group's URI."}),
			define(attribute{Name: "display", Mutability: readOnly, Description: "The group's displayName."}),
			define(attribute{Name: "type", Mutability: readOnly, Canonical: []string{"direct"}, Description: "Always direct."})),
		list("entitlements", "Entitlements, as the directory names them; they decide nothing here.", attribute{}),
		list("roles", "Roles, as the directory names them; they decide nothing here.", attribute{}),
		list("x509Certificates", "Certificates.", attribute{Type: typeBinary}),
	}
}

func enterpriseAttributes() []*attribute {
	return []*attribute{
		text("employeeNumber", "The number of the employee."), text("costCenter", "The cost center."), text("organization", "The organisation."),
		text("division", "The division."), text("department", "The department."),
		define(attribute{Name: "manager", Description: "The person's manager."},
			define(attribute{Name: "value", CaseExact: true, Description: "The manager's id."}),
			define(attribute{Name: "$ref", Type: typeReference, References: []string{"User"}, Description: "The manager's URI."}),
			define(attribute{Name: "displayName", Mutability: readOnly, Description: "The manager's name."})),
	}
}

func groupType() *resourceType {
	return &resourceType{
		Name: "Group", Endpoint: "/Groups", Description: "A group of people; a team here.", common: commonAttributes(),
		Core: &schema{URN: urnGroup, Name: "Group", Description: "A group of people.", Attributes: []*attribute{
			define(attribute{Name: "displayName", Required: true, Description: "The name that is shown to people."}),
			define(attribute{Name: "members", MultiValued: true, Description: "The people of the group. Groups within groups are refused."},
				define(attribute{Name: "value", CaseExact: true, Mutability: immutable, Description: "The member's id."}),
				define(attribute{Name: "$ref", Type: typeReference, Mutability: immutable, References: []string{"User"}, Description: "The member's URI."}),
				define(attribute{Name: "type", Mutability: immutable, Canonical: []string{"User"}, Description: "Always User."})),
		}},
	}
}

// urnOf says to which schema an attribute belongs, for the schemas member.
func (t *resourceType) schemasOf(doc map[string]any) []any {
	urns := []any{t.Core.URN}
	if t.Extension != nil && !empty(doc[t.Extension.URN]) {
		urns = append(urns, t.Extension.URN)
	}
	return urns
}

// knows says whether a schemas member names the resource's core schema.
func (t *resourceType) knows(urns []any) bool {
	for _, u := range urns {
		if s, ok := u.(string); ok && strings.EqualFold(s, t.Core.URN) {
			return true
		}
	}
	return false
}
