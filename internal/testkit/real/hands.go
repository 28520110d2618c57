package real

import (
	_ "embed"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
)

//go:embed hands.mjs
var handsScript string

// Hands do on Keycloak's pages what written instructions say, and find things
// by the words that the page shows. What cannot be done is an error that says
// so, for the caller to say which words were wrong.
type Hands struct {
	page   *Page
	script string
}

// Hands are those at a page, which becomes so many pixels wide.
func (p *Page) Hands(width string) *Hands {
	p.t.Helper()
	h := &Hands{page: p, script: filepath.Join(p.t.TempDir(), "hands.mjs")}
	if err := os.WriteFile(h.script, []byte(handsScript), 0o600); err != nil {
		p.t.Fatal(err)
	}
	if _, err := h.Do("wide", "", width); err != nil {
		p.t.Fatal(err)
	}
	return h
}

// Do is one deed:
//
//	open     an address, value
//	see      a text, label
//	press    the button, link, menu item, row or box of a name, label
//	tab      the tab of a name, label
//	fill     value into the field of a label
//	becomes  waits until the field of a label holds value
//	set      the switch of a label to value, On or Off
//	choose   value from the list of a label
//	only     the box of the name value in the field of a label, and no other box
//	attach   the file value, in the window that the last press opened
//	copy     what the field of a label holds, by its button; it is returned
//	confirmed  waits for the page's message of success, which is returned
func (h *Hands) Do(op, label, value string) (string, error) {
	h.page.t.Helper()
	deed, err := json.Marshal(map[string]string{"op": op, "label": label, "value": value})
	if err != nil {
		return "", err
	}
	var answer struct{ Value, Wrong string }
	h.page.op("run", h.script, string(deed), &answer)
	if answer.Wrong != "" {
		return "", errors.New(answer.Wrong)
	}
	return answer.Value, nil
}
