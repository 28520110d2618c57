package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/client"
)

// newToken prints the token that the other commands use, so that it can stand
// where a program asks for a command that prints one.
func newToken(p process) *cobra.Command {
	c := &cobra.Command{
		Use:   "token",
		Short: "Print your access token, nothing else",
		Args:  cobra.NoArgs,
	}
	r := addRemote(c, p)
	c.RunE = func(*cobra.Command, []string) error {
		token, err := r.token()
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(p.out, token)
		return err
	}
	c.AddCommand(newTokenCreate(p))
	return c
}

// tokenWish is what the flags of token create say.
type tokenWish struct {
	name, expiresIn, account string
	models, cidrs            []string
}

func newTokenCreate(p process) *cobra.Command {
	var w tokenWish
	c := &cobra.Command{
		Use:   "create --name NAME",
		Short: "Make a token and print it, once",
		Long:  "Make a personal access token, or one of a virtual account, and print it. It is never shown again.",
		Args:  cobra.NoArgs,
	}
	c.Flags().StringVar(&w.name, "name", "", "what the token is for")
	c.Flags().StringVar(&w.expiresIn, "expires-in", "", "how long it works, such as 90d")
	c.Flags().StringVar(&w.account, "virtual-account", "", "make a token of this virtual account instead")
	c.Flags().StringArrayVar(&w.models, "model", nil, "narrow it to this model (ACCOUNT/MODEL or ACCOUNT/*); may be given again")
	c.Flags().StringArrayVar(&w.cidrs, "cidr", nil, "narrow it to callers from this range; may be given again")
	r := addRemote(c, p)
	c.RunE = func(c *cobra.Command, _ []string) error {
		request, err := w.request()
		if err != nil {
			return err
		}
		server, err := r.connect()
		if err != nil {
			return err
		}
		var made *client.NewToken
		if w.account != "" {
			made, err = server.CreateVirtualAccountToken(c.Context(), w.account, request)
		} else {
			made, err = server.CreateMyToken(c.Context(), request)
		}
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintf(p.err, "token %s, good until %s; it is not shown again\n", made.ID, made.ExpiresAt.UTC().Format(time.RFC3339))
		_, err = fmt.Fprintln(p.out, made.Secret.Reveal())
		return err
	}
	return c
}

func (w *tokenWish) request() (client.TokenRequest, error) {
	if strings.TrimSpace(w.name) == "" {
		return client.TokenRequest{}, usagef("--name: is required: what the token is for")
	}
	if _, err := v1.Duration(w.expiresIn).Parse(); err != nil {
		return client.TokenRequest{}, usagef("--expires-in: %v", err)
	}
	if w.account != "" && !v1.ValidName(w.account) {
		return client.TokenRequest{}, usagef("--virtual-account: %q is not the name of a resource", w.account)
	}
	request := client.TokenRequest{Name: w.name, ExpiresIn: v1.Duration(w.expiresIn)}
	if w.models != nil || w.cidrs != nil {
		request.Narrowing = &client.Narrowing{Models: w.models, CIDR: w.cidrs}
	}
	return request, nil
}
