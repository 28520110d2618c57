package main

import (
	"encoding/json"
	"fmt"
	"net/http"
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
		res, err := r.call(c.Context(), request{method: http.MethodGet, path: "/api/v1/me"})
		if err != nil {
			return err
		}
		if output == "json" {
			_, err := fmt.Fprintln(p.out, strings.TrimSpace(string(res.body)))
			return err
		}
		var me struct {
			Kind     string   `json:"kind"`
			Name     string   `json:"name"`
			Via      string   `json:"via"`
			Provider string   `json:"identityProvider"`
			Admin    bool     `json:"admin"`
			Subjects []string `json:"subjects"`
			Teams    []struct {
				Name string `json:"name"`
			} `json:"teams"`
		}
		if err := json.Unmarshal(res.body, &me); err != nil {
			return fmt.Errorf("the server's answer cannot be read: %w", err)
		}
		var teams []string
		for _, t := range me.Teams {
			teams = append(teams, t.Name)
		}
		via := me.Via
		if me.Provider != "" {
			via += " of " + me.Provider
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
