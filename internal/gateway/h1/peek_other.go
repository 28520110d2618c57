//go:build !unix

package h1

import "syscall"

// peeker cannot look without reading here: a connection that was closed while
// it idled is noticed when it is used.
type peeker struct{ raw syscall.RawConn }

func (p *peeker) quiet() bool { return true }
