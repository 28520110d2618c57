package main

import "github.com/spf13/cobra"

func newDev(p process) *cobra.Command {
	c := &cobra.Command{
		Use:   "dev",
		Short: "Run everything on this machine, for trying it out",
		Long: "Run everything on this machine, for trying it out: SQLite in ./.gatehouse/, a provider that echoes, and a development\n" +
			"identity provider with the users admin@example.com and member@example.com. Loopback addresses only.",
		Args: cobra.NoArgs,
	}
	conf := addSettings(c)
	c.RunE = func(c *cobra.Command, _ []string) error { return serve(c.Context(), p, conf, true) }
	return c
}
