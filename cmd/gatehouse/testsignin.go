package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
)

// newTestSignIn prints the link alone, so that it can stand where a program
// opens one.
func newTestSignIn(p process) *cobra.Command {
	c := &cobra.Command{
		Use:   "test-sign-in CONNECTION",
		Short: "Print a link by which single sign-on is tried before it is enabled",
		Long: "Print a link by which an SsoConnection is tried, enabled or not. Whoever opens it in a browser signs in at\n" +
			"the identity provider and is shown what would come of it. Nobody is signed in and nothing is changed.",
		Args: cobra.ExactArgs(1),
	}
	r := addRemote(c, p)
	c.RunE = func(c *cobra.Command, args []string) error {
		if !v1.ValidName(args[0]) {
			return usagef("%q is not the name of a resource", args[0])
		}
		server, err := r.connect()
		if err != nil {
			return err
		}
		made, err := server.CreateTestSignIn(c.Context(), args[0])
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintf(p.err, "open this in a browser before %s; it signs nobody in\n", made.ExpiresAt.UTC().Format(time.RFC3339))
		_, err = fmt.Fprintln(p.out, made.URL)
		return err
	}
	return c
}
