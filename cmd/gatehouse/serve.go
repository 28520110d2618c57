package main

import (
	"context"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func newServe(p process) *cobra.Command {
	role := "all"
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the gateway, the control API and the console",
		Args:  cobra.NoArgs,
	}
	c.Flags().StringVar(&role, "role", role, "all, gateway or control")
	conf := addSettings(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		switch role {
		case "all":
		case "gateway", "control":
			return usagef("--role: %s is not in this version: one process does all of it; use --role all", role)
		default:
			return usagef("--role: %q is not known; use all, gateway or control", role)
		}
		return serve(c.Context(), p, conf, false)
	}
	return c
}

// serve runs a server until it fails or is told to stop. A second signal ends
// the process at once.
func serve(ctx context.Context, p process, conf *configuration, dev bool) error {
	cfg, log, err := conf.load(p, dev)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	return p.serve(ctx, cfg, serveOptions{dev: dev, out: p.out, log: log, version: version(), environ: p.environ})
}
