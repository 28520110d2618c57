package devidp

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"html/template"
	"net/http"
	"strings"
)

// page is one of the provider's few pages.
type page struct {
	Title  string
	Client string
	Text   string
	Error  string
	Users  []User
	Params []param
	Hint   string
	Lines  []string
}

// The colours have a contrast of at least 4.5 to 1 in both schemes; borders of
// controls and the focus ring at least 3 to 1 (WCAG 2.2, 1.4.3 and 1.4.11).
const pageStyle = `
:root { color-scheme: light dark; --ground: #f4f6f8; --card: #ffffff; --text: #1a2129; --quiet: #4a5663; --line: #75818e; --accent: #0b57a4; --warn: #fff2cc; --warntext: #4d3800 }
@media (prefers-color-scheme: dark) { :root { --ground: #12161b; --card: #1c2229; --text: #eef2f6; --quiet: #b3bec9; --line: #7f8b98; --accent: #8cc2ff; --warn: #3d3000; --warntext: #ffe7a3 } }
* { box-sizing: border-box }
body { margin: 0; min-height: 100vh; background: var(--ground); color: var(--text); font: 1rem/1.5 system-ui, sans-serif }
.warning { margin: 0; padding: .6rem 1rem; background: var(--warn); color: var(--warntext); text-align: center }
main { max-width: 30rem; margin: 8vh auto 2rem; padding: 1rem }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .75rem; padding: 2rem }
h1 { margin: 0 0 .25rem; font-size: 1.5rem; line-height: 1.25 }
p { margin: .25rem 0 1.25rem; color: var(--quiet) }
.warning strong, .warning { color: var(--warntext) }
ul { list-style: none; margin: 0; padding: 0; display: grid; gap: .75rem }
button { width: 100%; min-height: 3.5rem; padding: .6rem 1rem; text-align: left; font: inherit; color: var(--text); background: transparent; border: 1px solid var(--line); border-radius: .5rem; cursor: pointer; overflow-wrap: anywhere }
button:hover { border-color: var(--accent); box-shadow: inset 0 0 0 1px var(--accent) }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px }
button span { display: block; color: var(--quiet); font-size: .875rem }
.cancel { margin-top: 1rem; min-height: 2.75rem; width: auto; border: 0; color: var(--accent); text-decoration: underline; padding: .4rem 0 }
pre { overflow-x: auto; padding: .75rem; border: 1px solid var(--line); border-radius: .5rem; font-size: .8125rem }
`

const pageHTML = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{.Title}} · Gatehouse development identity provider</title>
<style>{{.Style}}</style>
</head>
<body>
<p class="warning" role="note"><strong>Development only.</strong> Anybody on this machine can sign in as any of these users.</p>
<main>
<div class="card">
<h1>{{.Title}}</h1>
{{- if .Error}}<p role="alert">{{.Error}}</p>{{end}}
{{- if .Text}}<p>{{.Text}}</p>{{end}}
{{- if .Client}}<p>Choose who you want to be in <strong>{{.Client}}</strong>.</p>
<form method="post" action="/authorize">
{{- range .Params}}<input type="hidden" name="{{.Name}}" value="{{.Value}}">{{end}}
<ul>
{{- range .Users}}
<li><button type="submit" name="user" value="{{.Email}}"{{if eq .Email $.Hint}} autofocus{{end}}>{{.Name}}<span>{{.Email}}</span></button></li>
{{- end}}
</ul>
<button class="cancel" type="submit" name="user" value="">Cancel</button>
</form>
{{- end}}
{{- range .Lines}}<pre tabindex="0">{{.}}</pre>{{end}}
</div>
</main>
</body>
</html>
`

func (p *Provider) render(w http.ResponseWriter, status int, content page) {
	// Parsed here: the page is rare, and a package has no state of its own.
	t, err := template.New("page").Parse(pageHTML)
	var b bytes.Buffer
	if err == nil {
		err = t.Execute(&b, struct {
			page
			Style template.CSS
		}{content, pageStyle}) //nolint:gosec // a constant
	}
	if err != nil {
		http.Error(w, "the page could not be made", http.StatusInternalServerError)
		return
	}
	sum := sha256.Sum256([]byte(pageStyle))
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	// No form-action: browsers apply it to the redirect back to the client too.
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'; base-uri 'none'; frame-ancestors 'none'")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
}

func (p *Provider) fail(w http.ResponseWriter, message string) {
	p.render(w, http.StatusBadRequest, page{Title: "This sign-in cannot go on", Error: message})
}

// index says what this is, and how a shell gets a token.
func (p *Provider) index(w http.ResponseWriter, _ *http.Request) {
	content := page{Title: "Gatehouse development identity provider", Text: "A token for one of the users, for trying things out:"}
	for _, u := range p.users {
		content.Lines = append(content.Lines, "curl -s '"+p.issuer+"/dev/token?user="+strings.ReplaceAll(u.Email, "'", "%27")+"'")
	}
	p.render(w, http.StatusOK, content)
}
