package saml

import (
	"encoding/xml"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/crewjam/saml"
	dsig "github.com/russellhaering/goxmldsig"
)

// others is what another implementation, the Go library crewjam/saml as an
// identity provider, knows of us: our metadata, as it reads them.
type others struct{ sp *saml.EntityDescriptor }

func (o others) GetServiceProvider(_ *http.Request, id string) (*saml.EntityDescriptor, error) {
	if id != o.sp.EntityID {
		return nil, os.ErrNotExist
	}
	return o.sp, nil
}

func TestAnotherImplementationSignsInWithUs(t *testing.T) {
	for _, encryption := range []Encryption{EncryptionOff, EncryptionRequired} {
		for _, binding := range []Binding{BindingRedirect, BindingPOST} {
			t.Run(string(encryption)+" "+string(binding), func(t *testing.T) {
				c := testConfig()
				c.Now, c.Encryption = time.Now, encryption // that library has its own clock
				key := newPair(time.Now())
				raw, err := Metadata(c)
				if err != nil {
					t.Fatal(err)
				}
				var sp saml.EntityDescriptor
				if err := xml.Unmarshal(raw, &sp); err != nil {
					t.Fatal(err)
				}
				idp := &saml.IdentityProvider{
					Key: key.key, Certificate: key.cert, ServiceProviderProvider: others{&sp},
					SignatureMethod: dsig.RSASHA256SignatureMethod, // its default is SHA-1
					MetadataURL:     url.URL{Scheme: "https", Host: "idp.example.com", Path: "/metadata"},
					SSOURL:          url.URL{Scheme: "https", Host: "idp.example.com", Path: "/sso"},
				}
				if raw, err = xml.Marshal(idp.Metadata()); err != nil {
					t.Fatal(err)
				}
				described, err := ParseMetadata(raw, "")
				if err != nil {
					t.Fatal(err)
				}
				described.SSOBinding = binding
				p := newParty(t, func(to *Config) { c.IDP, c.Claim = described, to.Claim; *to = c })
				r, err := p.AuthnRequest("state", RequestOptions{})
				if err != nil {
					t.Fatal(err)
				}
				a, err := p.ParseResponse(t.Context(), answered(t, idp, r), []string{r.ID})
				if err != nil {
					t.Fatal(err)
				}
				if a.NameID != "alice" || a.Encrypted != (encryption == EncryptionRequired) || a.InResponseTo != r.ID {
					t.Errorf("%+v", a)
				}
			})
		}
	}
}

// answered is that identity provider's answer to our request.
func answered(t *testing.T, idp *saml.IdentityProvider, r Request) url.Values {
	t.Helper()
	h := httptest.NewRequest(http.MethodGet, r.URL, nil)
	if r.Binding == BindingPOST {
		h = httptest.NewRequest(http.MethodPost, r.URL, nil)
		h.PostForm = url.Values{}
		for k, v := range r.Form {
			h.PostForm.Set(k, v)
		}
		h.Form = h.PostForm
	}
	req, err := saml.NewIdpAuthnRequest(idp, h)
	if err != nil {
		t.Fatal(err)
	}
	if err := req.Validate(); err != nil {
		t.Fatal(err)
	}
	session := &saml.Session{ID: "1", NameID: "alice", Index: "s-1", CreateTime: time.Now(), ExpireTime: time.Now().Add(time.Hour), UserEmail: "alice@example.com"}
	if err := (saml.DefaultAssertionMaker{}).MakeAssertion(req, session); err != nil {
		t.Fatal(err)
	}
	form, err := req.PostBinding()
	if err != nil {
		t.Fatal(err)
	}
	if form.RelayState != "state" || form.URL != testACS {
		t.Fatalf("%s %s", form.RelayState, form.URL)
	}
	return url.Values{"SAMLResponse": {form.SAMLResponse}}
}
