package saml

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// idpParty is the identity provider as a party that can write logout messages:
// what we write, the other way around.
func idpParty(t *testing.T, binding Binding, change ...func(*Config)) party {
	t.Helper()
	return newParty(t, append([]func(*Config){func(c *Config) {
		c.EntityID, c.SLOURL = testIDP, "https://idp.example.com/slo"
		c.Key, c.Certificate = testPairs().idp.key, testPairs().idp.cert
		c.IDP.EntityID, c.IDP.SLOURL, c.IDP.SLOBinding = testSP, testSLO, binding
		c.IDP.Certificates = append(c.IDP.Certificates[:0:0], testPairs().sp.cert)
	}}, change...)...)
}

// arrived is what our SLO endpoint gets of a request.
func arrived(r Request) (rawQuery string, form url.Values) {
	if r.Binding == BindingPOST {
		form = url.Values{}
		for k, v := range r.Form {
			form.Set(k, v)
		}
		return "", form
	}
	_, rawQuery, _ = strings.Cut(r.URL, "?")
	return rawQuery, nil
}

func TestLogoutGoesBothWaysOverBothBindings(t *testing.T) {
	for _, binding := range []Binding{BindingRedirect, BindingPOST} {
		t.Run(string(binding), func(t *testing.T) {
			sp, idp := newParty(t, func(c *Config) { c.IDP.SLOBinding = binding }), idpParty(t, binding)
			for _, way := range []struct{ from, to party }{{idp, sp}, {sp, idp}} {
				r, err := way.from.LogoutRequest(genuine(), "state + &")
				if err != nil {
					t.Fatal(err)
				}
				query, form := arrived(r)
				got, err := way.to.ParseLogoutRequest(t.Context(), query, form)
				if err != nil {
					t.Fatal(err)
				}
				want := LogoutRequest{ID: r.ID, NameID: "alice", NameIDFormat: genuine().NameIDFormat, SessionIndexes: []string{"s-1"}, RelayState: "state + &"}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
				answer, err := way.to.LogoutResponse(got, true)
				if err != nil {
					t.Fatal(err)
				}
				query, form = arrived(answer)
				if err := way.from.ParseLogoutResponse(query, form, []string{r.ID}); err != nil {
					t.Fatal(err)
				}
				wantRefusal(t, way.from.ParseLogoutResponse(query, form, []string{"id-other"}), ReasonInResponseTo, "has not open")
				if answer, err = way.to.LogoutResponse(got, false); err != nil {
					t.Fatal(err)
				}
				query, form = arrived(answer)
				wantRefusal(t, way.from.ParseLogoutResponse(query, form, []string{r.ID}), ReasonStatus, "Responder")
			}
		})
	}
}

// TestALogoutRequestRepeatsTheNameIDWhole: an identity provider that wrote
// qualifiers finds nobody without them.
func TestALogoutRequestRepeatsTheNameIDWhole(t *testing.T) {
	const named = `<saml:NameID Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent" NameQualifier="` + testIDP + `" SPNameQualifier="` + testSP + `">alice</saml:NameID>`
	a, err := newParty(t).parse(newDraft().set(map[string]string{"nameID": named}).build())
	if err != nil {
		t.Fatal(err)
	}
	r, err := newParty(t, func(c *Config) { c.IDP.SLOBinding = BindingPOST }).LogoutRequest(a, "")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := decodeBase64(r.Form["SAMLRequest"])
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(raw), named) {
		t.Errorf("the request lacks %s:\n%s", named, raw)
	}
}

func TestSecurityLogoutIsSignedByTheIDP(t *testing.T) {
	redirect, err := idpParty(t, BindingRedirect).LogoutRequest(genuine(), "state")
	if err != nil {
		t.Fatal(err)
	}
	query, _ := arrived(redirect)
	other, err := idpParty(t, BindingRedirect).LogoutRequest(Assertion{NameID: "bob"}, "state")
	if err != nil {
		t.Fatal(err)
	}
	otherQuery, _ := arrived(other)
	before, after, _ := strings.Cut(query, "&RelayState=")
	otherMessage, _, _ := strings.Cut(otherQuery, "&RelayState=")
	evil := func(c *Config) { c.Key, c.Certificate = testPairs().evil.key, testPairs().evil.cert }
	forged, err := idpParty(t, BindingRedirect, evil).LogoutRequest(genuine(), "state")
	if err != nil {
		t.Fatal(err)
	}
	forgedQuery, _ := arrived(forged)
	for name, c := range map[string]struct {
		query  string
		reason Reason
		words  string
	}{
		"unsigned":            {before, ReasonUnsigned, "not signed"},
		"signature cut off":   {query[:strings.Index(query, "&Signature=")], ReasonUnsigned, "not signed"},
		"empty signature":     {query[:strings.Index(query, "&Signature=")] + "&Signature=", ReasonUnsigned, "not signed"},
		"another key":         {forgedQuery, ReasonSignature, "verifies the signature of the query"},
		"another message":     {otherMessage + "&RelayState=" + after, ReasonSignature, "verifies the signature of the query"},
		"another RelayState":  {strings.Replace(query, "RelayState=state", "RelayState=other", 1), ReasonSignature, "verifies the signature of the query"},
		"RelayState added":    {strings.Replace(strings.Replace(query, "RelayState=state&", "", 1), "SAMLRequest=", "RelayState=x&SAMLRequest=", 1), ReasonSignature, "verifies the signature of the query"},
		"a second message":    {otherMessage + "&" + query, ReasonMalformed, "two parameters"},
		"a second RelayState": {query + "&RelayState=x", ReasonMalformed, "two parameters"},
		"SHA-1":               {strings.Replace(query, url.QueryEscape("2001/04/xmldsig-more#rsa-sha256"), url.QueryEscape("2000/09/xmldsig#rsa-sha1"), 1), ReasonAlgorithm, "use RSA with SHA-256"},
		"not base64":          {query + "!", ReasonMalformed, "not base64"},
		"nothing":             {"", ReasonUnsigned, "not signed"},
		"long":                {strings.Repeat("x", 2*maxDocument+1), ReasonTooLarge, "characters"},
	} {
		t.Run("redirect, "+name, func(t *testing.T) {
			p := newParty(t)
			_, err := p.ParseLogoutRequest(t.Context(), c.query, nil)
			wantRefusal(t, err, c.reason, c.words)
			if len(p.claims.taken) > 0 {
				t.Error("claimed")
			}
		})
	}
	post := func(change ...func(*Config)) url.Values {
		r, err := idpParty(t, BindingPOST, change...).LogoutRequest(genuine(), "")
		if err != nil {
			t.Fatal(err)
		}
		_, form := arrived(r)
		return form
	}
	edit := func(old, new string) url.Values {
		raw, err := decodeBase64(post().Get("SAMLRequest"))
		if err != nil {
			t.Fatal(err)
		}
		return url.Values{"SAMLRequest": {base64.StdEncoding.EncodeToString([]byte(strings.Replace(string(raw), old, new, 1)))}}
	}
	unsigned := post()
	raw, _ := decodeBase64(unsigned.Get("SAMLRequest"))
	s := string(raw)
	s = s[:strings.Index(s, "<ds:Signature")] + s[strings.Index(s, "</ds:Signature>")+len("</ds:Signature>"):]
	unsigned.Set("SAMLRequest", base64.StdEncoding.EncodeToString([]byte(s)))
	for name, c := range map[string]struct {
		form   url.Values
		reason Reason
		words  string
	}{
		"unsigned":    {unsigned, ReasonUnsigned, "no signature"},
		"another key": {post(evil), ReasonSignature, "no certificate"},
		"changed":     {edit(">alice<", ">bob<"), ReasonSignature, "no certificate"},
		"comment":     {edit(">alice<", ">al<!---->ice<"), ReasonMalformed, "comments"},
	} {
		t.Run("post, "+name, func(t *testing.T) {
			_, err := newParty(t).ParseLogoutRequest(t.Context(), "", c.form)
			wantRefusal(t, err, c.reason, c.words)
		})
	}
	t.Run("a signed assertion is not a logout request", func(t *testing.T) {
		a := signElement(newDraft().fill(assertionTemplate), signing{})
		_, err := newParty(t).ParseLogoutRequest(t.Context(), "", url.Values{"SAMLRequest": {base64.StdEncoding.EncodeToString([]byte(a))}})
		wantRefusal(t, err, ReasonMalformed, "not a LogoutRequest")
	})
}

func TestSecurityLogoutIsForUsAndNow(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Config)
		reason Reason
		words  string
	}{
		"Destination of another": {func(c *Config) { c.IDP.SLOURL = "https://other.example.com/slo" }, ReasonDestination, "Destination is"},
		"Issuer of another":      {func(c *Config) { c.EntityID = "https://evil.example.com" }, ReasonIssuer, "Issuer is"},
		"long ago":               {func(c *Config) { c.Now = func() time.Time { return testNow().Add(-2 * time.Hour) } }, ReasonExpired, "issued"},
		"ended":                  {func(c *Config) { c.Now = func() time.Time { return testNow().Add(-7 * time.Minute) } }, ReasonExpired, "ended"},
		"in the future":          {func(c *Config) { c.Now = func() time.Time { return testNow().Add(2 * time.Hour) } }, ReasonNotYetValid, "issued"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := idpParty(t, BindingRedirect, c.change).LogoutRequest(genuine(), "")
			if err != nil {
				t.Fatal(err)
			}
			query, form := arrived(r)
			_, err = newParty(t).ParseLogoutRequest(t.Context(), query, form)
			wantRefusal(t, err, c.reason, c.words)
		})
	}
	r, err := idpParty(t, BindingRedirect).LogoutRequest(genuine(), "")
	if err != nil {
		t.Fatal(err)
	}
	query, form := arrived(r)
	p := newParty(t)
	if _, err := p.ParseLogoutRequest(t.Context(), query, form); err != nil {
		t.Fatal(err)
	}
	_, err = p.ParseLogoutRequest(t.Context(), query, form)
	wantRefusal(t, err, ReasonReplayed, "used before")
	_, err = newParty(t, func(c *Config) { c.SLOURL = "" }).ParseLogoutRequest(t.Context(), query, form)
	wantRefusal(t, err, ReasonDestination, "not configured")
	_, err = newParty(t, func(c *Config) { c.IDP.SLOURL = "" }).LogoutRequest(genuine(), "")
	if identity.CodeOf(err) != identity.CodeNotFound {
		t.Fatal(err)
	}
}

func TestSecurityADeflateBombIsBounded(t *testing.T) {
	var bomb bytes.Buffer
	w, err := flate.NewWriter(&bomb, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	block := bytes.Repeat([]byte(" "), 1<<20)
	for range 64 {
		if _, err := w.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	encoded := base64.StdEncoding.EncodeToString(bomb.Bytes())
	if len(encoded) > 2*maxDocument {
		t.Fatal("no bomb: it is refused for its own size")
	}
	// The signature is checked first, so only the IdP could send one at all.
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err = inflated("SAMLRequest", encoded)
	runtime.ReadMemStats(&after)
	wantRefusal(t, coded(err), ReasonTooLarge, "after inflating")
	if used := after.TotalAlloc - before.TotalAlloc; used > 16<<20 {
		t.Errorf("%d MiB were inflated before it was refused", used>>20)
	}
	_, err = newParty(t).ParseLogoutRequest(t.Context(), "SAMLRequest="+url.QueryEscape(encoded)+"&SigAlg=x&Signature=AAAA", nil)
	wantRefusal(t, err, ReasonAlgorithm, "signature algorithm")
	_, err = inflated("SAMLRequest", "AAAA")
	wantRefusal(t, coded(err), ReasonMalformed, "not deflated")
}
