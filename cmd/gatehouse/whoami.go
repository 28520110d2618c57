package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

func newWhoami(p process) *cobra.Command {
	output := "text"
	c := &cobra.Command{
		Use:   "whoami",
		Short: "Say who the server takes you for",
		Args:  cobra.NoArgs,
	}
	c.Flags().StringVarP(&output, "output", "o", output, "text or json")
	r := addRemote(c, p)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if output != "text" && output != "json" {
			return usagef("--output: %q is not known; use text or json", output)
		}
		server, err := r.connect()
		if err != nil {
			return err
		}
		me, err := server.Me(c.Context())
		if err != nil {
			return err
		}
		if output == "json" {
			b, err := json.MarshalIndent(me, "", "  ")
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(p.out, string(b))
			return err
		}
		var teams []string
		for _, t := range me.Teams {
			teams = append(teams, t.Name)
		}
		via := me.Via
		if me.IdentityProvider != "" {
			via += " of " + me.IdentityProvider
		}
		lines := []string{me.Kind + ":" + me.Name, "via       " + via, "subjects  " + strings.Join(me.Subjects, ", "), "teams     " + strings.Join(teams, ", ")}
		if me.Admin {
			lines = append(lines, "admin     yes")
		}
		for _, line := range lines {
			if _, err := fmt.Fprintln(p.out, strings.TrimRight(line, " ")); err != nil {
				return err
			}
		}
		return nil
	}
	return c
}
