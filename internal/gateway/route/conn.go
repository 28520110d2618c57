package route

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
)

// writeChunk is how much of a body is written at once.
const writeChunk = 64 << 10

// dialFunc is http.Transport's DialContext.
type dialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// pooledWrites makes connections whose large writes go through buffers that
// are used again: net/http would make a new one of 32 KiB for every request
// whose body is larger than the transport's own buffer.
func pooledWrites(dial dialFunc, buffers *sync.Pool) dialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &conn{Conn: c, buffers: buffers}, nil
	}
}

type conn struct {
	net.Conn
	buffers *sync.Pool
}

// ReadFrom is what net/http calls with a request's body.
func (c *conn) ReadFrom(r io.Reader) (total int64, err error) {
	hold, ok := c.buffers.Get().(*[]byte)
	if !ok {
		b := make([]byte, writeChunk)
		hold = &b
	}
	defer c.buffers.Put(hold)
	for {
		n, rerr := r.Read(*hold)
		if n > 0 {
			w, err := c.Write((*hold)[:n])
			total += int64(w)
			if err != nil {
				return total, err
			}
		}
		if errors.Is(rerr, io.EOF) {
			return total, nil
		}
		if rerr != nil {
			return total, rerr
		}
	}
}
