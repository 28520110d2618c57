package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
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
		var items []json.RawMessage
		if len(args) == 2 {
			one, err := r.one(c.Context(), kind, args[1])
			if err != nil {
				return err
			}
			items = []json.RawMessage{one}
		} else if items, err = r.list(c.Context(), kind); err != nil {
			return err
		}
		return show(p, items, output, len(args) == 2)
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

func resourcePath(k v1.Kind, name string) (string, error) {
	if !v1.ValidName(name) {
		return "", usagef("%q is not the name of a resource", name)
	}
	return "/api/v1/" + k.Plural() + "/" + name, nil
}

func (r *remote) one(ctx context.Context, k v1.Kind, name string) (json.RawMessage, error) {
	path, err := resourcePath(k, name)
	if err != nil {
		return nil, err
	}
	res, err := r.call(ctx, request{method: http.MethodGet, path: path})
	return res.body, err
}

// list reads every page.
func (r *remote) list(ctx context.Context, k v1.Kind) ([]json.RawMessage, error) {
	items := []json.RawMessage{}
	query := url.Values{"limit": {"500"}}
	for {
		res, err := r.call(ctx, request{method: http.MethodGet, path: "/api/v1/" + k.Plural(), query: query})
		if err != nil {
			return nil, err
		}
		var page struct {
			Items []json.RawMessage `json:"items"`
			Next  string            `json:"nextCursor"`
		}
		if err := json.Unmarshal(res.body, &page); err != nil {
			return nil, fmt.Errorf("the server's answer cannot be read: %w", err)
		}
		items = append(items, page.Items...)
		if page.Next == "" || page.Next == query.Get("cursor") {
			return items, nil
		}
		query.Set("cursor", page.Next)
	}
}

// show prints what the server sent, all of it: a newer server's fields too.
func show(p process, items []json.RawMessage, output string, single bool) error {
	switch output {
	case "json":
		var v any = map[string]any{"items": items}
		if single {
			v = items[0]
		}
		b, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(p.out, string(b))
		return err
	case "yaml":
		for i, item := range items {
			b, err := yaml.JSONToYAML(item)
			if err != nil {
				return err
			}
			if i > 0 {
				b = append([]byte("---\n"), b...)
			}
			if _, err := p.out.Write(b); err != nil {
				return err
			}
		}
		return nil
	}
	return table(p, items)
}

func table(p process, items []json.RawMessage) error {
	w := tabwriter.NewWriter(p.out, 0, 4, 3, ' ', 0)
	_, _ = fmt.Fprintln(w, "NAME\tMANAGER\tGENERATION\tCREATED")
	for _, item := range items {
		var r struct {
			Metadata v1.ObjectMeta `json:"metadata"`
		}
		if err := json.Unmarshal(item, &r); err != nil {
			return fmt.Errorf("the server's answer cannot be read: %w", err)
		}
		created := ""
		if t := r.Metadata.CreationTimestamp; t != nil {
			created = t.UTC().Format("2006-01-02T15:04:05Z")
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%d\t%s\n", r.Metadata.Name, r.Metadata.Manager, r.Metadata.Generation, created)
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
		path, err := resourcePath(kind, args[1])
		if err != nil {
			return err
		}
		query := url.Values{}
		if takeOver {
			query.Set("takeOver", "true")
		}
		if _, err := r.call(c.Context(), request{method: http.MethodDelete, path: path, query: query}); err != nil {
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
		var all []v1.Resource
		for _, k := range v1.Kinds() {
			items, err := r.list(c.Context(), k)
			if err != nil {
				return err
			}
			for _, item := range items {
				one, err := manifest.DecodeJSON(k, bytes.TrimSpace(item))
				if err != nil {
					return fmt.Errorf("the server's %s cannot be read: %w", k.Slug(), err)
				}
				one.Meta().ResourceVersion = ""
				all = append(all, one)
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
