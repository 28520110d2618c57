// Refgen is the command that writes docs/settings.md. It owns nothing but the
// writing; the text comes from internal/app/settings. go generate calls it.
package main
