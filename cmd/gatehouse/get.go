package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/client"
	"github.com/gatehouse-ai/gatehouse/internal/manifest"
)

func newGet(p process) *cobra.Command {
	output := "table"
	c := &cobra.Command{
		Use:   "get KIND [NAME]",
		Short: "Show resources",
		Args:  cobra.RangeArgs(1, 2),
	}
	c.Flags().StringVarP(&output, "output", "o", output, "yaml, json or table")
	r := addRemote(c, p)
	c.RunE = func(c *cobra.Command, args []string) error {
		kind, err := kindOf(args[0])
		if err != nil {
			return err
		}
		if !slices.Contains([]string{"yaml", "json", "table"}, output) {
			return usagef("--output: %q is not known; use yaml, json or table", output)
		}
		if len(args) == 2 && !v1.ValidName(args[1]) {
			return usagef("%q is not the name of a resource", args[1])
		}
		server, err := r.connect()
		if err != nil {
			return err
		}
		if len(args) == 2 {
			one, err := server.Get(c.Context(), kind, args[1])
			if err != nil {
				return err
			}
			return show(p, []v1.Resource{one}, output, true)
		}
		list, err := server.List(c.Context(), kind, "")
		if err != nil {
			return err
		}
		return show(p, list, output, false)
	}
	return c
}

func kindOf(s string) (v1.Kind, error) {
	if k, ok := v1.ParseKind(s); ok {
		return k, nil
	}
	var known []string
	for _, k := range v1.Kinds() {
		known = append(known, k.Slug())
	}
	return "", usagef("there is no kind %q; use one of %s", s, strings.Join(known, ", "))
}

// show prints resources.
func show(p process, list []v1.Resource, output string, single bool) error {
	switch output {
	case "json":
		var v any = map[string]any{"items": append([]v1.Resource{}, list...)}
		if single {
			v = list[0]
		}
		b, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(p.out, string(b))
		return err
	case "yaml":
		b, err := manifest.MarshalAll(list)
		if err != nil {
			return err
		}
		_, err = p.out.Write(b)
		return err
	}
	w := tabwriter.NewWriter(p.out, 0, 4, 3, ' ', 0)
	_, _ = fmt.Fprintln(w, "NAME\tMANAGER\tGENERATION\tCREATED")
	for _, r := range list {
		m, created := r.Meta(), ""
		if t := m.CreationTimestamp; t != nil {
			created = t.UTC().Format("2006-01-02T15:04:05Z")
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%d\t%s\n", m.Name, m.Manager, m.Generation, created)
	}
	return w.Flush()
}

func newDelete(p process) *cobra.Command {
	takeOver := false
	c := &cobra.Command{
		Use:   "delete KIND NAME",
		Short: "Delete a resource",
		Args:  cobra.ExactArgs(2),
	}
	c.Flags().BoolVar(&takeOver, "take-over", false, "delete it though another manager writes it")
	r := addRemote(c, p)
	c.RunE = func(c *cobra.Command, args []string) error {
		kind, err := kindOf(args[0])
		if err != nil {
			return err
		}
		if !v1.ValidName(args[1]) {
			return usagef("%q is not the name of a resource", args[1])
		}
		server, err := r.connect()
		if err != nil {
			return err
		}
		if err := server.Delete(c.Context(), kind, args[1], client.DeleteOptions{TakeOver: takeOver}); err != nil {
			return err
		}
		_, err = fmt.Fprintf(p.out, "%s/%s deleted\n", kind.Slug(), args[1])
		return err
	}
	return c
}

func newExport(p process) *cobra.Command {
	c := &cobra.Command{
		Use:   "export",
		Short: "Print every resource that you may read, as manifests to apply elsewhere",
		Long: "Print every resource that you may read, as manifests to apply elsewhere. What Gatehouse sets is left out.\n" +
			"Stored secrets are not in it: {stored: true} keeps the value on the installation that has it.",
		Args: cobra.NoArgs,
	}
	r := addRemote(c, p)
	c.RunE = func(c *cobra.Command, _ []string) error {
		server, err := r.connect()
		if err != nil {
			return err
		}
		all, err := server.Export(c.Context())
		if err != nil {
			return err
		}
		for _, one := range all {
			if s, ok := one.(*v1.SsoConnection); ok {
				s.Status = nil // elsewhere the addresses are others
			}
		}
		b, err := manifest.MarshalAll(all)
		if err != nil {
			return err
		}
		_, err = p.out.Write(b)
		return err
	}
	return c
}
