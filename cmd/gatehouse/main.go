package main

import (
	"context"
	"os"

	"github.com/gatehouse-ai/gatehouse/internal/app"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], process{
		in: os.Stdin, out: os.Stdout, err: os.Stderr, environ: os.Environ(), serve: runApp, resetBreakGlass: app.ResetBreakGlass,
	}))
}
