package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/gatehouse-ai/gatehouse/internal/app/settings"
)

func main() {
	root := flag.String("root", ".", "the repository's root")
	flag.Parse()
	if err := os.WriteFile(filepath.Join(*root, "docs", "settings.md"), settings.Reference(), 0o644); err != nil { //nolint:gosec // a document
		fmt.Fprintln(os.Stderr, "refgen:", err)
		os.Exit(1)
	}
}
