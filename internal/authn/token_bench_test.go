package authn

import "testing"

// BenchmarkNewToken is a token that was never seen before: parsed, verified,
// read and resolved.
func BenchmarkNewToken(b *testing.B) {
	t := &testing.T{}
	bench := newBench(t, idp(t, "acme", acme, jwks("acme=k1"), ""), everybody(t, "all", "acme"))
	token := sign(t, "acme", "k1", base(acme))
	b.ReportAllocs()
	for b.Loop() {
		bench.a.cache.tokens.InvalidateAll()
		if _, err := bench.ask(token); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSeenToken is a token that is in the cache.
func BenchmarkSeenToken(b *testing.B) {
	t := &testing.T{}
	bench := newBench(t, idp(t, "acme", acme, jwks("acme=k1"), ""), everybody(t, "all", "acme"))
	token := sign(t, "acme", "k1", base(acme))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := bench.ask(token); err != nil {
			b.Fatal(err)
		}
	}
}
