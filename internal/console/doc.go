// Package console serves the web console, and says so plainly where it has not
// been built.
//
// It owns the paths below /console/ and the redirect of /. It does not own any
// data: the console asks the control API like everybody else. Called by
// internal/app.
package console
