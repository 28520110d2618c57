package sse

import (
	"encoding/binary"
	"errors"
	"math/bits"
)

// DefaultMaxEvent is the size that a Splitter bounds events to unless told
// otherwise: 1 MiB.
const DefaultMaxEvent = 1 << 20

// keptBuffer is how much memory a Splitter keeps over a Reset.
const keptBuffer = 64 << 10

// ErrTooLong: an event is larger than the Splitter's limit. Its bytes may be
// passed on; it will not be reported.
var ErrTooLong = errors.New("event is too long")

const byteOrderMark = "\ufeff"

// Splitter finds the ends of events in a stream that arrives in chunks. The
// zero Splitter is ready, with DefaultMaxEvent. It is for one stream and one
// goroutine at a time.
type Splitter struct {
	limit   int
	mark    int    // bytes of the byte order mark seen; past its length when the start of the stream is over
	open    bool   // an event has begun
	inLine  bool   // a line has begun
	afterCR bool   // the last byte was a CR: an LF that follows belongs to it
	skip    bool   // the open event is too long and its rest is not kept
	given   bool   // buf was given out by the last Next and is free now
	buf     []byte // what earlier chunks hold of the open event
}

// NewSplitter gives a Splitter that reports events of up to maxEvent bytes; 0
// or less means DefaultMaxEvent. An event's size is that of its lines with
// their ends, without the empty line that closes it.
func NewSplitter(maxEvent int) *Splitter {
	return &Splitter{limit: maxEvent}
}

// Reset makes the Splitter ready for another stream. It keeps the limit and a
// buffer of moderate size.
func (s *Splitter) Reset() {
	buf := s.buf[:0]
	if cap(buf) > keptBuffer {
		buf = nil
	}
	*s = Splitter{limit: s.limit, buf: buf}
}

// Next looks for the end of an event in chunk, which follows the bytes that it
// was given before. n is how many bytes of chunk it has dealt with: up to the
// end of the event, or all of them. The caller passes chunk[:n] on and calls
// again with the rest, until nothing is left; n is 0 only for an empty chunk.
//
// event is a complete event, or nil if chunk ended first: its lines with their
// ends, without the empty line that closes it, a byte order mark, or empty
// lines before it. It points into chunk or into the Splitter and is good until
// the next call. A block of comments, a keep-alive, is an event without data.
// How the stream is cut into chunks makes no difference to the events.
//
// ErrTooLong is returned once for an event that is larger than the limit, as
// soon as that is known; the events after it are found as usual.
func (s *Splitter) Next(chunk []byte) (event []byte, n int, err error) {
	if s.given {
		s.buf, s.given = s.buf[:0], false
	}
	i := s.skipMark(chunk)
	start := i // of the open event in this chunk
	for i < len(chunk) {
		if s.afterCR {
			s.afterCR = false
			if chunk[i] == '\n' {
				if i++; !s.open {
					start = i
				}
				continue
			}
		}
		k := lineEnd(chunk[i:])
		if k < 0 {
			s.open, s.inLine = true, true
			break
		}
		end := i + k
		i = s.endLine(chunk, end)
		if k > 0 || s.inLine {
			s.open, s.inLine = true, false
			continue
		}
		if s.open && !s.skip {
			s.open = false
			event, err = s.finish(chunk[start:end])
			return event, i, err
		}
		s.open, s.skip = false, false
		start = i
	}
	return nil, len(chunk), s.keep(chunk[start:])
}

// endLine steps over the line end at end. An LF after a CR goes with it if it
// has come already; if not, the line has ended all the same.
func (s *Splitter) endLine(chunk []byte, end int) int {
	next := end + 1
	if chunk[end] == '\n' {
		return next
	}
	if next == len(chunk) {
		s.afterCR = true
	} else if chunk[next] == '\n' {
		next++
	}
	return next
}

// finish puts the last part of an event to what earlier chunks held of it.
func (s *Splitter) finish(part []byte) ([]byte, error) {
	if len(s.buf)+len(part) > s.max() {
		s.buf = s.buf[:0]
		return nil, ErrTooLong
	}
	if len(s.buf) == 0 {
		return part[:len(part):len(part)], nil
	}
	s.buf = append(s.buf, part...)
	s.given = true
	return s.buf, nil
}

// keep remembers the beginning of an event until the next chunk comes.
func (s *Splitter) keep(part []byte) error {
	if s.skip {
		return nil
	}
	if len(s.buf)+len(part) > s.max() {
		s.buf, s.skip = s.buf[:0], true
		return ErrTooLong
	}
	s.buf = append(s.buf, part...)
	return nil
}

func (s *Splitter) max() int {
	if s.limit <= 0 {
		return DefaultMaxEvent
	}
	return s.limit
}

// skipMark steps over a byte order mark at the start of the stream, whose
// bytes may come one by one. Bytes that only began like it are the event's.
func (s *Splitter) skipMark(chunk []byte) int {
	i := 0
	for s.mark < len(byteOrderMark) && i < len(chunk) {
		if chunk[i] != byteOrderMark[s.mark] {
			if s.mark > 0 {
				s.buf = append(s.buf, byteOrderMark[:s.mark]...)
				s.open, s.inLine = true, true
			}
			s.mark = len(byteOrderMark)
			return i
		}
		s.mark++
		i++
	}
	return i
}

// Rest gives what has come of an event that has not ended. The standard says
// to discard it when the stream ends; some servers leave out the last empty
// line, so a relay may want to look for usage there. It is nil if there is
// nothing, or if the event is too long; good until the next call of Next.
func (s *Splitter) Rest() []byte {
	if s.given || len(s.buf) == 0 {
		return nil
	}
	return s.buf
}

// lineEnd gives the position of the first CR or LF, or -1. It looks at eight
// bytes at a time: data lines are long, and a search for each of the two would
// run to the end of the chunk for the one that the stream does not use.
func lineEnd(b []byte) int {
	const ones = 0x0101010101010101
	i := 0
	for ; len(b)-i >= 8; i += 8 {
		w := binary.LittleEndian.Uint64(b[i:])
		cr, lf := w^ones*'\r', w^ones*'\n'
		// A byte that is zero borrows; the lowest mark is exact.
		if m := ((cr - ones) | (lf - ones)) &^ w & (ones * 0x80); m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
	}
	for ; i < len(b); i++ {
		if b[i] == '\r' || b[i] == '\n' {
			return i
		}
	}
	return -1
}
