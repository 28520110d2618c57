package main

import (
	"fmt"

	"github.com/spf13/cobra"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/client"
)

func newExplain(p process) *cobra.Command {
	var tokenFile, as, model, resource, action string
	c := &cobra.Command{
		Use:   "explain [--token-file F|-] --model ACCOUNT/MODEL",
		Short: "Say why something is allowed or denied",
		Long: "Say why something is allowed or denied, step by step. Without --token-file and --as it is about yourself.\n" +
			"You ask with GATEHOUSE_TOKEN, or else with the token that is explained.\n\n" +
			"The exit status is 0 when there is an answer, also when the answer is no.",
		Args: cobra.NoArgs,
	}
	c.Flags().StringVar(&tokenFile, "token-file", "", "file with the token to explain, - for standard input")
	c.Flags().StringVar(&as, "as", "", "whom it is about, instead of a token: user:EMAIL or virtual-account:NAME")
	c.Flags().StringVar(&model, "model", "", "the model, ACCOUNT/MODEL")
	c.Flags().StringVar(&resource, "resource", "", "something else, as in role bindings")
	c.Flags().StringVar(&action, "action", "", "the permission (default model:use)")
	r := addRemote(c, p)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if tokenFile != "" && as != "" {
			return usagef("--as: use it or --token-file, not both")
		}
		if _, _, ok := v1.SplitFQN(model); model != "" && !ok {
			return usagef("--model: %q is not ACCOUNT/MODEL", model)
		}
		if model != "" && resource != "" {
			return usagef("--resource: use it or --model, not both")
		}
		if resource != "" && action == "" {
			return usagef("--action: is required with --resource")
		}
		question := client.Question{As: as, Model: model, Resource: resource, Action: action}
		if tokenFile != "" {
			token, err := readToken(p, tokenFile)
			if err != nil {
				return err
			}
			question.Token = token
			if r.tokenFile == "" && p.env("GATEHOUSE_TOKEN") == "" {
				r.own = token
			}
		}
		server, err := r.connect()
		if err != nil {
			return err
		}
		answer, err := server.Explain(c.Context(), question)
		if err != nil {
			return err
		}
		return printExplanation(p, answer)
	}
	return c
}

func printExplanation(p process, e *client.Explanation) error {
	for _, s := range e.Steps {
		mark := "no"
		if s.OK {
			mark = "ok"
		}
		if _, err := fmt.Fprintf(p.out, "%-3s %-18s %s\n", mark, s.Stage, s.Message); err != nil {
			return err
		}
	}
	answer := "denied"
	if e.Allowed {
		answer = "allowed"
	}
	_, err := fmt.Fprintf(p.out, "%s: %s\n", answer, e.Reason)
	return err
}
