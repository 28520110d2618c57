package auditchain

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/gatehouse-ai/gatehouse/internal/record"
)

var update = flag.Bool("update", false, "write the golden file")

// format is a chain that shows every rule of the encoding.
func format(t *testing.T) *bench {
	b := newBench(t, "c0ffee-1")
	b.add(t, record.AuditEntry{ID: "aud_1", At: start, Actor: "system", Action: "start", Target: "tenant", Outcome: "done"})
	full := plain(2)
	full.Before = json.RawMessage("{ \"b\": 1.0e+2,\n \"a\": [null, \"\\u00e9<>&\"], \"a\": 12345678901234567890 }")
	full.After = json.RawMessage("null")
	b.add(t, full)
	b.sign(t)
	b.add(t, record.AuditEntry{
		ID: "aud_3", At: time.Date(2026, 3, 1, 10, 0, 0, 1_999_999, time.FixedZone("", 3600)), Actor: "a\x00b\xffc", Action: "\b\t\n\f\r\"\\/\x01\x1f\x7f",
		Target: "é\u2028<>&😀", Outcome: "denied",
	})
	return b
}

func TestTheFormatNeverChangesByAccident(t *testing.T) {
	const file = "testdata/format.txtar"
	b := format(t)
	var partial bytes.Buffer
	b.write(t, &partial, 3)
	cp := b.signed[2]
	got := &txtar.Archive{
		Comment: []byte("An export and a partial one of version 1. These bytes are promised: what is here verifies for ever.\nThe key is that of the seed 0101…01.\n"),
		Files: []txtar.File{
			{Name: "whole.jsonl", Data: b.export(t)},
			{Name: "partial.jsonl", Data: partial.Bytes()},
			{Name: "public.pem", Data: MarshalPublicKey(public(b.key))},
			{Name: "signed.hex", Data: []byte(hex.EncodeToString(cp.signed()) + "\n")},
		},
	}
	if *update {
		if err := os.WriteFile(file, txtar.Format(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(txtar.Format(got))); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	for _, f := range txtar.Parse(want).Files[:2] {
		if _, err := Verify(bytes.NewReader(f.Data), b.strict()); err != nil {
			t.Errorf("%s: %v", f.Name, err)
		}
	}
}

// A second verifier, written from doc.go alone: it knows no Go type of ours.
func TestTheSpecificationIsEnoughForASecondVerifier(t *testing.T) {
	b := format(t)
	prev := strings.Repeat("0", 64)
	keys := map[string]ed25519.PublicKey{}
	signed := 0
	for line := range strings.Lines(string(b.export(t))) {
		line = strings.TrimSuffix(line, "\n")
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		switch m["type"] {
		case "header":
			for _, k := range m["keys"].([]any) {
				der, _ := base64.StdEncoding.DecodeString(k.(map[string]any)["publicKey"].(string))
				pub, err := x509.ParsePKIXPublicKey(der)
				if err != nil {
					t.Fatal(err)
				}
				sum := sha256.Sum256(der)
				keys["sha256:"+hex.EncodeToString(sum[:])] = pub.(ed25519.PublicKey)
			}
		case "entry":
			sum := sha256.Sum256([]byte("gatehouse audit entry v1\x00" + line[:len(line)-75]))
			if m["prevHash"] != prev || m["hash"] != hex.EncodeToString(sum[:]) {
				t.Errorf("%s: %x after %s", line, sum, prev)
			}
			prev = m["hash"].(string)
		case "checkpoint":
			body, _, _ := strings.Cut(line, `,"signature":"`)
			sig, _ := base64.StdEncoding.DecodeString(m["signature"].(string))
			if m["entryHash"] != prev || !ed25519.Verify(keys[m["key"].(string)], []byte("gatehouse audit checkpoint v1\x00"+body), sig) {
				t.Error(line)
			}
			signed++
		}
	}
	if signed != 1 || prev != b.head().Hash.String() {
		t.Error(signed, prev)
	}
}

func TestAKeyIsWrittenAsX509WritesIt(t *testing.T) {
	pub := public(seeded(7))
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil || !bytes.Equal(der, spki(pub)) {
		t.Errorf("%x, want %x (%v)", spki(pub), der, err)
	}
	two := append(MarshalPublicKey(pub), MarshalPublicKey(public(seeded(8)))...)
	keys, err := ParsePublicKeys(two)
	if err != nil || len(keys) != 2 || !keys[0].Equal(pub) {
		t.Error(keys, err)
	}
	private, _ := x509.MarshalPKCS8PrivateKey(seeded(7))
	for name, text := range map[string]string{
		"nothing": "", "text": "hello", "text after": string(two) + "x",
		"another type": strings.ReplaceAll(string(two), "PUBLIC", "PRIVATE"),
		"cut":          strings.Replace(string(two), "MC", "", 1), "private": string(private),
	} {
		if keys, err := ParsePublicKeys([]byte(text)); err == nil {
			t.Errorf("%s: %v", name, keys)
		}
	}
}

// Reflection walks the fields, so that one that is added to an entry and
// forgotten here is found.
func TestSecurityEveryFieldOfAnEntryIsUnderTheHash(t *testing.T) {
	c, _ := NewChain("chain-1")
	hash := func(e record.AuditEntry) Hash {
		h, err := c.Link(Head{}, &e)
		if err != nil {
			t.Fatal(err)
		}
		return h.Hash
	}
	seen := map[Hash]string{hash(plain(1)): "the entry itself"}
	note := func(name string, h Hash) {
		if was := seen[h]; was != "" {
			t.Errorf("%s has the hash of %s", name, was)
		}
		seen[h] = name
	}
	typ := reflect.TypeFor[record.AuditEntry]()
	for i := range typ.NumField() {
		for _, empty := range []bool{false, true} {
			e := plain(1)
			name := typ.Field(i).Name
			switch f := reflect.ValueOf(&e).Elem().Field(i).Addr().Interface().(type) {
			case *string:
				if *f += "x"; empty && name != "ID" {
					*f = ""
				}
			case *time.Time:
				*f = f.Add(time.Millisecond)
				if empty {
					*f = f.Add(time.Hour)
				}
			case *json.RawMessage:
				if *f = json.RawMessage(`null`); empty {
					*f = nil
				}
			default:
				t.Fatalf("%s: a field of a new type; give it a place in the encoding and in this test", name)
			}
			if empty && name == "ID" {
				continue // an entry without an id is refused
			}
			note(name+map[bool]string{true: " empty"}[empty], hash(e))
		}
	}
	e := plain(1)
	h, _ := c.Link(Head{Seq: 1}, &e)
	note("another seq", h.Hash)
	h, _ = c.Link(Head{Seq: 1, Hash: Hash{1}}, &e)
	note("another prevHash", h.Hash)
	other, _ := NewChain("chain-2")
	h, _ = other.Link(Head{}, &e)
	note("another chain", h.Hash)
	swapped := plain(1)
	swapped.Before, swapped.After = swapped.After, swapped.Before
	note("before and after swapped", hash(swapped))
	moved := plain(1)
	moved.Actor, moved.Target = moved.Actor+moved.Target[:1], moved.Target[1:]
	note("a byte moved over", hash(moved))
	quoted := plain(1)
	quoted.ActorUID, quoted.Actor = "", quoted.Actor+`","actorUid":"`+quoted.ActorUID
	note("a member inside a string", hash(quoted))
}

func TestLinkLeavesTheEntryAsItMustBeKept(t *testing.T) {
	b := format(t)
	e := b.entries[1]
	if got, want := string(e.Before), `{"b":1.0e+2,"a":[null,"\u00e9<>&"],"a":12345678901234567890}`; got != want {
		t.Errorf("before is %s, want %s", got, want)
	}
	last := b.entries[2]
	if last.Actor != "a\uFFFDb\uFFFDc" || !last.At.Equal(time.Date(2026, 3, 1, 9, 0, 0, 1_000_000, time.UTC)) || last.At.Location() != time.UTC {
		t.Errorf("%+v", last)
	}
	// What was kept, linked again, gives the same.
	again := last.AuditEntry
	h, err := b.chain.Link(Head{2, e.Hash}, &again)
	if err != nil || h.Hash != last.Hash || cmp.Diff(again, last.AuditEntry) != "" {
		t.Error(err, cmp.Diff(again, last.AuditEntry))
	}
	bad := plain(1)
	bad.Before = json.RawMessage("\"a\xffb\"")
	if _, err := b.chain.Link(Head{}, &bad); err != nil || string(bad.Before) != "\"a\uFFFDb\"" {
		t.Errorf("%v %q", err, bad.Before)
	}
	empty := plain(1)
	empty.Before = json.RawMessage{}
	if _, err := b.chain.Link(Head{}, &empty); err != nil || empty.Before != nil {
		t.Errorf("%v %#v", err, empty.Before)
	}
}

func TestLinkRefusesWhatCannotBeKept(t *testing.T) {
	c, _ := NewChain("chain-1")
	deep := json.RawMessage(strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000))
	for name, spoil := range map[string]func(*record.AuditEntry) (Chain, Head){
		"no id":          func(e *record.AuditEntry) (Chain, Head) { e.ID = ""; return c, Head{} },
		"no time":        func(e *record.AuditEntry) (Chain, Head) { e.At = time.Time{}; return c, Head{} },
		"year 10000":     func(e *record.AuditEntry) (Chain, Head) { e.At = e.At.AddDate(8000, 0, 0); return c, Head{} },
		"not JSON":       func(e *record.AuditEntry) (Chain, Head) { e.After = json.RawMessage(`{"a":1}}`); return c, Head{} },
		"too deep":       func(e *record.AuditEntry) (Chain, Head) { e.After = deep; return c, Head{} },
		"too large":      func(e *record.AuditEntry) (Chain, Head) { e.Target = strings.Repeat("x", MaxLine); return c, Head{} },
		"full":           func(*record.AuditEntry) (Chain, Head) { return c, Head{Seq: maxSeq} },
		"hash of none":   func(*record.AuditEntry) (Chain, Head) { return c, Head{Hash: Hash{1}} },
		"chain of no id": func(*record.AuditEntry) (Chain, Head) { return Chain{}, Head{} },
	} {
		e := plain(1)
		chain, prev := spoil(&e)
		if h, err := chain.Link(prev, &e); err == nil {
			t.Errorf("%s: %v", name, h)
		}
	}
	for _, id := range []string{"", "a b", "é", "a/b", strings.Repeat("a", 65)} {
		if _, err := NewChain(id); err == nil {
			t.Errorf("%q is taken as the id of a chain", id)
		}
	}
}

type otherSigner struct{ crypto.Signer }

func TestOnlyEd25519Signs(t *testing.T) {
	c, _ := NewChain("chain-1")
	k, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if _, err := c.Sign(Head{1, Hash{1}}, start, k); err == nil {
		t.Error("an ECDSA key signs")
	}
	if _, err := c.Sign(Head{}, start, seeded(1)); err == nil {
		t.Error("an empty chain is signed")
	}
	cp, err := c.Sign(Head{1, Hash{1}}, start, otherSigner{seeded(1)}) // as a KMS would be
	if err != nil || !cp.SignedBy(public(seeded(1))) || cp.SignedBy(public(seeded(2))) || cp.SignedBy(nil) {
		t.Error(err)
	}
	cp.Hash[0] ^= 1
	if cp.SignedBy(public(seeded(1))) {
		t.Error("the hash is not under the signature")
	}
}

func TestStringsAreWrittenAsRFC8785Says(t *testing.T) {
	var all []byte
	for c := range 0x80 {
		all = append(all, byte(c))
	}
	got := string(appendString(nil, string(all)+"é\u2028😀"))
	var back string
	if err := json.Unmarshal([]byte(got), &back); err != nil || back != string(all)+"é\u2028😀" {
		t.Errorf("%s: %v", got, err)
	}
	if want := `"\u0000\u0001\u0002\u0003\u0004\u0005\u0006\u0007\b\t\n\u000b\f\r\u000e\u000f`; !strings.HasPrefix(got, want) || strings.Contains(got, `\u007f`) || strings.Contains(got, `\u003c`) {
		t.Error(got)
	}
}
