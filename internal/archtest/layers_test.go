package archtest

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/gatehouse-ai/gatehouse"

// floor says on which floor a package stands. A package may import packages of
// lower floors, and of its own only where peers says so.
type room struct {
	prefix string
	floor  float64
	// peers are packages of the same floor that it may import.
	peers []string
	// libraries are the only third-party modules that it may import; nil is
	// any (floors 3 and above, where a dependency is a decision in docs/adr).
	libraries []string
}

// rooms lists the house from the ground up. The longest matching prefix counts.
func rooms() []room {
	none := []string{}
	return []room{
		{prefix: "api/v1", floor: 0, libraries: none},
		{prefix: "internal/identity", floor: 0.1, libraries: none},
		{prefix: "internal/record", floor: 0.2, libraries: none},
		{prefix: "internal/manifest", floor: 0.5, libraries: []string{"github.com/goccy/go-yaml"}},
		{prefix: "internal/manifest/refgen", floor: 0.6, libraries: none},
		{prefix: "internal/claims", floor: 0.5, libraries: none},
		{prefix: "internal/jsonpeek", floor: 0.5, libraries: none},
		{prefix: "internal/sse", floor: 0.5, libraries: none},
		{prefix: "internal/safehttp", floor: 0.5, libraries: none},
		{prefix: "internal/seal", floor: 0.5, libraries: []string{"github.com/tink-crypto/tink-go/v2", "golang.org/x/crypto"}},
		{prefix: "internal/auditchain", floor: 0.5, libraries: none},
		{prefix: "internal/snapshot", floor: 1, libraries: none},
		{prefix: "internal/secret", floor: 2, peers: []string{"internal/secret"}, libraries: []string{"github.com/fsnotify/fsnotify"}},
		{prefix: "internal/authn", floor: 2.5, peers: []string{"internal/authn"}, libraries: []string{"github.com/maypok86/otter/v2", "golang.org/x/net"}},
		{prefix: "internal/authz", floor: 2.5, libraries: none},
		{prefix: "internal/ledger", floor: 2.5, libraries: none},
		{prefix: "internal/gateway", floor: 3, peers: []string{"internal/gateway"}},
		{prefix: "internal/control", floor: 3, peers: []string{"internal/control"}},
		{prefix: "internal/store", floor: 3, peers: []string{"internal/store"}},
		{prefix: "internal/store/storetest", floor: 3.1},
		{prefix: "internal/console", floor: 4},
		{prefix: "internal/devidp", floor: 4},
		{prefix: "internal/app/settings", floor: 4},
		{prefix: "internal/app", floor: 5, peers: []string{"internal/app"}},
		{prefix: "client", floor: 0.5, libraries: none},
		{prefix: "internal/testkit/testlog", floor: 0, libraries: none},
		{prefix: "internal/testkit/testcert", floor: 0, libraries: none},
		{prefix: "internal/testkit", floor: 6, peers: []string{"internal/testkit"}},
		{prefix: "cmd", floor: 6, peers: []string{"cmd"}},
		{prefix: "internal/archtest", floor: 7},
	}
}

func roomOf(t *testing.T, pkg string) room {
	t.Helper()
	var best room
	for _, r := range rooms() {
		if (pkg == r.prefix || strings.HasPrefix(pkg, r.prefix+"/")) && len(r.prefix) > len(best.prefix) {
			best = r
		}
	}
	if best.prefix == "" {
		t.Errorf("%s stands in no room of the house; add it to rooms() and to docs/ARCHITECTURE.md", pkg)
	}
	return best
}

type listed struct {
	ImportPath string
	Imports    []string
}

func packages(t *testing.T) []listed {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", module+"/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var list []listed
	d := json.NewDecoder(bytes.NewReader(out))
	for d.More() {
		var p listed
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	if len(list) < 10 {
		t.Fatalf("go list found %d packages only", len(list))
	}
	return list
}

func TestEveryImportGoesDownward(t *testing.T) {
	for _, p := range packages(t) {
		pkg := strings.TrimPrefix(p.ImportPath, module+"/")
		from := roomOf(t, pkg)
		for _, imp := range p.Imports {
			if err := mayImport(t, from, imp); err != "" {
				t.Errorf("%s imports %s: %s", pkg, imp, err)
			}
		}
	}
}

// mayImport returns why an import is not allowed, or nothing.
func mayImport(t *testing.T, from room, imp string) string {
	own, ok := strings.CutPrefix(imp, module+"/")
	if !ok {
		return mayUse(from, imp)
	}
	to := roomOf(t, own)
	switch {
	case from.prefix == to.prefix:
		return ""
	case to.floor < from.floor:
		return forbiddenPair(from.prefix, to.prefix)
	case slices.ContainsFunc(from.peers, func(peer string) bool { return own == peer || strings.HasPrefix(own, peer+"/") }):
		return ""
	default:
		return "it is not below"
	}
}

// forbiddenPair lists what lies below and is forbidden all the same.
func forbiddenPair(from, to string) string {
	switch {
	case to == "client" && from != "cmd" && from != "internal/testkit":
		return "client is for programs outside"
	case to == "internal/app/settings" && from != "internal/app" && from != "cmd" && from != "internal/testkit":
		return "settings are read by app alone"
	case strings.HasPrefix(to, "internal/testkit/") && from != "internal/testkit" && from != "internal/store/storetest":
		return "it is for tests"
	}
	return ""
}

// mayUse says whether a third-party library may be used on a floor.
func mayUse(from room, imp string) string {
	standard := !strings.Contains(strings.SplitN(imp, "/", 2)[0], ".")
	if standard {
		if imp == "database/sql" && from.prefix != "internal/store" && from.prefix != "internal/store/storetest" {
			return "SQL is the store's"
		}
		return ""
	}
	if from.libraries == nil {
		return ""
	}
	for _, lib := range from.libraries {
		if imp == lib || strings.HasPrefix(imp, lib+"/") {
			return ""
		}
	}
	return "this room uses the standard library" + map[bool]string{true: " and " + strings.Join(from.libraries, ", ")}[len(from.libraries) > 0]
}

func TestNoPackageIsNamedForNothing(t *testing.T) {
	for _, p := range packages(t) {
		if slices.Contains([]string{"util", "utils", "common", "helpers", "misc"}, path.Base(p.ImportPath)) {
			t.Errorf("%s: name a package for what it does", p.ImportPath)
		}
	}
}

func TestLayeringRefusesWhatItShould(t *testing.T) {
	for _, c := range []struct {
		from, imp string
		allowed   bool
	}{
		{"internal/gateway", "internal/control/api", false},
		{"internal/control/api", "internal/gateway", false},
		{"internal/gateway", "internal/store/sqlite", false},
		{"internal/authz", "internal/authn", false},
		{"internal/authn", "internal/authz", false},
		{"internal/authn", "internal/secret", true},
		{"internal/snapshot", "internal/authz", false},
		{"internal/identity", "internal/record", false},
		{"internal/record", "internal/identity", true},
		{"api/v1", "internal/identity", false},
		{"internal/app", "internal/gateway", true},
		{"internal/gateway", "internal/app", false},
		{"internal/gateway", "internal/testkit/testcert", false},
		{"internal/store/postgres", "internal/testkit/testcert", false},
		{"internal/store/storetest/pgserver", "internal/testkit/testcert", true},
		{"internal/testkit/real", "internal/testkit/testcert", true},
	} {
		got := mayImport(t, roomOf(t, c.from), module+"/"+c.imp)
		if (got == "") != c.allowed {
			t.Errorf("%s imports %s: allowed %t, want %t (%s)", c.from, c.imp, got == "", c.allowed, got)
		}
	}
	if mayUse(roomOf(t, "internal/gateway"), "database/sql") == "" {
		t.Error("the gateway wing may not use SQL")
	}
	if mayUse(roomOf(t, "internal/claims"), "github.com/tidwall/gjson") == "" {
		t.Error("a leaf may use its one library only")
	}
}
