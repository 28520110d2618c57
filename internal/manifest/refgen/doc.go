// Command refgen writes docs/manifests.md from the doc comments of api/v1 and
// the examples in examples/.
//
// It owns the page's form. It does not own what the fields mean (api/v1). Run
// by `make generate`; a test fails where the page is out of date.
package main
