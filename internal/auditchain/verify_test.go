package auditchain

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func split(text []byte) []string { return slices.Collect(strings.Lines(string(text))) }

func verifyText(text string, o Options) (Report, *Problem) {
	r, err := Verify(strings.NewReader(text), o)
	p, _ := errors.AsType[*Problem](err)
	if err != nil && p == nil {
		panic(err)
	}
	return r, p
}

func TestAWholeChainIsVerifiedAndDescribed(t *testing.T) {
	b := filled(t, 25, 10)
	b.entries = append(b.entries, filled(t, 30, 100).entries[25:]...) // five that nobody signed
	r, err := Verify(iotest.OneByteReader(bytes.NewReader(b.export(t))), Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := Report{
		Chain: "chain-1", From: 1, Head: b.head(), Entries: 30, Checkpoints: 3, First: plain(1).At, Last: plain(30).At, Signed: 25,
		SignedAt: b.signed[25].At, Covered: 25, KeyIDs: []string{KeyID(public(b.key))},
	}
	if d := cmp.Diff(want, r); d != "" || r.Uncovered() != 5 || r.Partial() {
		t.Errorf("%d %s", r.Uncovered(), d)
	}
	r, err = Verify(bytes.NewReader(b.export(t)), b.strict())
	if err != nil || !r.Expected || r.Uncovered() != 0 || !r.Pinned {
		t.Error(err, r)
	}
	o := b.pinned()
	o.KeyIDs, o.Keys = []string{KeyID(o.Keys[0])}, nil
	o.Expect = &Head{20, b.entries[19].Hash} // an old one: later entries are no fault
	if r, err = Verify(bytes.NewReader(b.export(t)), o); err != nil || !r.Expected || r.Covered != 25 {
		t.Error(err, r)
	}
	r, err = Verify(bytes.NewReader(newBench(t, "empty").export(t)), b.pinned())
	if err != nil || r.Uncovered() != 0 || r.Entries != 0 {
		t.Error(err, r)
	}
}

func TestAPartialExportIsVerifiedFromItsOwnStart(t *testing.T) {
	b := filled(t, 25, 10)
	for _, from := range []uint64{2, 11, 25} {
		var out bytes.Buffer
		b.write(t, &out, from)
		o := b.strict()
		r, err := Verify(&out, o)
		if err != nil || !r.Partial() || r.From != from || r.Entries != 26-from || r.Uncovered() != 0 {
			t.Error(from, err, r)
		}
		b.write(t, &out, from)
		o.Whole = true
		if _, p := verifyText(out.String(), o); p == nil || p.Kind != KindPartial {
			t.Error(from, p)
		}
		out.Reset()
		b.write(t, &out, from)
		o = Options{Expect: &Head{1, b.entries[0].Hash}} // not in it, if it begins later than 2
		if _, p := verifyText(out.String(), o); (p == nil) != (from == 2) || p != nil && p.Kind != KindExpected {
			t.Error(from, p)
		}
	}
}

// relink gives an export whose entries from seq on were hashed again after
// spoil, as somebody can do who has the database and not the key.
func relink(t *testing.T, b *bench, seq int, spoil func(*Entry)) *bench {
	t.Helper()
	forged := &bench{chain: b.chain, key: b.key, signed: b.signed}
	for i, e := range b.entries {
		if i+1 == seq {
			spoil(&e)
		}
		forged.add(t, e.AuditEntry)
	}
	return forged
}

func TestSecurityTamperingIsFoundAndNamed(t *testing.T) {
	b := filled(t, 9, 3) // header, 1 2 3 c 4 5 6 c 7 8 9 c, end: checkpoints in lines 5, 9, 13
	ls := split(b.export(t))
	other := newBench(t, "chain-2")
	for i := 1; i <= 9; i++ {
		other.add(t, plain(i))
	}
	other.sign(t)
	els := split(other.export(t))
	edit := func(line int, old, new string) []string {
		out := slices.Clone(ls)
		out[line-1] = strings.Replace(out[line-1], old, new, 1)
		if out[line-1] == ls[line-1] {
			t.Fatalf("line %d has no %s", line, old)
		}
		return out
	}
	drop := func(lines ...int) []string {
		var out []string
		for i, l := range ls {
			if !slices.Contains(lines, i+1) {
				out = append(out, l)
			}
		}
		return out
	}
	put := func(line int, text ...string) []string { return slices.Insert(slices.Clone(ls), line-1, text...) }
	swap := func(a, c int) []string {
		out := slices.Clone(ls)
		out[a-1], out[c-1] = out[c-1], out[a-1]
		return out
	}
	forgedEnd := func(seq int, from []string) []string {
		e := b.entries[seq-1]
		from[len(from)-1] = string(appendEnd(nil, &end{"chain-1", Head{e.Seq, e.Hash}, uint64(seq), uint64(seq / 3)})) + "\n"
		return from
	}
	stranger := &bench{chain: b.chain, key: seeded(9), entries: b.entries[:3], signed: map[uint64]Checkpoint{}}
	stranger.sign(t)
	strangers := stranger.signed[3]
	forged := strangers
	forged.KeyID = KeyID(public(b.key))
	old := b.signed[3]
	relinked := relink(t, b, 5, func(e *Entry) { e.Actor = "user:nobody" })
	lone := relink(t, b, 5, func(e *Entry) { e.Actor = "user:nobody" }).entries[4]
	rehashed := put(6+1, string(appendEntry(nil, "chain-1", &lone))+"\n")
	rehashed = slices.Delete(rehashed, 7, 8)
	for name, c := range map[string]struct {
		lines []string
		line  uint64
		seq   uint64
		kind  Kind
		opt   Options
	}{
		"an altered field":                   {edit(7, "provider-account.update", "provider-account.delete"), 7, 5, KindAltered, Options{}},
		"an altered before":                  {edit(7, `"weight":0`, `"weight":1`), 7, 5, KindAltered, Options{}},
		"an altered time":                    {edit(7, "09:30:05", "09:30:06"), 7, 5, KindAltered, Options{}},
		"an altered hash":                    {edit(14-2, `"hash":"`+b.entries[8].Hash.String()[:2], `"hash":"zz`), 12, 9, KindMalformed, Options{}},
		"another hash":                       {edit(7, b.entries[4].Hash.String(), b.entries[5].Hash.String()), 7, 5, KindAltered, Options{}},
		"an altered prevHash":                {edit(7, b.entries[3].Hash.String(), b.entries[4].Hash.String()), 7, 5, KindUnlinked, Options{}},
		"a field added":                      {edit(7, `"outcome"`, `"extra":1,"outcome"`), 7, 5, KindAltered, Options{}},
		"a field after the hash":             {edit(7, `"}`, `","z":1}`), 7, 5, KindAltered, Options{}},
		"white space":                        {edit(5, `"seq":3`, `"seq": 3`), 5, 3, KindMalformed, Options{}},
		"altered and hashed again":           {rehashed, 8, 6, KindUnlinked, Options{}},
		"all hashed again":                   {split(relinked.export(t)), 9, 6, KindCheckpoint, Options{}},
		"removed in the middle":              {drop(7), 7, 5, KindRemoved, Options{}},
		"removed before a checkpoint":        {drop(8), 8, 6, KindRemoved, Options{}},
		"removed at the start":               {drop(2), 2, 1, KindRemoved, Options{}},
		"removed at the end":                 {drop(12), 12, 9, KindRemoved, Options{}},
		"tail and checkpoint removed":        {drop(12, 13), 12, 9, KindRemoved, Options{}},
		"tail removed, with its end":         {drop(12, 13, 14), 12, 0, KindTruncated, Options{}},
		"tail removed, the end forged":       {forgedEnd(6, drop(10, 11, 12, 13)), 11, 9, KindExpected, b.strict()},
		"the header removed":                 {drop(1), 1, 1, KindHeader, Options{}},
		"a checkpoint removed":               {drop(9), 13, 0, KindTruncated, Options{}},
		"all checkpoints removed":            {forgedEnd(2, append(slices.Clone(ls[:3]), ls[13])), 5, 0, KindUnsigned, b.pinned()},
		"an inserted entry":                  {put(7, els[4]), 7, 4, KindChain, Options{}},
		"an inserted forgery":                {put(7, string(appendEntry(nil, "chain-1", &lone))+"\n"), 8, 5, KindInserted, Options{}},
		"a repeated entry":                   {put(7, ls[5]), 7, 4, KindRepeated, Options{}},
		"an old entry again":                 {put(7, ls[1]), 7, 1, KindInserted, Options{}},
		"neighbours swapped":                 {swap(6, 7), 6, 4, KindReordered, Options{}},
		"first and last swapped":             {swap(2, 12), 2, 1, KindReordered, Options{}},
		"entry and checkpoint swapped":       {swap(8, 9), 8, 6, KindRemoved, Options{}},
		"checkpoints swapped":                {swap(5, 9), 5, 4, KindRemoved, Options{}},
		"a checkpoint repeated":              {put(6, ls[4]), 6, 3, KindRepeated, Options{}},
		"an old checkpoint again":            {put(10, ls[4]), 10, 3, KindCheckpoint, Options{}},
		"a checkpoint's time":                {edit(5, "10:30:00", "10:30:01"), 5, 3, KindSignature, Options{}},
		"a stranger's checkpoint":            {slices.Replace(slices.Clone(ls), 4, 5, string(appendCheckpoint(nil, &strangers))+"\n"), 5, 3, KindUnknownKey, Options{}},
		"a stranger's, in our name":          {slices.Replace(slices.Clone(ls), 4, 5, string(appendCheckpoint(nil, &forged))+"\n"), 5, 3, KindSignature, Options{}},
		"another key pinned":                 {ls, 5, 3, KindUnknownKey, Options{Keys: []ed25519.PublicKey{public(seeded(9))}}},
		"another thumbprint pinned":          {ls, 5, 3, KindUnknownKey, Options{KeyIDs: []string{KeyID(public(seeded(9)))}}},
		"a key under another's name":         {edit(1, KeyID(public(b.key)), KeyID(public(seeded(9)))), 1, 0, KindHeader, Options{}},
		"another chain's header":             {slices.Replace(slices.Clone(ls), 0, 1, els[0]), 2, 1, KindChain, Options{}},
		"the chain renamed throughout":       {split([]byte(strings.ReplaceAll(strings.Join(ls, ""), "chain-1", "chain-2"))), 2, 1, KindAltered, Options{}},
		"a later beginning":                  {edit(1, `"from":1,"prevHash":"`+Hash{}.String(), `"from":2,"prevHash":"`+b.entries[0].Hash.String()), 2, 1, KindInserted, Options{}},
		"a prevHash before the first":        {edit(1, Hash{}.String(), b.entries[0].Hash.String()), 1, 0, KindHeader, Options{}},
		"another prevHash before the rest":   {append(edit(1, `"from":1,"prevHash":"`+Hash{}.String(), `"from":2,"prevHash":"`+b.entries[1].Hash.String())[:1], ls[2:]...), 2, 2, KindUnlinked, Options{}},
		"cut in a line":                      {append(slices.Clone(ls[:7]), ls[7][:40]), 8, 0, KindMalformed, Options{}},
		"cut before the last line feed":      {append(slices.Clone(ls[:13]), strings.TrimSuffix(ls[13], "\n")), 14, 0, KindMalformed, Options{}},
		"cut between lines":                  {ls[:7], 8, 0, KindTruncated, Options{}},
		"cut, and a head was noted":          {ls[:7], 8, 9, KindExpected, b.strict()},
		"nothing":                            {nil, 1, 0, KindHeader, Options{}},
		"garbage":                            {[]string{"\x1b[2Jhello\n"}, 1, 0, KindMalformed, Options{}},
		"garbage after the end":              {append(slices.Clone(ls), "hello\n"), 15, 0, KindTrailing, Options{}},
		"half a line after the end":          {append(slices.Clone(ls), "h"), 15, 0, KindTrailing, Options{}},
		"an empty line after the end":        {append(slices.Clone(ls), "\n"), 15, 0, KindTrailing, Options{}},
		"two exports":                        {append(slices.Clone(ls), ls...), 15, 0, KindTrailing, Options{}},
		"two exports, the first without end": {append(slices.Clone(ls[:13]), ls...), 14, 0, KindHeader, Options{}},
		"a byte order mark":                  {edit(1, "{", "\ufeff{"), 1, 0, KindMalformed, Options{}},
		"carriage returns":                   {edit(1, "\n", "\r\n"), 1, 0, KindMalformed, Options{}},
		"a later version":                    {edit(7, `"v":1`, `"v":2`), 7, 5, KindVersion, Options{}},
		"another head":                       {ls, 7, 5, KindExpected, Options{Expect: &Head{5, b.entries[5].Hash}}},
		"a head to come":                     {ls, 15, 10, KindExpected, Options{Expect: &Head{10, Hash{}}}},
		"an end too early":                   {edit(14, `"seq":9`, `"seq":8`), 14, 0, KindTruncated, Options{}},
		"unsigned entries":                   {forgedEnd(8, append(slices.Clone(ls[:11]), ls[13])), 13, 8, KindUnsigned, Options{SignedHead: true}},
	} {
		r, p := verifyText(strings.Join(c.lines, ""), c.opt)
		if p == nil || p.Kind != c.kind || p.Line != c.line || p.Seq != c.seq || p.What == "" || p.Means == "" {
			t.Errorf("%s: %+v, want line %d, seq %d, %s", name, p, c.line, c.seq, c.kind)
		} else if strings.ContainsAny(p.Error(), "\x1b\n") || r.Entries > 9 {
			t.Errorf("%s: %q %+v", name, p.Error(), r)
		}
	}
	_, p := verifyText(strings.Join(append(edit(1, `"from":1,"prevHash":"`+Hash{}.String(), `"from":2,"prevHash":"`+b.entries[1].Hash.String())[:1], ls[2:]...), ""), Options{})
	if p == nil || !strings.Contains(p.What, "the header") {
		t.Errorf("a first entry of another beginning: %v", p)
	}
	// What an earlier checkpoint says of another history is found by nothing else.
	if old.Hash != relinked.entries[2].Hash {
		t.Error("the forgery should begin after the first checkpoint")
	}
}

// What is not found is said in doc.go; if it is ever found, say so there.
func TestWhatIsNotCoveredIsCountedAndNotClaimed(t *testing.T) {
	b := filled(t, 6, 6)
	b.add(t, plain(7))
	b.add(t, plain(8))
	forged := relink(t, b, 7, func(e *Entry) { e.Actor = "user:nobody" })
	r, p := verifyText(string(forged.export(t)), b.pinned())
	if p != nil || r.Uncovered() != 2 || r.Covered != 6 {
		t.Error(p, r)
	}
	if _, p := verifyText(string(forged.export(t)), b.strict()); p == nil || p.Kind != KindExpected {
		t.Error(p)
	}
}

func TestARotatedKeyIsTrustedBesideTheOld(t *testing.T) {
	b := filled(t, 4, 4)
	was := public(b.key)
	b.key = seeded(2)
	b.add(t, plain(5))
	b.sign(t)
	h := b.header()
	h.Keys = append(h.Keys, was)
	var out bytes.Buffer
	w, _ := NewWriter(&out, h)
	for i := range b.entries {
		_ = w.Entry(&b.entries[i])
		if cp, ok := b.signed[uint64(i+1)]; ok {
			_ = w.Checkpoint(&cp)
			_ = w.Checkpoint(&cp) // two replicas may have kept one each
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Entry(&b.entries[0]); err == nil {
		t.Error("an entry is written after the end")
	}
	both := Options{Keys: []ed25519.PublicKey{was}, KeyIDs: []string{KeyID(public(b.key))}}
	if r, p := verifyText(out.String(), both); p != nil || len(r.KeyIDs) != 2 {
		t.Error(p, r)
	}
	if _, p := verifyText(out.String(), b.pinned()); p == nil || p.Kind != KindUnknownKey || p.Seq != 4 {
		t.Error(p)
	}
}

func TestAnErrorOfTheReaderIsNotATampering(t *testing.T) {
	b := filled(t, 9, 3)
	text := b.export(t)
	r, err := Verify(io.MultiReader(bytes.NewReader(text[:len(text)/2]), iotest.ErrReader(io.ErrClosedPipe)), Options{})
	if !errors.Is(err, io.ErrClosedPipe) || r.Entries == 0 {
		t.Error(err, r)
	}
}

func TestALineMayBeLongAndNotEndless(t *testing.T) {
	b := newBench(t, "chain-1")
	e := plain(1)
	e.After = json.RawMessage(`"` + strings.Repeat("x", 1<<20) + `"`)
	b.add(t, e)
	if r, p := verifyText(string(b.export(t)), Options{}); p != nil || r.Entries != 1 {
		t.Error(p)
	}
	endless := io.LimitReader(repeat('x'), 3*MaxLine)
	r, err := Verify(endless, Options{})
	if p, ok := errors.AsType[*Problem](err); !ok || p.Kind != KindMalformed || r.Entries != 0 {
		t.Error(err)
	}
	if left, _ := io.Copy(io.Discard, endless); left < MaxLine {
		t.Error("the endless line was read to its end")
	}
}

type repeat byte

func (c repeat) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(c)
	}
	return len(b), nil
}

// A database that was written into is still exported, and the export is refused.
func TestSecurityWhatWasAlteredInTheDatabaseIsExportedAndFound(t *testing.T) {
	for name, spoil := range map[string]func(*Entry){
		"actor":           func(e *Entry) { e.Actor = "user:nobody" },
		"before not JSON": func(e *Entry) { e.Before = json.RawMessage("{\n\"hash\":") },
		"before no UTF-8": func(e *Entry) { e.Before = json.RawMessage("\"\xff\"") },
		"before indented": func(e *Entry) { e.Before = json.RawMessage(`{"spec":{"provider":"openai", "weight":0}}`) },
		"a line feed":     func(e *Entry) { e.After = append(e.After, '\n') },
		"before gone":     func(e *Entry) { e.Before = nil },
		"a forged line":   func(e *Entry) { e.Target = "x\"}\n{\"type\":\"end\"" },
		"no UTF-8":        func(e *Entry) { e.Target = "\xff" },
		"nul":             func(e *Entry) { e.Target += "\x00" },
		"time":            func(e *Entry) { e.At = e.At.Add(1e6) },
		"seq":             func(e *Entry) { e.Seq += 100 },
		"hash":            func(e *Entry) { e.Hash[31] ^= 1 },
		"another's prev":  func(e *Entry) { e.PrevHash[0] ^= 1 },
	} {
		b := filled(t, 6, 3)
		spoil(&b.entries[3])
		text := b.export(t)
		if n := bytes.Count(text, []byte("\n")); n != 10 {
			t.Errorf("%s: %d lines", name, n)
		}
		if r, p := verifyText(string(text), Options{}); p == nil || p.Line != 6 || r.Entries != 3 {
			t.Errorf("%s: %v", name, p)
		}
	}
}

func drawn(t *rapid.T) *bench {
	n := rapid.IntRange(1, 12).Draw(t, "entries")
	b := &bench{chain: Chain{"chain-1"}, key: seeded(1), signed: map[uint64]Checkpoint{}}
	text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", `","seq":1`, "\xff", "\x00", "a"}))
	value := rapid.SampledFrom([]string{"", "null", `{"a": 1}`, `"x"`, `{"before":{},"hash":"00"}`, "[1,\n2]"})
	for i := 1; i <= n; i++ {
		e := plain(i)
		e.Actor, e.Target, e.Via = text.Draw(t, "actor"), text.Draw(t, "target"), text.Draw(t, "via")
		e.Before, e.After = json.RawMessage(value.Draw(t, "before")), json.RawMessage(value.Draw(t, "after"))
		prev := b.head()
		next, err := b.chain.Link(prev, &e)
		if err != nil {
			t.Fatal(err)
		}
		b.entries = append(b.entries, Entry{e, next.Seq, prev.Hash, next.Hash})
		if rapid.Bool().Draw(t, "signed") || i == n {
			cp, err := b.chain.Sign(next, start, b.key)
			if err != nil {
				t.Fatal(err)
			}
			b.signed[next.Seq] = cp
		}
	}
	return b
}

func TestSecurityAnySingleMutationOfAnyChainIsFound(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := drawn(rt)
		ls := split(b.export(t))
		if r, p := verifyText(strings.Join(ls, ""), b.strict()); p != nil || r.Uncovered() != 0 {
			rt.Fatal(p)
		}
		got := slices.Clone(ls)
		at := rapid.IntRange(0, len(ls)-1).Draw(rt, "line")
		to := rapid.IntRange(0, len(ls)-1).Draw(rt, "other")
		switch rapid.SampledFrom([]string{"byte", "cut", "remove", "insert", "swap", "repeat"}).Draw(rt, "mutation") {
		case "byte":
			l := []byte(got[at])
			l[rapid.IntRange(0, len(l)-1).Draw(rt, "byte")] ^= byte(rapid.IntRange(1, 255).Draw(rt, "bits"))
			got[at] = string(l)
		case "cut":
			l := got[at]
			i := rapid.IntRange(0, len(l)-1).Draw(rt, "byte")
			got[at] = l[:i] + l[min(len(l), i+rapid.IntRange(1, 40).Draw(rt, "length")):]
		case "remove":
			got = slices.Delete(got, at, at+1)
		case "insert":
			e := b.entries[rapid.IntRange(0, len(b.entries)-1).Draw(rt, "entry")]
			e.Actor += "x"
			h, _ := b.chain.Link(Head{e.Seq - 1, e.PrevHash}, &e.AuditEntry)
			e.Hash = h.Hash
			got = slices.Insert(got, at, string(appendEntry(nil, "chain-1", &e))+"\n")
		case "swap":
			got[at], got[to] = got[to], got[at]
		case "repeat":
			got = slices.Insert(got, to, got[at])
		}
		if slices.Equal(got, ls) {
			rt.Skip("nothing changed")
		}
		// The chain ends with a checkpoint, so the header's own key is enough.
		if r, p := verifyText(strings.Join(got, ""), Options{}); p == nil {
			rt.Fatalf("not found: %+v\n%s", r, strings.Join(got, ""))
		}
	})
}

// A forger who has everything but the key, and hashes again what follows.
func TestSecurityARewrittenHistoryIsFoundByItsCheckpoint(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := drawn(rt)
		at := rapid.IntRange(0, len(b.entries)-1).Draw(rt, "entry")
		forged := &bench{chain: b.chain, key: b.key, signed: b.signed}
		removed, opt := rapid.Bool().Draw(rt, "removed"), b.pinned()
		if removed {
			opt = b.strict() // the last checkpoint goes with the last entry
		}
		for i, e := range b.entries {
			switch {
			case i == at && removed:
				continue
			case i == at:
				e.Outcome += "x"
			}
			forged.add(t, e.AuditEntry)
		}
		if _, p := verifyText(string(forged.export(t)), opt); p == nil {
			rt.Fatal("not found")
		}
	})
}

func FuzzVerify(f *testing.F) {
	b := filled(f, 4, 2)
	good := string(b.export(f))
	for _, l := range split([]byte(good)) {
		f.Add([]byte(strings.Replace(good, l, "", 1)))
		f.Add([]byte(strings.Replace(good, l, l+l, 1)))
	}
	f.Add([]byte(good))
	f.Add([]byte(good[:len(good)/2]))
	f.Add([]byte(strings.ReplaceAll(good, `"seq":3`, `"Seq":3`)))
	entries := func(text string) string {
		var kept []string
		for l := range strings.Lines(text) {
			if strings.HasPrefix(l, entryType) {
				kept = append(kept, l)
			}
		}
		return strings.Join(kept, "")
	}
	want := entries(good)
	opt := b.strict()
	opt.Whole = true
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := Verify(bytes.NewReader(text), opt)
		if _, ok := errors.AsType[*Problem](err); err != nil && !ok {
			t.Fatal(err)
		}
		if fmt.Sprint(err) == "" {
			t.Fatal("an error says nothing")
		}
		// A header with another key and a checkpoint less are no lie of an
		// entry; an entry that differs, or is missing, would be.
		if err == nil && (entries(string(text)) != want || r.Entries != 4 || r.Head != b.head()) {
			t.Fatalf("verified: %s", text)
		}
	})
}
