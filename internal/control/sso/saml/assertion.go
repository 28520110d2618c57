package saml

import (
	"slices"
	"strings"
	"time"
	"unicode"
)

const (
	methodBearer = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
	maxNameID    = 1024
)

// checkAssertion reads verified bytes (SAML core, 2.3.3; profiles, 4.1.4.3). It
// returns until when the assertion's ID must be remembered.
func (sp *ServiceProvider) checkAssertion(n *node, inResponseTo string, expected []string) (Assertion, time.Time, error) {
	var a Assertion
	err := firstOf(
		func() error { return sp.readHead(n, &a) },
		func() error { return sp.readSubject(n, inResponseTo, expected, &a) },
		func() error { return sp.checkConditions(n, &a) },
		func() error { return sp.readAuthn(n, &a) },
		func() error { return readAttributes(n, &a) },
	)
	if err != nil {
		return Assertion{}, time.Time{}, err
	}
	// Once it is older than maxMessageAge it is refused for that.
	until := a.NotOnOrAfter
	if oldest := sp.c.Now().Add(maxMessageAge + 2*sp.c.Skew); until.After(oldest) {
		until = oldest
	}
	return a, until.Add(sp.c.Skew), nil
}

func firstOf(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (sp *ServiceProvider) readHead(n *node, a *Assertion) error {
	a.AssertionID = n.attr("ID")
	if n.attr("Version") != "2.0" || !goodID(a.AssertionID) {
		return refuse(ReasonMalformed, "an assertion needs Version 2.0 and an ID")
	}
	issued, err := instant(n, "IssueInstant")
	if err != nil {
		return err
	}
	if err := sp.checkIssued(n, issued); err != nil {
		return err
	}
	issuer, err := n.one(nsAssertion, "Issuer")
	if err != nil {
		return err
	}
	a.Issuer = sp.c.IDP.EntityID
	return sp.checkIssuer(issuer)
}

// readSubject wants one NameID and one confirmation, by bearer, for us, now and
// for an open request.
func (sp *ServiceProvider) readSubject(n *node, inResponseTo string, expected []string, a *Assertion) error {
	subject, err := n.one(nsAssertion, "Subject")
	if err != nil {
		return err
	}
	name, err := subject.one(nsAssertion, "NameID")
	if err != nil {
		return err
	}
	if a.NameID, err = readNameID(name); err != nil {
		return err
	}
	a.NameIDFormat, a.NameQualifier, a.SPNameQualifier = name.attr("Format"), name.attr("NameQualifier"), name.attr("SPNameQualifier")
	confirmation, err := subject.one(nsAssertion, "SubjectConfirmation")
	if err != nil {
		return refuse(ReasonConfirmation, "exactly one SubjectConfirmation is accepted")
	}
	if m := confirmation.attr("Method"); m != methodBearer {
		return refuse(ReasonConfirmation, "the confirmation method is %q, not bearer", clip(m))
	}
	data, err := confirmation.one(nsAssertion, "SubjectConfirmationData")
	if err != nil {
		return err
	}
	if r := data.attr("Recipient"); r != sp.c.ACSURL {
		return refuse(ReasonDestination, "Recipient is %q, not %q", clip(r), sp.c.ACSURL)
	}
	if err := sp.checkInResponseTo(data, expected); err != nil {
		return err
	}
	if a.InResponseTo = data.attr("InResponseTo"); a.InResponseTo != inResponseTo {
		return refuse(ReasonInResponseTo, "the response and its assertion answer different requests")
	}
	if a.NotOnOrAfter, err = instant(data, "NotOnOrAfter"); err != nil {
		return err
	}
	return sp.checkWindow(data)
}

// checkWindow checks NotBefore and NotOnOrAfter where they stand.
func (sp *ServiceProvider) checkWindow(n *node) error {
	now := sp.c.Now()
	if _, ok := n.lookup("NotBefore"); ok {
		from, err := instant(n, "NotBefore")
		if err != nil {
			return err
		}
		if now.Before(from.Add(-sp.c.Skew)) {
			return refuse(ReasonNotYetValid, "%s begins at %s, our clock says %s", n.local, from.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
		}
	}
	if _, ok := n.lookup("NotOnOrAfter"); ok {
		until, err := instant(n, "NotOnOrAfter")
		if err != nil {
			return err
		}
		if !now.Before(until.Add(sp.c.Skew)) {
			return refuse(ReasonExpired, "%s ended at %s, our clock says %s", n.local, until.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
		}
	}
	return nil
}

// checkConditions refuses conditions that it does not know (SAML core, 2.5.1.1:
// the assertion's validity is indeterminate then).
func (sp *ServiceProvider) checkConditions(n *node, a *Assertion) error {
	conditions, err := n.one(nsAssertion, "Conditions")
	if err != nil {
		return err
	}
	if err := sp.checkWindow(conditions); err != nil {
		return err
	}
	if until, err := instant(conditions, "NotOnOrAfter"); err == nil && until.Before(a.NotOnOrAfter) {
		a.NotOnOrAfter = until
	}
	restricted := false
	for _, c := range conditions.children {
		switch {
		case c.is(nsAssertion, "AudienceRestriction"):
			restricted = true
			if err := sp.checkAudience(c); err != nil {
				return err
			}
		case c.is(nsAssertion, "OneTimeUse"): // every assertion is, here
		case c.is(nsAssertion, "ProxyRestriction"): // nothing is issued on from it
		default:
			return refuse(ReasonMalformed, "the condition %q is not known", clip(c.local))
		}
	}
	if !restricted {
		return refuse(ReasonAudience, "the assertion names no audience")
	}
	return nil
}

// checkAudience: one of the audiences of every restriction must be us.
func (sp *ServiceProvider) checkAudience(restriction *node) error {
	var names []string
	for _, c := range restriction.all(nsAssertion, "Audience") {
		name, err := exactText(c)
		if err != nil {
			return err
		}
		if name == sp.c.EntityID {
			return nil
		}
		names = append(names, clip(name))
	}
	return refuse(ReasonAudience, "the audience is %q, not %q", strings.Join(names, " "), sp.c.EntityID)
}

func (sp *ServiceProvider) readAuthn(n *node, a *Assertion) error {
	statement, err := n.one(nsAssertion, "AuthnStatement")
	if err != nil {
		return err
	}
	if a.AuthnInstant, err = instant(statement, "AuthnInstant"); err != nil {
		return err
	}
	now := sp.c.Now()
	if a.AuthnInstant.After(now.Add(sp.c.Skew)) {
		return refuse(ReasonNotYetValid, "the authentication is in the future")
	}
	if sp.c.MaxAge > 0 && now.After(a.AuthnInstant.Add(sp.c.MaxAge+sp.c.Skew)) {
		return refuse(ReasonAuthnContext, "the person authenticated at %s, longer ago than %s", a.AuthnInstant.Format(time.RFC3339), sp.c.MaxAge)
	}
	if _, ok := statement.lookup("SessionNotOnOrAfter"); ok {
		if a.SessionNotOnOrAfter, err = instant(statement, "SessionNotOnOrAfter"); err != nil {
			return err
		}
		if !now.Before(a.SessionNotOnOrAfter.Add(sp.c.Skew)) {
			return refuse(ReasonExpired, "the session at the identity provider ended at %s", a.SessionNotOnOrAfter.Format(time.RFC3339))
		}
	}
	a.SessionIndex = statement.attr("SessionIndex")
	context, err := statement.one(nsAssertion, "AuthnContext")
	if err != nil {
		return err
	}
	class, err := context.optional(nsAssertion, "AuthnContextClassRef")
	if err != nil {
		return err
	}
	if class != nil {
		if a.AuthnContextClassRef, err = exactText(class); err != nil {
			return err
		}
	}
	if len(sp.c.RequireACR) > 0 && !slices.Contains(sp.c.RequireACR, a.AuthnContextClassRef) {
		return refuse(ReasonAuthnContext, "the authentication context is %q, none of those demanded", clip(a.AuthnContextClassRef))
	}
	return nil
}

// readAttributes joins the values of equal names. A value that holds elements
// is skipped as a whole, never read in part.
func readAttributes(n *node, a *Assertion) error {
	a.Attributes = map[string][]string{}
	for _, statement := range n.all(nsAssertion, "AttributeStatement") {
		for _, attribute := range statement.children {
			if !attribute.is(nsAssertion, "Attribute") {
				return refuse(ReasonMalformed, "%q among the attributes is not accepted", clip(attribute.local))
			}
			name := attribute.attr("Name")
			if name == "" {
				return refuse(ReasonMalformed, "an attribute without a name")
			}
			for _, value := range attribute.all(nsAssertion, "AttributeValue") {
				if len(value.children) > 0 || value.text == "" {
					continue
				}
				a.Attributes[name] = append(a.Attributes[name], value.text)
			}
		}
	}
	return nil
}

// readNameID takes a name as it stands. One that two programs could read as
// two names (white space at its ends, control characters) is refused.
func readNameID(n *node) (string, error) {
	name, err := exactText(n)
	if err != nil {
		return "", err
	}
	if name == "" || len(name) > maxNameID || strings.ContainsFunc(name, unicode.IsControl) {
		return "", refuse(ReasonMalformed, "a NameID must have 1 to %d characters and no control characters", maxNameID)
	}
	return name, nil
}

// exactText returns the text of an element that holds nothing else.
func exactText(n *node) (string, error) {
	if len(n.children) > 0 || strings.TrimSpace(n.text) != n.text {
		return "", refuse(ReasonMalformed, "%s must hold text alone, without white space around it", n.local)
	}
	return n.text, nil
}

// instant reads a required attribute of type xs:dateTime, which SAML wants in
// UTC (core, 1.3.3). One without a zone would mean different times to us and
// to the identity provider.
func instant(n *node, attribute string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, n.attr(attribute))
	if err != nil {
		return time.Time{}, refuse(ReasonMalformed, "%s of %s is not a time in UTC", attribute, n.local)
	}
	return t.UTC(), nil
}

// goodID keeps what is stored and logged short and in one line (an xs:ID).
func goodID(id string) bool {
	if id == "" || len(id) > maxID {
		return false
	}
	return !strings.ContainsFunc(id, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("_-.", r)
	})
}

// clip shortens text of a stranger for a detail.
func clip(s string) string {
	const most = 200
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
