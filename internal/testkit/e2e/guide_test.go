package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// A deed is one thing that a step of a guide says to do, with a name that
// real.Hands knows.
type deed struct{ op, label, value string }

// A guideStep is one numbered step of a page.
type guideStep struct {
	line  int
	text  string
	deeds []deed
}

// guideSection cuts out what stands under a heading of a page, before the next
// one, and returns the line that it begins at.
func guideSection(t testing.TB, page, heading string) (text string, line int) {
	t.Helper()
	before, rest, found := strings.Cut(page, "\n"+heading+"\n")
	if !found {
		t.Fatalf("the page has no heading %q", heading)
	}
	text, _, _ = strings.Cut(rest, "\n## ")
	return text, strings.Count(before, "\n") + 3
}

var numbered = regexp.MustCompile(`^\d+\. (.*)$`)

// guideSteps reads the numbered steps under a heading. A step that cannot be
// read fails the test.
func guideSteps(t testing.TB, page, heading string) (list []guideStep) {
	t.Helper()
	text, line := guideSection(t, page, heading)
	for i, said := range strings.Split(text, "\n") {
		m := numbered.FindStringSubmatch(said)
		if m == nil {
			continue
		}
		deeds, err := readStep(m[1])
		if err != nil {
			t.Fatalf("line %d: %v", line+i, err)
		}
		list = append(list, guideStep{line + i, m[1], deeds})
	}
	return list
}

var (
	aside     = regexp.MustCompile(` \([^()]*\)`)
	mark      = regexp.MustCompile("`([^`]+)`|\\*\\*([^*]+)\\*\\*")
	clauseEnd = regexp.MustCompile(`→|[.,;:](?:\s|$)`)
	oneMark   = regexp.MustCompile(`^(.*?) ?([CB])(\d+)\x00 ?(.*)$`)
)

// readStep reads what a step says to do. A step is clauses, with an arrow or a
// mark of punctuation between them. What is pressed or chosen stands in bold,
// what is typed or picked from a table as code. Words without either are for
// the reader, as is what stands in brackets; before a colon they are a heading
// that is there to be seen.
func readStep(text string) (deeds []deed, err error) {
	var marks []string
	// The marks may hold punctuation of their own, so they are taken out first.
	text = aside.ReplaceAllString(mark.ReplaceAllStringFunc(text, func(m string) string {
		kind := "B"
		if m[0] == '`' {
			kind = "C"
		}
		marks = append(marks, strings.Trim(m, "`*"))
		return kind + strconv.Itoa(len(marks)-1) + "\x00"
	}), "")
	for len(text) > 0 {
		clause, end := text, ""
		if at := clauseEnd.FindStringIndex(text); at != nil {
			clause, end, text = text[:at[0]], text[at[0]:at[1]], text[at[1]:]
		} else {
			text = ""
		}
		clause = strings.TrimSpace(clause)
		m := oneMark.FindStringSubmatch(clause)
		switch {
		case m == nil && strings.HasPrefix(end, ":"):
			deeds = append(deeds, deed{"see", clause, ""})
		case m != nil:
			i, err := strconv.Atoi(m[3])
			if err != nil {
				return nil, err
			}
			d, ok := readClause(m[1], m[2] == "B", marks[i], m[4])
			if !ok {
				return nil, fmt.Errorf("%q is not how a guide says what to do", strings.Replace(clause, m[2]+m[3]+"\x00", marks[i], 1))
			}
			deeds = append(deeds, d)
		}
	}
	return deeds, nil
}

// readClause reads a clause with one mark, by the words before and after it.
func readClause(before string, bold bool, marked, after string) (deed, bool) {
	first, _ := utf8.DecodeRuneInString(before)
	label := unicode.IsUpper(first) // labels begin so, and what is around them does not
	switch {
	case !bold && (before == "Open" || before == "open"):
		return deed{"open", "", marked}, true
	case strings.ContainsRune(after, 0):
		return deed{}, false
	case before == "" && after == "":
		return deed{"press", marked, ""}, true
	case bold && before == "" && after == "tab":
		return deed{"tab", marked, ""}, true
	case bold && before == "copy the" && after == "":
		return deed{"copy", marked, ""}, true
	case !bold && before == "choose" && after == "":
		return deed{"attach", "", marked}, true
	case bold && label && after == "only":
		return deed{"only", before, marked}, true
	case !label || after != "":
		return deed{}, false
	case !bold && strings.HasSuffix(before, " becomes"):
		return deed{"becomes", strings.TrimSuffix(before, " becomes"), marked}, true
	case !bold:
		return deed{"fill", before, marked}, true
	case marked == "On" || marked == "Off":
		return deed{"set", before, marked}, true
	}
	return deed{"choose", before, marked}, true
}

const keycloakGuide = "docs/sso/keycloak.md"

// The headings under which the guide has steps to click.
var keycloakHeadings = []string{"## What you need", "## 1. A realm, a person and a group", "## 2. The client", "## 4. Try it", "## Groups, realm roles, client roles", "## SAML"}

func readKeycloakGuide(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, keycloakGuide))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Whoever changes the guide learns here, without a Keycloak, that the test that
// follows its steps can read them still.
func TestEveryStepOfTheKeycloakGuideCanBeFollowedWordByWord(t *testing.T) {
	page := readKeycloakGuide(t)
	count := 0
	for _, heading := range keycloakHeadings {
		steps := guideSteps(t, page, heading)
		for _, s := range steps {
			if len(s.deeds) == 0 {
				t.Errorf("%s:%d: nothing is to be done: %s", keycloakGuide, s.line, s.text)
			}
		}
		if len(steps) == 0 {
			t.Errorf("%s: no steps under %q", keycloakGuide, heading)
		}
		count += len(steps)
	}
	if all := len(regexp.MustCompile(`(?m)^\d+\. `).FindAllString(page, -1)); all != count {
		t.Errorf("%s has %d numbered steps, and %d of them are followed: name the heading of the others", keycloakGuide, all, count)
	}
}

func TestAStepThatIsSaidInOtherWordsIsRefusedNotPassedOver(t *testing.T) {
	for text, want := range map[string]string{
		"**Groups** → **Create group**. Name `a.b, c` → **Create**.":                        "[{press Groups } {press Create group } {fill Name a.b, c} {press Create }]",
		"Capability config: Login **On** (by default), Kind **S256**. Leave the others.":    "[{see Capability config } {set Login On} {choose Kind S256}]",
		"**Keys** tab: copy the **Secret**; open `http://x/` in a window → Flow **A** only": "[{tab Keys } {copy Secret } {open  http://x/} {only Flow A}]",
		"File: **Browse...**, choose `a.xml`: Name becomes `a`":                             "[{see File } {press Browse... } {attach  a.xml} {becomes Name a}]",
		"press **Save**":           "error",
		"twice `password`":         "error",
		"**Save** and **Next**":    "error",
		"**Groups** on the left":   "error",
		"Name `a` and Other `b`":   "error",
		"the scope named `groups`": "error",
	} {
		got := "error"
		if deeds, err := readStep(text); err == nil {
			got = fmt.Sprint(deeds)
		}
		if got != want {
			t.Errorf("%s\nis read as %s\nwant       %s", text, got, want)
		}
	}
}
