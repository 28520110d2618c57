//go:build !unix

package h1

import "syscall"

// canPeek: without it no connection can be used twice, so that everything goes
// the other way.
const canPeek = false

type peeker struct{ raw syscall.RawConn }

func (p *peeker) quiet() bool { return false }
