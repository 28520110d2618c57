package main

import (
	"context"
	"os"
	"runtime/debug"

	"github.com/gatehouse-ai/gatehouse/internal/app"
	"github.com/gatehouse-ai/gatehouse/internal/app/settings"
)

// gcPercent trades a few megabytes for CPU: a gateway's live heap is small and
// its garbage short-lived. GOGC in the environment has the last word.
const gcPercent = 400

// runApp starts the server.
func runApp(ctx context.Context, cfg settings.Settings, o serveOptions) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	return app.Run(ctx, cfg, app.Options{Dev: o.dev, Out: o.out, Log: o.log, Version: o.version, Environ: o.environ})
}
