package main

import (
	"context"
	"errors"

	"github.com/gatehouse-ai/gatehouse/internal/app/settings"
)

// runApp starts the server.
func runApp(context.Context, settings.Settings, serveOptions) error {
	return errors.New("this build has no server")
}
