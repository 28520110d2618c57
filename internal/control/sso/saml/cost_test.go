package saml

import (
	"fmt"
	"strings"
	"testing"
)

// BenchmarkWorstStranger is the most work that a message can make before it is
// refused: as many elements and namespaces as the bounds allow, with a
// signature in the right form by a key that we do not know.
func BenchmarkWorstStranger(b *testing.B) {
	var many strings.Builder
	many.WriteString("<samlp:x ")
	for i := range maxNamespaces - 8 {
		fmt.Fprintf(&many, `xmlns:a%d="urn:x%d" `, i, i)
	}
	many.WriteString(">")
	for i := range maxElements - 100 {
		fmt.Fprintf(&many, "<a%d:b/> ", i%50)
	}
	many.WriteString("</samlp:x>")
	d := newDraft().set(map[string]string{"moreStatus": many.String()})
	d.response = &signing{by: testPairs().evil.key}
	raw, p := d.build(), newParty(b)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.parse(raw); ReasonOf(err) != ReasonSignature {
			b.Fatal(err)
		}
	}
}

func BenchmarkSignIn(b *testing.B) {
	raw := newDraft().build()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := newParty(b).parse(raw); err != nil {
			b.Fatal(err)
		}
	}
}
