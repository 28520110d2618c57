//go:build unix

package h1

import "syscall"

const canPeek = true

// peeker looks whether something has come on a connection, without reading it.
type peeker struct {
	raw  syscall.RawConn
	buf  [1]byte
	got  bool
	look func(fd uintptr) bool // made once
}

// quiet reports that nothing has come: no bytes, no end, no error. Where it
// cannot look, it does not say so.
func (p *peeker) quiet() bool {
	if p.raw == nil {
		return false
	}
	if p.look == nil {
		p.look = func(fd uintptr) bool {
			_, _, err := syscall.Recvfrom(int(fd), p.buf[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
			p.got = err != syscall.EAGAIN && err != syscall.EINTR //nolint:errorlint // an errno as the system call gave it
			return true
		}
	}
	p.got = true
	return p.raw.Read(p.look) == nil && !p.got
}
