package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	root := flag.String("root", ".", "the root of the repository")
	flag.Parse()
	page, err := generate(*root)
	if err == nil {
		err = os.MkdirAll(filepath.Join(*root, "docs"), 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(*root, pagePath), page, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "refgen:", err)
		os.Exit(1)
	}
}
