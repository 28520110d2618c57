// Gatehouse is the one binary: the server (serve, dev), what works on its
// database (migrate, break-glass), and the command line that talks to one (apply,
// get, delete, export, explain, test-sign-in, token, whoami, audit).
//
// This package owns the commands, their flags, what they print and the exit
// status: 0 done, 1 failed, 2 wrong usage or configuration. It does not own the
// settings (internal/app/settings), the server (internal/app), or how manifests
// are read (internal/manifest). One small file holds one command.
package main
