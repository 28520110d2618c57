package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/client"
	"github.com/gatehouse-ai/gatehouse/internal/manifest"
)

// applyFlags are what apply is told.
type applyFlags struct {
	files                   []string
	dryRun, prune, takeOver bool
	manager                 string
}

func newApply(p process) *cobra.Command {
	var f applyFlags
	c := &cobra.Command{
		Use:   "apply -f FILE|DIR",
		Short: "Write manifests to a server, all of them or none",
		Args:  cobra.NoArgs,
	}
	c.Flags().StringArrayVarP(&f.files, "filename", "f", nil, "file, folder, or - for standard input; may be given again")
	c.Flags().BoolVar(&f.dryRun, "dry-run", false, "show what would change, change nothing")
	c.Flags().BoolVar(&f.prune, "prune", false, "remove what this manager wrote before and what is not in the files")
	c.Flags().BoolVar(&f.takeOver, "take-over", false, "take over resources that another manager writes")
	c.Flags().StringVar(&f.manager, "manager", "default", "who writes: the resources' manager will be apply:NAME")
	r := addRemote(c, p)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if len(f.files) == 0 {
			return usagef("--filename: is required: the manifests to apply")
		}
		if !v1.ValidName(f.manager) {
			return usagef("--manager: %q is not a name of lower-case letters, digits and hyphens", f.manager)
		}
		all, err := gather(p, f.files)
		if err != nil {
			return err
		}
		if len(all.body) == 0 && !f.prune {
			return usagef("--filename: there are no manifests in it")
		}
		server, err := r.connect()
		if err != nil {
			return err
		}
		done, err := server.ApplyYAML(c.Context(), all.body, client.ApplyOptions{Manager: f.manager, DryRun: f.dryRun, Prune: f.prune, TakeOver: f.takeOver})
		if err != nil {
			return all.locate(err)
		}
		return printApplied(p, done, f.dryRun)
	}
	return c
}

// source is one file of manifests.
type source struct {
	name string
	data []byte
	docs []manifest.Document
}

// gathered is every manifest as one YAML stream, with what is needed to find a
// place in the stream in the file that it came from.
type gathered struct {
	body   []byte
	docs   []manifest.Document // as they stand in the files
	joined []manifest.Document // the same, as they stand in the stream
}

// locate turns what only the server could find wrong into file, line and
// column of the writer's own files.
func (g *gathered) locate(err error) error {
	problem, ok := errors.AsType[*client.Problem](err)
	if !ok || problem.Code != "invalid_manifest" && problem.Code != "manifest_conflict" || len(problem.Errors) == 0 {
		return err
	}
	var found manifest.Errors
	for _, e := range problem.Errors {
		i := len(g.joined) - 1
		for i > 0 && g.joined[i].Line > e.Line {
			i--
		}
		if e.Line == 0 || i < 0 || i >= len(g.docs) {
			return err
		}
		found = append(found, g.docs[i].Locate(v1.FieldErrors{{Path: e.Path, Message: e.Message}})...)
	}
	return &usageError{found.Error()}
}

// gather reads and checks every manifest here, so that mistakes are shown with
// file, line and column, and returns all of them as one YAML stream. The files'
// own bytes are sent: a secret in them is redacted when it is written from Go.
func gather(p process, names []string) (*gathered, error) {
	var sources []source
	var errs manifest.Errors
	for _, name := range names {
		list, err := read(p, name)
		if bad, ok := err.(manifest.Errors); ok { //nolint:errorlint // read returns it bare
			errs = append(errs, bad...)
		} else if err != nil {
			return nil, err
		}
		sources = append(sources, list...)
	}
	if len(errs) > 0 {
		return nil, &usageError{errs.Error()}
	}
	var body bytes.Buffer
	all := &gathered{}
	for _, s := range sources {
		for _, d := range s.docs {
			for _, note := range d.Notes {
				_, _ = fmt.Fprintln(p.err, "gatehouse: note: "+note)
			}
		}
		if len(s.docs) == 0 {
			continue
		}
		text, err := stream(s)
		if err != nil {
			return nil, err
		}
		if len(all.docs) > 0 {
			body.WriteString("\n---\n")
		}
		body.Write(text)
		all.docs = append(all.docs, s.docs...)
	}
	// What the server will read must be what was read here.
	var err error
	if all.joined, err = manifest.Parse("all manifests together", body.Bytes()); err != nil {
		return nil, &usageError{err.Error()}
	}
	if len(all.docs) != len(all.joined) {
		return nil, fmt.Errorf("the files hold %d manifests, but together they read as %d; apply them one by one", len(all.docs), len(all.joined))
	}
	all.body = body.Bytes()
	return all, nil
}

// read reads the manifests of one -f.
func read(p process, name string) ([]source, error) {
	if name == "-" {
		data, err := io.ReadAll(p.in)
		if err != nil {
			return nil, fmt.Errorf("standard input: %w", err)
		}
		docs, err := manifest.Parse("stdin", data)
		return []source{{name: "stdin", data: data, docs: docs}}, err
	}
	docs, err := manifest.ReadPath(name)
	if err != nil {
		return nil, readError(err)
	}
	var list []source
	for _, d := range docs {
		if n := len(list); n > 0 && list[n-1].name == d.File {
			list[n-1].docs = append(list[n-1].docs, d)
			continue
		}
		data, err := os.ReadFile(d.File)
		if err != nil {
			return nil, err
		}
		list = append(list, source{name: d.File, data: data, docs: []manifest.Document{d}})
	}
	return list, nil
}

// readError makes a file that cannot be read a mistake of usage.
func readError(err error) error {
	if bad, ok := err.(manifest.Errors); ok { //nolint:errorlint // ReadPath returns it bare
		return bad
	}
	return usagef("--filename: %v", err)
}

// stream returns a file's manifests as part of a YAML stream.
func stream(s source) ([]byte, error) {
	secret := false
	var resources []v1.Resource
	for _, d := range s.docs {
		resources = append(resources, d.Resource)
		for _, f := range d.Resource.Secrets() {
			secret = secret || f.Value.Value != ""
		}
	}
	if secret {
		var compact bytes.Buffer
		if json.Valid(s.data) && json.Compact(&compact, s.data) == nil {
			return compact.Bytes(), nil // tabs are not YAML
		}
		return s.data, nil
	}
	// A bare file of authz_rules takes its name from the file's, which the
	// stream does not have; written from Go it has it.
	return manifest.MarshalAll(resources)
}

func printApplied(p process, a *client.ApplyResult, dryRun bool) error {
	for _, w := range a.Warnings {
		_, _ = fmt.Fprintln(p.err, "gatehouse: warning: "+w)
	}
	suffix := ""
	if dryRun {
		suffix = " (dry run)"
	}
	for _, o := range a.Results {
		if _, err := fmt.Fprintf(p.out, "%s/%s %s%s\n", o.Kind.Slug(), o.Name, o.Action, suffix); err != nil {
			return err
		}
		if dryRun && o.Diff != "" {
			if _, err := fmt.Fprint(p.out, o.Diff); err != nil {
				return err
			}
		}
	}
	return nil
}
