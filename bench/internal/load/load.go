// Package load is a small HTTP/1.1 load generator: one goroutine and one
// keep-alive connection per worker, prebuilt request bytes, minimal parsing.
package load

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Plan is one bounded run.
type Plan struct {
	Addr    string        // loopback host:port
	Request []byte        // full HTTP/1.1 request
	Each    [][]byte      // instead of Request: the i-th request, each sent once
	Cycle   bool          // begin again after the last of Each
	Workers int           // connections
	Rate    float64       // requests/s for an open loop; 0 is a closed loop
	For     time.Duration // how long to send
	Max     int           // at most so many requests; 0 is no limit
	// Check looks at every answer that came in chunks, whole; what it returns
	// makes the request count as an error. Nil: bodies are thrown away.
	Check func(body []byte) error
}

// Result holds what was observed. Latencies are sorted.
type Result struct {
	Requests, Errors, Late int
	Elapsed                time.Duration
	Latency                []time.Duration // request written to answer read whole
	First                  []time.Duration // request written to first body bytes
	FirstError             string
}

// Quantile reads a sorted slice.
func Quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

type worker struct {
	plan  *Plan
	conn  net.Conn
	r     *bufio.Reader
	total []time.Duration
	first []time.Duration
	errs  int
	late  int
	err   error
	body  []byte // the answer, for Check
}

// Run carries the plan out.
func Run(p Plan) (Result, error) {
	host, _, err := net.SplitHostPort(p.Addr)
	if err != nil || !net.ParseIP(host).IsLoopback() {
		return Result{}, fmt.Errorf("refusing to load %q: not a loopback address", p.Addr)
	}
	if p.Max == 0 {
		p.Max = 1 << 30
	}
	if p.Each != nil && !p.Cycle {
		p.Max = len(p.Each)
	}
	var next atomic.Int64
	ws := make([]*worker, p.Workers)
	for i := range ws {
		ws[i] = &worker{plan: &p}
		if err := ws[i].dial(); err != nil {
			return Result{}, err
		}
	}
	start := time.Now()
	end := start.Add(p.For)
	var wg sync.WaitGroup
	for _, w := range ws {
		wg.Go(func() {
			defer func() { w.conn.Close() }()
			for {
				i := next.Add(1) - 1
				if i >= int64(p.Max) {
					return
				}
				if p.Rate > 0 {
					at := start.Add(time.Duration(float64(i) / p.Rate * float64(time.Second)))
					if at.After(end) {
						return
					}
					d := time.Until(at)
					if d > 0 {
						time.Sleep(d)
					} else if d < -5*time.Millisecond {
						w.late++
					}
				} else if !time.Now().Before(end) {
					return
				}
				request := p.Request
				if p.Each != nil {
					request = p.Each[i%int64(len(p.Each))]
				}
				if !w.once(request) && w.errs > 1000 {
					return
				}
			}
		})
	}
	wg.Wait()
	res := Result{Elapsed: time.Since(start)}
	for _, w := range ws {
		res.Latency = append(res.Latency, w.total...)
		res.First = append(res.First, w.first...)
		res.Errors += w.errs
		res.Late += w.late
		if w.err != nil && res.FirstError == "" {
			res.FirstError = w.err.Error()
		}
	}
	res.Requests = len(res.Latency)
	slices.Sort(res.Latency)
	slices.Sort(res.First)
	return res, nil
}

func (w *worker) dial() error {
	c, err := net.DialTimeout("tcp", w.plan.Addr, 5*time.Second)
	if err != nil {
		return err
	}
	w.conn, w.r = c, bufio.NewReaderSize(c, 16<<10)
	return nil
}

func (w *worker) once(request []byte) bool {
	start := time.Now()
	first, reuse, err := w.exchange(request)
	if err != nil {
		w.errs++
		if w.err == nil {
			w.err = err
		}
	} else {
		w.total = append(w.total, time.Since(start))
		w.first = append(w.first, first.Sub(start))
	}
	if err != nil || !reuse {
		w.conn.Close()
		if err := w.dial(); err != nil {
			time.Sleep(time.Millisecond)
		}
	}
	return err == nil
}

func (w *worker) exchange(request []byte) (first time.Time, reuse bool, err error) {
	w.conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err = w.conn.Write(request); err != nil {
		return
	}
	line, err := w.r.ReadSlice('\n')
	if err != nil {
		return
	}
	if len(line) < 12 || string(line[9:12]) != "200" {
		status := string(bytes.TrimSpace(line))
		return first, false, errors.New(status)
	}
	length, chunked := -1, false
	reuse = true
	for {
		if line, err = w.r.ReadSlice('\n'); err != nil {
			return
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("content-length")):
			length, _ = strconv.Atoi(string(value))
		case bytes.EqualFold(name, []byte("transfer-encoding")):
			chunked = true
		case bytes.EqualFold(name, []byte("connection")):
			reuse = !bytes.EqualFold(value, []byte("close"))
		}
	}
	if !chunked {
		if length <= 0 {
			return first, false, errors.New("answer without a body length")
		}
		if _, err = w.r.Peek(1); err != nil {
			return
		}
		first = time.Now()
		_, err = w.r.Discard(length)
		return
	}
	first, err = w.chunks()
	return
}

// chunks reads a chunked body.
func (w *worker) chunks() (first time.Time, err error) {
	w.body = w.body[:0]
	for {
		line, err := w.r.ReadSlice('\n')
		if err != nil {
			return first, err
		}
		n, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 16, 64)
		if err != nil {
			return first, err
		}
		if n > 0 && first.IsZero() {
			if _, err = w.r.Peek(1); err != nil {
				return first, err
			}
			first = time.Now()
		}
		if w.plan.Check != nil && n > 0 {
			at := len(w.body)
			w.body = slices.Grow(w.body, int(n))[:at+int(n)]
			if _, err = io.ReadFull(w.r, w.body[at:]); err != nil {
				return first, err
			}
			if _, err = w.r.Discard(2); err != nil {
				return first, err
			}
			continue
		}
		if _, err = w.r.Discard(int(n) + 2); err != nil {
			return first, err
		}
		if n > 0 {
			continue
		}
		if first.IsZero() {
			return first, io.ErrUnexpectedEOF
		}
		if w.plan.Check != nil {
			err = w.plan.Check(w.body)
		}
		return first, err
	}
}
