package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
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

func newTokenCreate(p process) *cobra.Command {
	var name, expiresIn, account string
	var models, cidrs []string
	c := &cobra.Command{
		Use:   "create --name NAME",
		Short: "Make a token and print it, once",
		Long:  "Make a personal access token, or one of a virtual account, and print it. It is never shown again.",
		Args:  cobra.NoArgs,
	}
	c.Flags().StringVar(&name, "name", "", "what the token is for")
	c.Flags().StringVar(&expiresIn, "expires-in", "", "how long it works, such as 90d")
	c.Flags().StringVar(&account, "virtual-account", "", "make a token of this virtual account instead")
	c.Flags().StringArrayVar(&models, "model", nil, "narrow it to this model (ACCOUNT/MODEL or ACCOUNT/*); may be given again")
	c.Flags().StringArrayVar(&cidrs, "cidr", nil, "narrow it to callers from this range; may be given again")
	r := addRemote(c, p)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if strings.TrimSpace(name) == "" {
			return usagef("--name: is required: what the token is for")
		}
		if _, err := v1.Duration(expiresIn).Parse(); err != nil {
			return usagef("--expires-in: %v", err)
		}
		path := "/api/v1/me/tokens"
		if account != "" {
			of, err := resourcePath(v1.KindVirtualAccount, account)
			if err != nil {
				return err
			}
			path = of + "/tokens"
		}
		wish := map[string]any{"name": name}
		if expiresIn != "" {
			wish["expiresIn"] = expiresIn
		}
		narrowing := map[string]any{}
		if len(models) > 0 {
			narrowing["models"] = models
		}
		if len(cidrs) > 0 {
			narrowing["cidr"] = cidrs
		}
		if len(narrowing) > 0 {
			wish["narrowing"] = narrowing
		}
		body, err := json.Marshal(wish)
		if err != nil {
			return err
		}
		res, err := r.call(c.Context(), request{method: http.MethodPost, path: path, media: mediaJSON, body: body})
		if err != nil {
			return err
		}
		var made struct {
			Token     string `json:"token"`
			ID        string `json:"id"`
			ExpiresAt string `json:"expiresAt"`
		}
		if err := json.Unmarshal(res.body, &made); err != nil || made.Token == "" {
			return fmt.Errorf("the server's answer holds no token")
		}
		_, _ = fmt.Fprintf(p.err, "token %s, good until %s; it is not shown again\n", made.ID, made.ExpiresAt)
		_, err = fmt.Fprintln(p.out, made.Token)
		return err
	}
	return c
}
