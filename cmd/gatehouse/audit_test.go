package main

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/auditchain"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

// auditExport is a chain of n entries, the first signed of which are signed, and
// exported from an entry on.
func auditExport(t *testing.T, n, signed, from int) (text string, head auditchain.Head, key ed25519.PublicKey) {
	t.Helper()
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))
	key = private.Public().(ed25519.PublicKey)
	chain, err := auditchain.NewChain("chain-1")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	var w *auditchain.Writer
	for i := 1; i <= n; i++ {
		if i == from {
			if w, err = auditchain.NewWriter(&out, auditchain.Header{Chain: "chain-1", After: head, Keys: []ed25519.PublicKey{key}}); err != nil {
				t.Fatal(err)
			}
		}
		e := auditchain.Entry{AuditEntry: record.AuditEntry{
			ID: fmt.Sprint("aud_", i), At: time.Date(2026, 3, 1, 9, 0, i, 0, time.UTC), Actor: "user:admin@example.com", Action: "team.update", Target: "team:research", Outcome: "done",
		}, Seq: uint64(i), PrevHash: head.Hash}
		if head, err = chain.Link(head, &e.AuditEntry); err != nil {
			t.Fatal(err)
		}
		if e.Hash = head.Hash; w == nil {
			continue
		}
		if err := w.Entry(&e); err != nil {
			t.Fatal(err)
		}
		if i == signed {
			cp, err := chain.Sign(head, time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC), private)
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Checkpoint(&cp); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String(), head, key
}

func auditWorld(t *testing.T) *world {
	return newWorld(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
}

func TestAuditVerifyDescribesAWholeChain(t *testing.T) {
	text, head, key := auditExport(t, 5, 3, 1)
	id := auditchain.KeyID(key)
	dir := write(t, map[string]string{"a.jsonl": text, "key.pem": string(auditchain.MarshalPublicKey(key))})
	file, s := filepath.Join(dir, "a.jsonl"), auditWorld(t)
	status, out, errs := s.run(t, "audit", "verify", file)
	want := "the audit chain is whole\n" +
		"chain        chain-1\n" +
		"entries      5 (1 to 5), 2026-03-01T09:00:01.000Z to 2026-03-01T09:00:05.000Z\n" +
		"head         5:" + head.Hash.String() + "\n" +
		"checkpoints  1, the last of entry 3, signed 2026-03-01T10:00:00.000Z\n" +
		"key          " + id + "\n" +
		"not covered  2 entries\n"
	if status != 0 || out != want || strings.Count(errs, "WARNING") != 2 || !strings.Contains(errs, "--public-key "+id) || !strings.Contains(errs, "2 entries after entry 3") {
		t.Errorf("%d\n%s\n%s", status, out, errs)
	}
	expected := fmt.Sprintf("5:%s", head.Hash)
	for name, args := range map[string][]string{
		"thumbprint": {"--public-key", id}, "file": {"--public-key", filepath.Join(dir, "key.pem")}, "both": {"--public-key", id, "--public-key", filepath.Join(dir, "key.pem")},
	} {
		status, out, errs = s.run(t, append([]string{"audit", "verify", file, "--whole", "--expect-head", expected}, args...)...)
		if status != 0 || errs != "" || !strings.Contains(out, "expected     found\nnot covered  0 entries\n") {
			t.Errorf("%s: %d\n%s\n%s", name, status, out, errs)
		}
	}
	s.stdin = text
	if status, out, _ = s.run(t, "audit", "verify", "-"); status != 0 || out != want {
		t.Errorf("%d\n%s", status, out)
	}
	if len(s.requests) != 0 {
		t.Error("a file was verified by asking a server", s.requests)
	}
}

func TestAuditVerifyWarnsOfWhatItCannotKnow(t *testing.T) {
	s := auditWorld(t)
	for name, c := range map[string]struct {
		n, signed, from int
		warnings        []string
	}{
		"nothing signed": {3, 0, 1, []string{"nothing in this export is signed"}},
		"partial":        {5, 5, 3, []string{"the signing key is the one that the export itself names", "begins with entry 3"}},
	} {
		s.stdin, _, _ = auditExport(t, c.n, c.signed, c.from)
		status, _, errs := s.run(t, "audit", "verify", "-")
		if status != 0 || strings.Count(errs, "\n") != len(c.warnings) {
			t.Errorf("%s: %d %s", name, status, errs)
		}
		for _, w := range c.warnings {
			if !strings.Contains(errs, w) {
				t.Errorf("%s: %s has no %q", name, errs, w)
			}
		}
	}
}

func TestSecurityAuditVerifyFailsOnTampering(t *testing.T) {
	text, head, key := auditExport(t, 5, 3, 1)
	partial, _, _ := auditExport(t, 5, 5, 3)
	unsigned, _, _ := auditExport(t, 5, 0, 1)
	lines := strings.SplitAfter(text, "\n") // header, 1 2 3 c 4 5, end
	join := func(l ...string) string { return strings.Join(l, "") }
	id := auditchain.KeyID(key)
	other := "sha256:" + strings.Repeat("0", 64)
	s := auditWorld(t)
	for name, c := range map[string]struct {
		text, says string
		args       []string
	}{
		"altered":      {strings.Replace(text, "team:research", "team:\x1b[2J", 1), "-: line 2: this is not a line of an export", nil},
		"edited":       {strings.Replace(text, "aud_2", "aud_9", 1), "-: line 3, seq 2: its hash is not that of its fields; the entry was altered", nil},
		"removed":      {join(append(lines[:2:2], lines[3:]...)...), "-: line 3, seq 2: entry 2 should stand here, and it is entry 3; entry 2 was removed", nil},
		"inserted":     {join(append(lines[:3:3], lines[2:]...)...), "-: line 4, seq 2: the entry stands here a second time", nil},
		"reordered":    {join(lines[0], lines[2], lines[1], join(lines[3:]...)), "-: line 2, seq 1: entry 1 should stand here, and it is entry 2; entries were reordered: entry 1 stands in line 3", nil},
		"truncated":    {join(lines[:6]...), "-: line 7: the export breaks off after entry 4", nil},
		"garbage":      {text + "\n", "-: line 9: something stands after the end", nil},
		"another key":  {text, "-: line 5, seq 3: the checkpoint is by the key \"" + id + "\", which is not trusted", []string{"--public-key", other}},
		"no key":       {unsigned, "the export has no checkpoint", []string{"--public-key", id}},
		"head to come": {text, "entry 6 was expected, and the export ends with entry 5", []string{"--expect-head", "6:" + head.Hash.String()}},
		"another head": {text, "entry 4 was expected to have the hash", []string{"--expect-head", "4:" + head.Hash.String()}},
		"partial":      {partial, "the export begins with entry 3", []string{"--whole"}},
		"unsigned end": {text, "the last checkpoint is of entry 3", []string{"--signed-head"}},
	} {
		s.stdin = c.text
		status, out, errs := s.run(t, append([]string{"audit", "verify", "-"}, c.args...)...)
		if status != 1 || out != "" || !strings.Contains(errs, c.says) || strings.Count(errs, "\n") != 2 || strings.Contains(errs, "\x1b") {
			t.Errorf("%s: %d\n%s\n%s", name, status, out, errs)
		}
		status, out, _ = s.run(t, append([]string{"audit", "verify", "-"}, "-o", "xml")...)
		if status != 2 {
			t.Errorf("%s: %d %s", name, status, out)
		}
	}
}

func TestAuditVerifyAnswersInJSON(t *testing.T) {
	text, head, _ := auditExport(t, 5, 3, 1)
	s := auditWorld(t)
	for _, bad := range []bool{false, true} {
		if s.stdin = text; bad {
			s.stdin = strings.Replace(text, "aud_5", "aud_9", 1)
		}
		status, out, errs := s.run(t, "audit", "verify", "-", "-o", "json")
		var a auditAnswer
		if err := json.Unmarshal([]byte(out), &a); err != nil {
			t.Fatal(err, out, errs)
		}
		if a.OK == bad || (status == 1) != bad || (a.Problem != nil) != bad || a.Signed != 3 {
			t.Errorf("%d %+v", status, a)
		}
		if bad && (a.Problem.Line != 7 || a.Problem.Seq != 5 || a.Problem.Kind != "altered" || a.Entries != 4) {
			t.Errorf("%+v", a.Problem)
		}
		if !bad && (a.Head != fmt.Sprintf("5:%s", head.Hash) || a.NotCovered != 2 || len(a.Warnings) != 2) {
			t.Errorf("%+v", a)
		}
	}
}

func TestAuditVerifyReadsFromAServer(t *testing.T) {
	text, _, _ := auditExport(t, 5, 5, 1)
	s := newWorld(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/jsonl")
		_, _ = w.Write([]byte(text))
	})
	for _, form := range []string{"", "/", "/api/v1/audit/export"} {
		status, out, errs := s.run(t, "audit", "verify", s.URL+form)
		last := s.requests[len(s.requests)-1]
		if status != 0 || !strings.Contains(out, "entries      5 ") || last.method != "GET" || last.uri != "/api/v1/audit/export" || last.auth != "Bearer gtp_mine" {
			t.Errorf("%q: %d %s %s %+v", form, status, out, errs, last)
		}
	}
	dir := write(t, map[string]string{"token": "gtp_file\n"})
	if status, _, errs := s.run(t, "audit", "verify", s.URL, "--token-file", filepath.Join(dir, "token")); status != 0 || s.requests[len(s.requests)-1].auth != "Bearer gtp_file" {
		t.Error(status, errs)
	}
}

func TestAuditVerifySaysWhatTheServerRefused(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(http.ResponseWriter, *http.Request)
		says   string
	}{
		"denied":    {says(403, `{"code":"permission_denied","detail":"you may not","permission":"audit:read","status":403}`), "gatehouse: you may not (403 permission_denied, needs audit:read)\n"},
		"no export": {says(404, "nothing here"), "(404 unexpected_answer)"},
		"a page": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = w.Write([]byte("<!doctype html>"))
		}, "(200 unexpected_answer)"},
		"cut off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/jsonl")
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte("{"))
		}, "unexpected EOF"},
	} {
		s := newWorld(t, c.answer)
		status, out, errs := s.run(t, "audit", "verify", s.URL)
		if status != 1 || out != "" || !strings.Contains(errs, c.says) {
			t.Errorf("%s: %d %s %s", name, status, out, errs)
		}
	}
}

func TestSecurityAuditVerifySendsTheTokenNowhereElse(t *testing.T) {
	var stolen []string
	thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { stolen = append(stolen, r.Header.Get("Authorization")) }))
	defer thief.Close()
	s := newWorld(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, thief.URL, http.StatusFound) })
	if status, _, errs := s.run(t, "audit", "verify", s.URL); status != 1 || len(stolen) != 0 || len(s.requests) != 1 {
		t.Error(status, errs, stolen)
	}
	if status, _, errs := s.run(t, "audit", "verify", "http://gateway.example"); status != 2 || !strings.Contains(errs, "https only, or to loopback") {
		t.Error(status, errs)
	}
}

func TestAuditVerifySaysWhatIsWrongWithTheCommand(t *testing.T) {
	text, _, _ := auditExport(t, 1, 1, 1)
	dir := write(t, map[string]string{"a.jsonl": text, "not.pem": "hello"})
	file, s := filepath.Join(dir, "a.jsonl"), auditWorld(t)
	s.environ = nil
	for says, args := range map[string][]string{
		"accepts 1 arg":                        {},
		"no such file or directory":            {filepath.Join(dir, "nowhere")},
		"--public-key: open":                   {file, "--public-key", filepath.Join(dir, "nowhere")},
		"not a PEM file of public keys":        {file, "--public-key", filepath.Join(dir, "not.pem")},
		"is not a thumbprint":                  {file, "--public-key", "sha256:abc"},
		`--expect-head: "5" is not SEQ:HASH`:   {file, "--expect-head", "5"},
		`"0:` + strings.Repeat("0", 64) + `" `: {file, "--expect-head", "0:" + strings.Repeat("0", 64)},
		`--output: "xml" is not known`:         {file, "-o", "xml"},
		"is not an http or https URL":          {"ftp://gateway.example"},
		"GATEHOUSE_TOKEN: is not set":          {"https://gateway.example"},
	} {
		status, out, errs := s.run(t, append([]string{"audit", "verify"}, args...)...)
		if status != 2 || out != "" || !strings.Contains(errs, says) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s: %d %s %s", says, status, out, errs)
		}
	}
	if status, _, errs := s.run(t, "audit", "verfy"); status != 2 || !strings.Contains(errs, "did you mean verify?") {
		t.Error(status, errs)
	}
	if status, out, _ := s.run(t, "audit"); status != 0 || !strings.Contains(out, "verify") {
		t.Error(status, out)
	}
}
