package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatehouse-ai/gatehouse/internal/auditchain"
)

const (
	auditExportPath = "/api/v1/audit/export"
	maxKeyFile      = 64 << 10
)

func newAudit(p process) *cobra.Command {
	c := &cobra.Command{
		Use:   "audit",
		Short: "Check the audit",
		Args:  unknownCommand,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newAuditVerify(p))
	return c
}

// auditQuestion is what audit verify was asked.
type auditQuestion struct {
	source, head, output string
	keys                 []string
	whole, signedHead    bool
}

func newAuditVerify(p process) *cobra.Command {
	q := auditQuestion{output: "text"}
	c := &cobra.Command{
		Use:   "verify FILE|URL",
		Short: "Check the audit chain of an export, or of a server",
		Long: "Check the audit chain of an export (a file, or - for standard input), or of a server at an http or https URL\n" +
			"(with GATEHOUSE_TOKEN). It finds entries that were altered, removed, inserted or reordered since they were written.\n\n" +
			"Pin the server's public key with --public-key: without it the key that the export itself names is believed.\n" +
			"Entries after the last checkpoint are covered by no signature; --expect-head covers those up to a head noted elsewhere.\n\n" +
			"The exit status is 0 when the chain is whole, 1 when it is not, 2 for wrong usage.",
		Args: cobra.ExactArgs(1),
	}
	c.Flags().StringArrayVar(&q.keys, "public-key", nil, "the key that signs: a PEM file, or its thumbprint sha256:…; several after a rotation")
	c.Flags().StringVar(&q.head, "expect-head", "", "an entry that must be there, as SEQ:HASH of an earlier check")
	c.Flags().BoolVar(&q.whole, "whole", false, "refuse an export that does not begin with entry 1")
	c.Flags().BoolVar(&q.signedHead, "signed-head", false, "refuse an export whose last entry has no checkpoint")
	c.Flags().StringVarP(&q.output, "output", "o", q.output, "text or json")
	r := &remote{p: p}
	c.Flags().StringVar(&r.tokenFile, "token-file", "", "file with your token for a URL (GATEHOUSE_TOKEN)")
	c.RunE = func(c *cobra.Command, args []string) error {
		q.source = args[0]
		return verifyAudit(c.Context(), r, &q)
	}
	return c
}

func verifyAudit(ctx context.Context, r *remote, q *auditQuestion) error {
	if q.output != "text" && q.output != "json" {
		return usagef("--output: %q is not known; use text or json", q.output)
	}
	opt, err := q.options()
	if err != nil {
		return err
	}
	in, err := openAudit(ctx, r, q.source)
	if err != nil {
		return err
	}
	defer in.Close() //nolint:errcheck // read only
	report, err := auditchain.Verify(in, opt)
	problem, bad := errors.AsType[*auditchain.Problem](err)
	if !bad && errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%s: it breaks off, so nothing is proven: %w; if a server sent it, its log says why", q.source, err)
	}
	if err != nil && !bad {
		return fmt.Errorf("%s: %w", q.source, err)
	}
	return tellAudit(r.p, q, &report, problem)
}

// tellAudit prints what was found, and returns the problem as an error.
func tellAudit(p process, q *auditQuestion, report *auditchain.Report, problem *auditchain.Problem) error {
	if q.output == "json" {
		if err := printAuditJSON(p.out, report, problem); err != nil {
			return err
		}
	} else if problem == nil {
		return printAudit(p, report)
	}
	if problem == nil {
		return nil
	}
	kept := "no entry before it was verified"
	if report.Entries > 0 {
		kept = fmt.Sprintf("verified before it: %d entries, to entry %d; signed to entry %d", report.Entries, report.Head.Seq, report.Signed)
	}
	return fmt.Errorf("%s: %w\n%s", q.source, problem, kept)
}

func (q *auditQuestion) options() (auditchain.Options, error) {
	opt := auditchain.Options{Whole: q.whole, SignedHead: q.signedHead}
	for _, key := range q.keys {
		if strings.HasPrefix(key, "sha256:") {
			if !auditchain.ValidKeyID(key) {
				return opt, usagef("--public-key: %q is not a thumbprint: sha256: and 64 lower-case hexadecimal digits", key)
			}
			opt.KeyIDs = append(opt.KeyIDs, key)
			continue
		}
		text, err := readKeyFile(key)
		if err != nil {
			return opt, usagef("--public-key: %v", err)
		}
		keys, err := auditchain.ParsePublicKeys(text)
		if err != nil {
			return opt, usagef("--public-key: %s: %s", key, strings.TrimPrefix(err.Error(), "auditchain: "))
		}
		opt.Keys = append(opt.Keys, keys...)
	}
	if q.head == "" {
		return opt, nil
	}
	digits, hash, _ := strings.Cut(q.head, ":")
	seq, err := strconv.ParseUint(digits, 10, 53)
	head, hashErr := auditchain.ParseHash(hash)
	if err != nil || hashErr != nil || seq == 0 {
		return opt, usagef("--expect-head: %q is not SEQ:HASH, a number from 1 and 64 lower-case hexadecimal digits", q.head)
	}
	opt.Expect = &auditchain.Head{Seq: seq, Hash: head}
	return opt, nil
}

func readKeyFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // read only
	return io.ReadAll(io.LimitReader(f, maxKeyFile))
}

// openAudit opens a file, standard input, or the export of a server.
func openAudit(ctx context.Context, r *remote, source string) (io.ReadCloser, error) {
	scheme, _, isURL := strings.Cut(source, "://")
	switch {
	case isURL && (scheme == "http" || scheme == "https"):
		return fetchAudit(ctx, r, source)
	case isURL:
		return nil, usagef("%q is not an http or https URL", source)
	case source == "-":
		return io.NopCloser(r.p.in), nil
	}
	f, err := os.Open(source)
	if err != nil {
		return nil, usagef("%v", err)
	}
	return f, nil
}

// fetchAudit begins the export of a server, which may be named by the export's
// own URL too.
func fetchAudit(ctx context.Context, r *remote, source string) (io.ReadCloser, error) {
	server, err := r.at(strings.TrimSuffix(strings.TrimRight(source, "/"), auditExportPath), "")
	if err != nil {
		return nil, err
	}
	return server.ExportAudit(ctx, 0)
}

// printAudit prints the summary, and to standard error what a reader of the
// summary must not overlook.
func printAudit(p process, r *auditchain.Report) error {
	lines := []string{
		"the audit chain is whole",
		"chain        " + r.Chain,
		fmt.Sprintf("entries      %d", r.Entries),
	}
	if r.Entries > 0 {
		lines[2] += fmt.Sprintf(" (%d to %d), %s to %s", r.From, r.Head.Seq, stampOf(r.First), stampOf(r.Last))
	}
	if r.Head.Seq > 0 {
		lines = append(lines, fmt.Sprintf("head         %d:%s", r.Head.Seq, r.Head.Hash))
	}
	checkpoints := fmt.Sprintf("checkpoints  %d", r.Checkpoints)
	if r.Checkpoints > 0 {
		checkpoints += fmt.Sprintf(", the last of entry %d, signed %s", r.Signed, stampOf(r.SignedAt))
	}
	lines = append(lines, checkpoints)
	for _, id := range r.KeyIDs {
		lines = append(lines, "key          "+id)
	}
	if r.Expected {
		lines = append(lines, "expected     found")
	}
	lines = append(lines, fmt.Sprintf("not covered  %d entries", r.Uncovered()))
	if _, err := fmt.Fprintln(p.out, strings.Join(lines, "\n")); err != nil {
		return err
	}
	for _, warning := range auditWarnings(r) {
		if _, err := fmt.Fprintln(p.err, "gatehouse: WARNING: "+warning); err != nil {
			return err
		}
	}
	return nil
}

func stampOf(t time.Time) string { return t.Format("2006-01-02T15:04:05.000Z") }

func auditWarnings(r *auditchain.Report) []string {
	warnings := []string{}
	if !r.Pinned && r.Checkpoints > 0 {
		warnings = append(warnings, "the signing key is the one that the export itself names, and anybody can write an export with a key of their own; compare the thumbprint with your server's and pin it: --public-key "+r.KeyIDs[0])
	}
	if r.Checkpoints == 0 && r.Entries > 0 {
		warnings = append(warnings, "nothing in this export is signed: whoever can write the file can have written all of it")
	}
	if r.Partial() {
		warnings = append(warnings, fmt.Sprintf("this export begins with entry %d: nothing is said of the entries before it; --whole refuses such an export", r.From))
	}
	if n := r.Uncovered(); n > 0 && r.Covered > 0 {
		warnings = append(warnings, fmt.Sprintf("%d entries after entry %d are covered by no signature and no expected head: they could have been written, and later ones removed, by anybody who can write the file", n, r.Covered))
	}
	return warnings
}

// auditAnswer is audit verify -o json.
type auditAnswer struct {
	OK          bool          `json:"ok"`
	Problem     *auditProblem `json:"problem,omitempty"`
	Chain       string        `json:"chain"`
	From        uint64        `json:"from"`
	Entries     uint64        `json:"entries"`
	First       *time.Time    `json:"first,omitempty"`
	Last        *time.Time    `json:"last,omitempty"`
	Head        string        `json:"head"`
	Checkpoints uint64        `json:"checkpoints"`
	Signed      uint64        `json:"signed"`
	Covered     uint64        `json:"covered"`
	NotCovered  uint64        `json:"notCovered"`
	Keys        []string      `json:"keys"`
	Pinned      bool          `json:"pinned"`
	Warnings    []string      `json:"warnings"`
}

type auditProblem struct {
	Line  uint64          `json:"line"`
	Seq   uint64          `json:"seq,omitempty"`
	Kind  auditchain.Kind `json:"kind"`
	What  string          `json:"what"`
	Means string          `json:"means"`
}

func printAuditJSON(w io.Writer, r *auditchain.Report, bad *auditchain.Problem) error {
	a := auditAnswer{
		OK: bad == nil, Chain: r.Chain, From: r.From, Entries: r.Entries, Head: fmt.Sprintf("%d:%s", r.Head.Seq, r.Head.Hash), Checkpoints: r.Checkpoints,
		Signed: r.Signed, Covered: r.Covered, NotCovered: r.Uncovered(), Keys: append([]string{}, r.KeyIDs...), Pinned: r.Pinned, Warnings: auditWarnings(r),
	}
	if r.Entries > 0 {
		a.First, a.Last = &r.First, &r.Last
	}
	if bad != nil {
		a.Problem = &auditProblem{bad.Line, bad.Seq, bad.Kind, bad.What, bad.Means}
	}
	b, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(w, string(b))
	return err
}
