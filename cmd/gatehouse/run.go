package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gatehouse-ai/gatehouse/internal/app/settings"
)

// The exit statuses.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// process is what a command has of the world, so that tests can be the world.
type process struct {
	in       io.Reader
	out, err io.Writer
	environ  []string
	serve    runner
	// resetBreakGlass works on the database of the settings.
	resetBreakGlass func(ctx context.Context, cfg settings.Settings, log *slog.Logger) (link string, err error)
}

// runner starts a server and waits until ctx ends.
type runner func(ctx context.Context, cfg settings.Settings, o serveOptions) error

// serveOptions are what a server is told besides its settings.
type serveOptions struct {
	dev     bool
	out     io.Writer
	log     *slog.Logger
	version string
	environ []string
}

// env returns a variable, or nothing.
func (p process) env(name string) string {
	for _, e := range p.environ {
		if n, v, ok := strings.Cut(e, "="); ok && n == name {
			return v
		}
	}
	return ""
}

// usageError is the caller's mistake on the command line.
type usageError struct{ message string }

func (e *usageError) Error() string { return e.message }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// run runs one command line and returns the exit status.
func run(ctx context.Context, args []string, p process) int {
	root := newRoot(p)
	root.SetArgs(args)
	root.SetIn(p.in)
	root.SetOut(p.out)
	root.SetErr(p.err)
	// cobra finds fault with flags and arguments before it runs anything.
	reached := false
	root.PersistentPreRun = func(*cobra.Command, []string) { reached = true }
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	for line := range strings.Lines(explained(err)) {
		_, _ = fmt.Fprintln(p.err, "gatehouse: "+strings.TrimRight(line, "\n"))
	}
	_, usage := errors.AsType[*usageError](err)
	_, setting := errors.AsType[*settings.Error](err)
	if usage || setting || !reached {
		return exitUsage
	}
	return exitFailed
}

func newRoot(p process) *cobra.Command {
	root := &cobra.Command{
		Use:   "gatehouse",
		Short: "Gatehouse, the identity-aware AI gateway",
		Long: "Gatehouse, the identity-aware AI gateway.\n\n" +
			"Exit status: 0 done, 1 failed, 2 wrong usage or configuration.",
		SilenceUsage: true, SilenceErrors: true,
		Args: unknownCommand,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.AddCommand(
		newServe(p), newDev(p), newMigrate(p), newBreakGlass(p),
		newApply(p), newGet(p), newDelete(p), newExport(p),
		newExplain(p), newTestSignIn(p), newAudit(p), newToken(p), newWhoami(p), newVersion(p),
	)
	return root
}

// unknownCommand says, on one line, that there is no such command.
func unknownCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := ""
	if c.SuggestionsMinimumDistance <= 0 {
		c.SuggestionsMinimumDistance = 2
	}
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		hint = "; did you mean " + near[0] + "?"
	}
	return usagef("there is no command %q%s", args[0], hint)
}

// version is that of the module in the binary; a build from a working copy
// is "dev".
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "dev"
	}
	return info.Main.Version
}
