package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newBreakGlass(p process) *cobra.Command {
	c := &cobra.Command{
		Use:   "break-glass",
		Short: "Look after the local administrator for emergencies",
		Args:  unknownCommand,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newBreakGlassReset(p))
	return c
}

func newBreakGlassReset(p process) *cobra.Command {
	c := &cobra.Command{
		Use:   "reset",
		Short: "Take the local administrator's password away and print a link for a new one",
		Long: "Take the local administrator's password away, end their sessions and print a link, which works once and for a\n" +
			"day, by which a new password is chosen. It works on the database and the master key that the settings name:\n" +
			"run it where the server runs, with the server's settings. The server may go on meanwhile.",
		Args: cobra.NoArgs,
	}
	conf := addSettings(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		cfg, log, err := conf.load(p, false)
		if err != nil {
			return err
		}
		link, err := p.resetBreakGlass(c.Context(), cfg, log)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(p.out, link)
		return err
	}
	return c
}
