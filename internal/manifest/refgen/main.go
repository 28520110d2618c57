// Command refgen writes docs/manifests.md from the comments of api/v1.
//
// It owns how the reference looks and the examples in it. It does not own what
// the reference says about a field: that is the field's comment. Developers
// call it by go generate after a change of api/v1; a test fails when the
// committed page is out of date.
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
