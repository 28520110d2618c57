//go:build real

package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/testkit"
	"github.com/gatehouse-ai/gatehouse/internal/testkit/real"
)

// newcomer follows docs/sso/keycloak.md to the letter: with a realm of their
// own, a Gatehouse that was just started, and nothing known but what the page
// says.
type newcomer struct {
	*testkit.Gatehouse
	browser *real.ChromiumBrowser
	page    string // the guide, with the addresses of this test
	dir     string // where they keep their files
	before  string // what their shell has been told
}

func newNewcomer(t *testing.T, b *real.ChromiumBrowser, k *real.KeycloakServer, realm string) *newcomer {
	t.Helper()
	n := &newcomer{Gatehouse: testkit.Start(t, testkit.Options{Dev: true}), browser: b, dir: t.TempDir()}
	n.page = strings.NewReplacer(
		"https://gatehouse.acme.com", n.URL(), "https://keycloak.acme.com", k.URL, "http://127.0.0.1:8081", n.IDPURL(),
		"`acme`", "`"+realm+"`", "/realms/acme", "/realms/"+realm, "REALM=acme\n", "REALM="+realm+"\n",
	).Replace(readKeycloakGuide(t))
	token := regexp.MustCompile("`(GATEHOUSE_TOKEN=[^`]+)`").FindStringSubmatch(n.page)
	if token == nil {
		t.Fatal("the guide does not say how to get a token under make run")
	}
	variables, logIn, found := strings.Cut(n.blocks(t, keycloakHeadings[0])["sh"][0], "kcadm.sh ")
	if !found {
		t.Fatal("the guide does not say how to log in with kcadm.sh")
	}
	n.before = k.Commands(t) + "PATH=$PWD/bin:$PATH\n" + token[1] + "\n" + strings.Replace(variables, "GATEHOUSE_TOKEN=…", "GATEHOUSE_TOKEN", 1)
	shell(t, n.dir, n.before, "kcadm.sh "+logIn)
	return n
}

// follow does steps of the guide in a window, and returns what they said to copy.
func (n *newcomer) follow(t *testing.T, h *real.Hands, steps ...guideStep) (copied string) {
	t.Helper()
	for _, s := range steps {
		for _, d := range s.deeds {
			if d.op == "attach" {
				d.value = filepath.Join(n.dir, d.value)
			}
			got, err := h.Do(d.op, d.label, d.value)
			if err != nil {
				t.Fatalf("%s:%d: %s\n%v cannot be done: %v", keycloakGuide, s.line, s.text, d, err)
			}
			copied += got
		}
		// Keycloak answers what is sent to it with a message; the next step may
		// lead away from the page and must not be faster than that.
		switch last := s.deeds[len(s.deeds)-1]; last.label {
		case "Create", "Save", "Save password":
			message, err := h.Do("confirmed", "", "")
			if err != nil {
				t.Fatalf("%s:%d: %s\n%v", keycloakGuide, s.line, s.text, err)
			}
			t.Logf("%s:%d: %s", keycloakGuide, s.line, message)
		}
	}
	return copied
}

// console opens the admin console as the guide says, in a window of the width
// that it asks for.
func (n *newcomer) console(t *testing.T) (*real.Hands, []guideStep) {
	t.Helper()
	steps := guideSteps(t, n.page, keycloakHeadings[0])
	width := regexp.MustCompile(`window (\d+) pixels wide`).FindStringSubmatch(steps[0].text)
	if width == nil {
		t.Fatalf("%s:%d: how wide a window?", keycloakGuide, steps[0].line)
	}
	h := n.browser.Page(t, real.PageOptions{}).Hands(width[1])
	n.follow(t, h, steps[0])
	// "and sign in as an administrator": the one that the test's Keycloak begins with.
	n.follow(t, h, guideStep{steps[0].line, steps[0].text, []deed{
		{"fill", "Username or email", "admin"}, {"fill", "Password", "admin"}, {"press", "Sign In", ""},
	}})
	return h, steps[1:]
}

// blocks are those under a heading.
func (n *newcomer) blocks(t *testing.T, heading string) map[string][]string {
	t.Helper()
	text, _ := guideSection(t, n.page, heading)
	list := map[string][]string{}
	for _, b := range fenced(text) {
		list[b.language] = append(list[b.language], b.text)
	}
	return list
}

// connect applies the connection that stands under a heading and wants the
// command line to say what the guide says, which is the last block of 3.
func (n *newcomer) connect(t *testing.T, heading, secret string) {
	t.Helper()
	b := n.blocks(t, heading)
	write(t, filepath.Join(n.dir, "sso.yaml"), strings.Replace(b["yaml"][0], "the-client-secret", secret, 1))
	out := shell(t, n.dir, n.before, b["sh"][0])
	if want := b[""]; len(want) == 1 && out != want[0] {
		t.Errorf("gatehouse apply prints\n%s\nand the guide says\n%s", out, want[0])
	}
}

// signsIn is the first step of 4.
func (n *newcomer) signsIn(t *testing.T, p *real.Page, h *real.Hands) {
	t.Helper()
	n.follow(t, h, guideSteps(t, n.page, "## 4. Try it")[0])
	signedIn(t, p, n.URL(), "ada@acme.com", "lab")
}

func TestRealTheKeycloakGuideWorksClickByClick(t *testing.T) {
	k, b := real.Keycloak(t), real.Chromium(t)
	t.Run("OpenID Connect", func(t *testing.T) { newNewcomer(t, b, k, "acme").openIDConnect(t) })
	t.Run("SAML", func(t *testing.T) { newNewcomer(t, b, k, "acme-saml").saml(t) })
}

func TestRealTheKeycloakGuideWorksCommandByCommand(t *testing.T) {
	k, b := real.Keycloak(t), real.Chromium(t)
	n := newNewcomer(t, b, k, "acme")
	shell(t, n.dir, n.before, n.blocks(t, "## 1. A realm, a person and a group")["sh"][0])
	said := strings.Fields(shell(t, n.dir, n.before, n.blocks(t, "## 2. The client")["sh"][0]))
	if len(said) == 0 {
		t.Fatal("the guide's commands end without the client's secret")
	}
	n.connect(t, "## 3. The connection", said[len(said)-1])
	p := b.Page(t, real.PageOptions{})
	n.signsIn(t, p, p.Hands("1024"))

	// The same realm by SAML, for a Gatehouse that knows nobody of it yet.
	n = newNewcomer(t, b, k, "acme")
	n.connect(t, "## SAML", "")
	shell(t, n.dir, n.before, n.blocks(t, "## SAML")["sh"][1])
	p = b.Page(t, real.PageOptions{})
	n.signsIn(t, p, p.Hands("1024"))
}

func (n *newcomer) openIDConnect(t *testing.T) {
	console, _ := n.console(t)
	n.follow(t, console, guideSteps(t, n.page, "## 1. A realm, a person and a group")...)
	secret := n.follow(t, console, guideSteps(t, n.page, "## 2. The client")...)
	if secret == "" {
		t.Fatal("the guide's steps end without the client's secret")
	}
	n.connect(t, "## 3. The connection", secret)

	p := n.browser.Page(t, real.PageOptions{})
	n.inAndOut(t, p, p.Hands("1024"))
	b := n.blocks(t, "## 4. Try it")
	sameShape(t, shell(t, n.dir, n.before, b["sh"][0]), b["json"][0])
	n.follow(t, console, guideSteps(t, n.page, "## Groups, realm roles, client roles")...)
}

func (n *newcomer) saml(t *testing.T) {
	console, _ := n.console(t)
	n.follow(t, console, guideSteps(t, n.page, "## 1. A realm, a person and a group")...)
	n.connect(t, "## SAML", "")
	if _, err := os.Stat(filepath.Join(n.dir, "gatehouse-metadata.xml")); err != nil {
		t.Fatal(err)
	}
	// On another day: the console begins in another realm.
	console, realm := n.console(t)
	n.follow(t, console, realm...)
	n.follow(t, console, guideSteps(t, n.page, "## SAML")...)
	p := n.browser.Page(t, real.PageOptions{})
	n.inAndOut(t, p, p.Hands("1024"))
}

// inAndOut is all of 4: in, out at Keycloak, in, out here.
func (n *newcomer) inAndOut(t *testing.T, p *real.Page, h *real.Hands) {
	t.Helper()
	try := guideSteps(t, n.page, "## 4. Try it")
	if len(try) != 3 {
		t.Fatalf("%d steps to try it; this test knows of sign-in and sign-out at either end", len(try))
	}
	n.signsIn(t, p, h)
	n.follow(t, h, try[1])
	eventually(t, 10*time.Second, "the sign-out at Keycloak ends our session", func() bool {
		status, _ := whoIs(t, p, n.URL())
		return status == http.StatusUnauthorized
	})
	n.signsIn(t, p, h)
	n.follow(t, h, try[2])
	signedOut(t, p, n.URL())
	n.signsIn(t, p, h) // its step types the password, which it could not if Keycloak knew ada still
}

// sameShape compares an answer with the one that the guide prints, but for
// what is made anew each time.
func sameShape(t *testing.T, got, want string) {
	t.Helper()
	var values [2]any
	for i, text := range []string{got, want} {
		if err := json.Unmarshal([]byte(text), &values[i]); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		values[i] = withoutChance(values[i])
	}
	if !reflect.DeepEqual(values[0], values[1]) {
		t.Errorf("the answer is\n%v\nand the guide says\n%v", values[0], values[1])
	}
}

func withoutChance(v any) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = withoutChance(v[i])
		}
	case map[string]any:
		for key := range v {
			switch key {
			case "uid", "version", "subject", "createdAt", "linkedAt", "expiresAt":
				v[key] = reflect.TypeOf(v[key]).Name()
			default:
				v[key] = withoutChance(v[key])
			}
		}
	}
	return v
}
