package saml

import "slices"

// AttributeNames lists, best first, under which names an identity provider
// sends what we want to know of a person.
type AttributeNames struct {
	Email, Name, GivenName, FamilyName, Groups []string
}

// Presets lists the presets that have attribute names.
func Presets() []string { return []string{"okta", "google", "entra", "keycloak", "custom"} }

// PresetAttributeNames returns the attribute names of a preset; false for an
// unknown one. okta, google and custom send what the administrator typed in,
// for which the guides say `email`, `name` and `groups`.
func PresetAttributeNames(preset string) (AttributeNames, bool) {
	const (
		soap      = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/"
		microsoft = "http://schemas.microsoft.com/"
		// The attribute OIDs of RFC 4519 and RFC 2985 as the X.500/LDAP profile writes them.
		oidEmail, oidMail             = "urn:oid:1.2.840.113549.1.9.1", "urn:oid:0.9.2342.19200300.100.1.3"
		oidGivenName, oidSurname      = "urn:oid:2.5.4.42", "urn:oid:2.5.4.4"
		oidDisplayName, oidIsMemberOf = "urn:oid:2.16.840.1.113730.3.1.241", "urn:oid:1.3.6.1.4.1.5923.1.5.1.1"
	)
	plain := AttributeNames{
		Email: []string{"email", "mail"}, Name: []string{"name", "displayName"},
		GivenName: []string{"firstName", "givenName"}, FamilyName: []string{"lastName", "surname"},
		Groups: []string{"groups"},
	}
	entra := AttributeNames{
		Email: []string{soap + "emailaddress"}, Name: []string{microsoft + "identity/claims/displayname"},
		GivenName: []string{soap + "givenname"}, FamilyName: []string{soap + "surname"},
		Groups: []string{microsoft + "ws/2008/06/identity/claims/groups"},
	}
	oids := AttributeNames{
		Email: []string{oidEmail, oidMail}, Name: []string{oidDisplayName},
		GivenName: []string{oidGivenName}, FamilyName: []string{oidSurname}, Groups: []string{oidIsMemberOf},
	}
	switch preset {
	case "okta", "google":
		return plain, true
	case "entra":
		return entra, true
	case "keycloak":
		// Its default group mapper says `member`, its guide here `groups`.
		n := joined(plain, oids)
		n.Groups = append(n.Groups, "member")
		return n, true
	case "custom":
		return joined(plain, entra, oids), true
	default:
		return AttributeNames{}, false
	}
}

func joined(sets ...AttributeNames) AttributeNames {
	var out AttributeNames
	for _, s := range sets {
		out.Email = append(out.Email, s.Email...)
		out.Name = append(out.Name, s.Name...)
		out.GivenName = append(out.GivenName, s.GivenName...)
		out.FamilyName = append(out.FamilyName, s.FamilyName...)
		out.Groups = append(out.Groups, s.Groups...)
	}
	return out
}

// Values returns the values of the first of names that the assertion has, nil
// when it has none of them. Names are compared exactly.
func (a Assertion) Values(names []string) []string {
	for _, name := range names {
		if v := a.Attributes[name]; len(v) > 0 {
			return slices.Clone(v)
		}
	}
	return nil
}
