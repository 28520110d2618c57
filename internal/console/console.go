package console

import (
	"net/http"
)

const page = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Gatehouse</title>
<style>
:root { color-scheme: light dark; }
body { font: 1rem/1.6 system-ui, sans-serif; max-width: 40rem; margin: 4rem auto; padding: 0 1rem; }
code { font-family: ui-monospace, monospace; }
li { margin: .4rem 0; }
</style>
</head>
<body>
<main>
<h1>Gatehouse is running</h1>
<p>This version has no web console yet. Everything is in the API and the command line:</p>
<ul>
<li><a href="/api/v1/openapi.json">The control API's description</a></li>
<li><code>gatehouse apply -f manifests/</code> writes configuration,
    <code>gatehouse get provider-accounts</code> reads it</li>
<li><code>gatehouse explain --token-file token --model account/model</code> says why something is allowed or denied</li>
</ul>
</main>
</body>
</html>
`

// Register adds the console's routes.
func Register(mux *http.ServeMux) {
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/console/", http.StatusFound)
	})
	mux.HandleFunc("GET /console/", func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		_, _ = w.Write([]byte(page)) // the client is gone: nobody to tell
	})
}
