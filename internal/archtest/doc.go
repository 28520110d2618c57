// Package archtest holds the layering of docs/ARCHITECTURE.md as a test: who
// may import whom, which third-party library each leaf may use, and a few of
// the house rules that can be read off the source.
//
// It owns no code that runs. Nobody imports it.
package archtest
