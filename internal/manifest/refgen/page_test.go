package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
)

const root = "../../.."

func TestReferenceIsUpToDate(t *testing.T) {
	want, err := generate(root)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(root, pagePath))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is out of date; run: go run ./internal/manifest/refgen\n%s", pagePath, cmp.Diff(string(got), string(want)))
	}
}

func TestReferenceHasEveryKindAndExplainsEveryField(t *testing.T) {
	page, err := generate(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range v1.Kinds() {
		if !strings.Contains(string(page), "\n## "+string(k)+"\n") || !strings.Contains(string(page), "\nkind: "+string(k)+"\n") {
			t.Errorf("%s has no section with an example", k)
		}
	}
	for line := range strings.SplitSeq(string(page), "\n") {
		if strings.HasPrefix(line, "| `") && (strings.HasSuffix(line, "|  |") || strings.HasSuffix(line, "** |")) {
			t.Errorf("a field without a comment: %s", line)
		}
	}
}
