package saml

import (
	"fmt"
	"strings"
	"testing"
)

// heavy are the documents that are most work for their size: as much of
// everything as the bounds allow.
func heavy() map[string]string {
	declared := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `xmlns:a%d="urn:x%d" `, i, i)
		}
		return b.String()
	}
	within := func(prefixes int, inner string) string {
		return "<samlp:x " + declared(prefixes) + ">" + inner + "</samlp:x>"
	}
	var plain, nested strings.Builder
	for i := range maxElements - 100 {
		fmt.Fprintf(&plain, "<a%d:b/> ", i%50)
	}
	const levels = maxDepth - 5
	for n := 0; n < maxDeclarations-100-levels; n += levels {
		for i := range levels {
			fmt.Fprintf(&nested, `<z%d:b xmlns:z%d="u">`, i, i)
		}
		for i := levels - 1; i >= 0; i-- {
			fmt.Fprintf(&nested, `</z%d:b>`, i)
		}
	}
	return map[string]string{
		"elements":                       within(maxNamespaces-8, plain.String()),
		"a namespace on each of many":    within(maxNamespaces-8, strings.Repeat(`<a1:b xmlns:z="u"/>`, maxDeclarations-100)),
		"a namespace on every level":     within(maxNamespaces-8-levels, nested.String()),
		"a namespace on each, few above": within(1, strings.Repeat(`<b xmlns:z="u"/>`, maxDeclarations-100)),
		"attributes":                     within(1, strings.Repeat("<a0:b "+manyAttributes(maxAttributes)+"/>", maxAllAttributes/maxAttributes-2)),
	}
}

func manyAttributes(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `a%d="" `, i)
	}
	return b.String()
}

// BenchmarkWorstStranger is the most work that a message can make before it is
// refused, with a signature in the right form by a key that we do not know.
func BenchmarkWorstStranger(b *testing.B) {
	for name, status := range heavy() {
		b.Run(name, func(b *testing.B) {
			d := newDraft().set(map[string]string{"moreStatus": status})
			d.response = &signing{by: testPairs().evil.key}
			raw, p := d.build(), newParty(b)
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.parse(raw); ReasonOf(err) != ReasonSignature {
					b.Fatal(err)
				}
			}
		})
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
