package real

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/testkit/testcert"
)

//go:embed saml-idp.mjs
var samlIDPScript string

// SAMLOptions says whom npm samlp signs in, where to, and how.
type SAMLOptions struct {
	ACSURL string
	// SLOURL is where logout messages go to, and EntityID the name under which
	// the service provider writes its own. Empty: no single logout.
	SLOURL, EntityID string
	// SPCertificate is the PEM of the certificate that requests are signed with.
	SPCertificate string
	NameID        string
	Attributes    map[string]any
	// Options go to samlp.auth as they are: signResponse, encryptionCert,
	// encryptionPublicKey, encryptionAlgorithm and the like.
	Options map[string]any
}

// SAMLServer is a running npm samlp identity provider.
type SAMLServer struct {
	URL    string // its entityID is URL/metadata, which is where its metadata is
	client *http.Client
}

// SAMLP starts an npm samlp and waits until it shows its metadata.
func SAMLP(t testing.TB, opts SAMLOptions) *SAMLServer {
	t.Helper()
	c := need(t, "samlp")
	dir, port := t.TempDir(), freePort(t)
	s := &SAMLServer{URL: fmt.Sprintf("http://127.0.0.1:%d", port), client: newClient(t, nil)}
	if err := os.Symlink(filepath.Join(c.values["dir"], "node_modules"), filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "saml-idp.mjs"), []byte(samlIDPScript), 0o600); err != nil {
		t.Fatal(err)
	}
	pair := testcert.RSA("samlp")
	rig, err := json.Marshal(map[string]any{
		"port": port, "issuer": s.EntityID(), "key": string(pair.Key), "cert": string(pair.Cert), "acs": opts.ACSURL, "slo": opts.SLOURL, "sp": opts.EntityID, "spCert": opts.SPCertificate,
		"user": map[string]any{"nameID": opts.NameID, "attributes": opts.Attributes}, "options": opts.Options,
	})
	if err != nil {
		t.Fatal(err)
	}
	proc := start(t, spec{name: "samlp", dir: dir, argv: []string{NodeBin(t), "saml-idp.mjs"}, env: []string{"RIG=" + string(rig)}})
	proc.waitHTTP(t, s.client, s.EntityID(), 30*time.Second)
	return s
}

// EntityID is the identity provider's name, and where its metadata is.
func (s *SAMLServer) EntityID() string { return s.URL + "/metadata" }

// Metadata is what the identity provider says of itself.
func (s *SAMLServer) Metadata(t testing.TB) []byte {
	t.Helper()
	status, body := fetch(t, s.client, http.MethodGet, s.EntityID(), nil)
	if status != http.StatusOK {
		t.Fatalf("metadata: %d %s", status, body)
	}
	return body
}

// SLOURL is where it takes logout messages, and where somebody who opens it
// without one is signed out everywhere.
func (s *SAMLServer) SLOURL() string { return s.URL + "/slo" }

// SignedIn is how many sessions of service providers it knows of.
func (s *SAMLServer) SignedIn(t testing.TB) string {
	t.Helper()
	status, body := fetch(t, s.client, http.MethodGet, s.URL+"/participants", nil)
	if status != http.StatusOK {
		t.Fatalf("participants: %d %s", status, body)
	}
	return string(body)
}

// SignIn takes a request to the identity provider as a browser does, by GET, or
// by POST where form is not nil, and returns the status and the fields of the
// form that it answers with.
func (s *SAMLServer) SignIn(t testing.TB, target string, form map[string]string) (int, url.Values) {
	t.Helper()
	status, body := send(t, s.client, target, form)
	_, fields := htmlForm(body)
	return status, fields
}

func send(t testing.TB, client *http.Client, target string, form map[string]string) (int, []byte) {
	t.Helper()
	if form == nil {
		return fetch(t, client, http.MethodGet, target, nil)
	}
	values := url.Values{}
	for k, v := range form {
		values.Set(k, v)
	}
	return fetch(t, client, http.MethodPost, target, strings.NewReader(values.Encode()))
}

func fetch(t testing.TB, client *http.Client, method, target string, body io.Reader) (int, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, target, body)
	if err != nil {
		t.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, 4<<20))
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, raw
}

// htmlForm reads the action and the named inputs of the page's form.
func htmlForm(page []byte) (string, url.Values) {
	attribute := func(tag, name string) string {
		m := regexp.MustCompile(`(?is)\s` + name + `\s*=\s*"([^"]*)"`).FindStringSubmatch(tag)
		if m == nil {
			return ""
		}
		return html.UnescapeString(m[1])
	}
	action, fields := "", url.Values{}
	if tag := regexp.MustCompile(`(?is)<form\b[^>]*>`).Find(page); tag != nil {
		action = attribute(string(tag), "action")
	}
	for _, tag := range regexp.MustCompile(`(?is)<input\b[^>]*>`).FindAll(page, -1) {
		if name := attribute(string(tag), "name"); name != "" {
			fields.Set(name, attribute(string(tag), "value"))
		}
	}
	return action, fields
}

// AddSAMLClient registers a service provider in the realm from its metadata, as
// an administrator imports a file, with mappers for the attributes email and
// groups, and sets attributes of the client besides.
func (k *KeycloakServer) AddSAMLClient(t testing.TB, metadata []byte, attributes map[string]string) {
	t.Helper()
	token := postToken(t, k.client, k.URL+"/realms/master/protocol/openid-connect/token", url.Values{
		"grant_type": {"password"}, "client_id": {"admin-cli"}, "username": {"admin"}, "password": {"admin"},
	})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, k.URL+"/admin/realms/gatehouse/client-description-converter", bytes.NewReader(metadata))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token.Access)
	req.Header.Set("Content-Type", "application/xml")
	var client map[string]any
	if err := doJSON(k.client, req, &client); err != nil {
		t.Fatalf("Keycloak did not read our metadata: %v", err)
	}
	own, _ := client["attributes"].(map[string]any)
	if own == nil {
		own = map[string]any{}
	}
	for name, value := range attributes {
		own[name] = value
	}
	client["attributes"] = own
	client["protocolMappers"] = []map[string]any{
		{
			"name": "email", "protocol": "saml", "protocolMapper": "saml-user-property-mapper",
			"config": map[string]string{"user.attribute": "email", "attribute.name": "email", "attribute.nameformat": "Basic"},
		},
		{
			"name": "groups", "protocol": "saml", "protocolMapper": "saml-group-membership-mapper",
			"config": map[string]string{"attribute.name": "groups", "attribute.nameformat": "Basic", "single": "true", "full.path": "false"},
		},
	}
	k.admin(t, http.MethodPost, "/clients", client, nil)
}

// SetSAMLClient changes attributes of a service provider of the realm.
func (k *KeycloakServer) SetSAMLClient(t testing.TB, entityID string, attributes map[string]string) {
	t.Helper()
	k.changeClient(t, entityID, func(client map[string]any) {
		own, _ := client["attributes"].(map[string]any)
		for name, value := range attributes {
			own[name] = value
		}
	})
}

// SetSAMLLogout says whether Keycloak ends a service provider's sessions by way
// of the browser (Front channel logout), or by requests of its own.
func (k *KeycloakServer) SetSAMLLogout(t testing.TB, entityID string, front bool) {
	t.Helper()
	k.changeClient(t, entityID, func(client map[string]any) { client["frontchannelLogout"] = front })
}

// SAMLMetadata is the realm's metadata as an identity provider.
func (k *KeycloakServer) SAMLMetadata(t testing.TB) []byte {
	t.Helper()
	status, body := fetch(t, k.client, http.MethodGet, k.Issuer()+"/protocol/saml/descriptor", nil)
	if status != http.StatusOK {
		t.Fatalf("SAML descriptor: %d %s", status, body)
	}
	return body
}

// Browser is somebody's browser at Keycloak: it keeps cookies.
type Browser struct {
	client *http.Client
	user   string
}

// Browser opens one for a user of the realm.
func (k *KeycloakServer) Browser(t testing.TB, user string) *Browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := *k.client
	client.Jar = jar
	// Keycloak sends the browser around on its own pages; the way out of them
	// is for the caller to see.
	client.CheckRedirect = func(to *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(to.URL.String(), k.URL+"/") {
			return nil
		}
		return http.ErrUseLastResponse
	}
	return &Browser{client: &client, user: user}
}

// SAML takes a message to Keycloak, by GET, or by POST where form is not nil,
// signs in when it is asked to, and returns the form that the browser is to
// send on from there: the address and the fields.
func (b *Browser) SAML(t testing.TB, target string, form map[string]string) (string, url.Values) {
	t.Helper()
	status, body := send(t, b.client, target, form)
	action, fields := htmlForm(body)
	if fields.Has("username") || fields.Has("password") {
		status, body = send(t, b.client, action, map[string]string{
			"username": b.user, "password": b.user + "-development-password", "credentialId": "",
		})
		action, fields = htmlForm(body)
	}
	if !fields.Has("SAMLResponse") && !fields.Has("SAMLRequest") {
		t.Fatalf("Keycloak answered %d without a SAML message: %.2000s", status, body)
	}
	return action, fields
}

// XMLSecVerify lets Debian's xmlsec1 verify the enveloped signature of an
// element of a document, by a certificate in PEM, and returns what it printed.
func XMLSecVerify(t testing.TB, document []byte, element, certificate string) (string, error) {
	t.Helper()
	c := need(t, "xmlsec1")
	dir := t.TempDir()
	for name, content := range map[string][]byte{"doc.xml": document, "cert.pem": []byte(certificate)} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), c.values["bin"], "--verify", "--enabled-key-data", "raw-x509-cert",
		"--pubkey-cert-pem", filepath.Join(dir, "cert.pem"), "--id-attr:ID", element, filepath.Join(dir, "doc.xml"))
	out, err := cmd.CombinedOutput()
	return string(out), err
}
