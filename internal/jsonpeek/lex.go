package jsonpeek

import (
	"encoding/binary"
	"math/bits"
)

// MaxDepth is how many objects and arrays may be open at once, the top level
// included. It bounds the stack that a hostile body can use.
const MaxDepth = 512

// The skip functions take the position of what they skip and return the
// position after it; with a fault, the position of the offending byte.

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// skipValue skips one value that starts at i. depth is the number of
// containers that are open around it.
func skipValue(b []byte, i, depth int) (int, fault) {
	if i >= len(b) {
		return i, faultSyntax
	}
	switch b[i] {
	case '"':
		return skipString(b, i+1)
	case '{':
		return skipObject(b, i, depth+1)
	case '[':
		return skipArray(b, i, depth+1)
	case 't':
		return skipWord(b, i, "true")
	case 'f':
		return skipWord(b, i, "false")
	case 'n':
		return skipWord(b, i, "null")
	default:
		return skipNumber(b, i)
	}
}

func skipObject(b []byte, i, depth int) (int, fault) {
	if depth > MaxDepth {
		return i, faultDepth
	}
	i = skipSpace(b, i+1)
	if i < len(b) && b[i] == '}' {
		return i + 1, faultNone
	}
	for {
		var f fault
		if _, i, f = skipName(b, i); f != faultNone {
			return i, f
		}
		if i, f = skipValue(b, i, depth); f != faultNone {
			return i, f
		}
		var more bool
		if i, more, f = skipSeparator(b, i, '}'); f != faultNone || !more {
			return i, f
		}
	}
}

func skipArray(b []byte, i, depth int) (int, fault) {
	if depth > MaxDepth {
		return i, faultDepth
	}
	i = skipSpace(b, i+1)
	if i < len(b) && b[i] == ']' {
		return i + 1, faultNone
	}
	for {
		var f fault
		if i, f = skipValue(b, i, depth); f != faultNone {
			return i, f
		}
		var more bool
		if i, more, f = skipSeparator(b, i, ']'); f != faultNone || !more {
			return i, f
		}
	}
}

// skipName skips a member's name, the colon and the space around it. nameEnd
// is the position after the closing quote.
func skipName(b []byte, i int) (nameEnd, next int, f fault) {
	if i >= len(b) || b[i] != '"' {
		return 0, i, faultSyntax
	}
	nameEnd, f = skipString(b, i+1)
	if f != faultNone {
		return 0, nameEnd, f
	}
	i = skipSpace(b, nameEnd)
	if i >= len(b) || b[i] != ':' {
		return 0, i, faultSyntax
	}
	return nameEnd, skipSpace(b, i+1), faultNone
}

// skipSeparator skips a comma (more is true, next is where the next element
// must start) or the closing bracket.
func skipSeparator(b []byte, i int, closing byte) (next int, more bool, f fault) {
	i = skipSpace(b, i)
	switch {
	case i >= len(b):
		return i, false, faultSyntax
	case b[i] == ',':
		return skipSpace(b, i+1), true, faultNone
	case b[i] == closing:
		return i + 1, false, faultNone
	default:
		return i, false, faultSyntax
	}
}

func skipWord(b []byte, i int, word string) (int, fault) {
	if len(b)-i < len(word) || string(b[i:i+len(word)]) != word {
		return i, faultSyntax
	}
	return i + len(word), faultNone
}

// skipNumber follows RFC 8259 section 6.
func skipNumber(b []byte, i int) (int, fault) {
	if i < len(b) && b[i] == '-' {
		i++
	}
	switch {
	case i >= len(b):
		return i, faultSyntax
	case b[i] == '0':
		i++
	case b[i] >= '1' && b[i] <= '9':
		i = skipDigits(b, i)
	default:
		return i, faultSyntax
	}
	if i < len(b) && b[i] == '.' {
		start := i + 1
		if i = skipDigits(b, start); i == start {
			return i, faultSyntax
		}
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		start := i + 1
		if start < len(b) && (b[start] == '+' || b[start] == '-') {
			start++
		}
		if i = skipDigits(b, start); i == start {
			return i, faultSyntax
		}
	}
	return i, faultNone
}

func skipDigits(b []byte, i int) int {
	for i < len(b) && b[i] >= '0' && b[i] <= '9' {
		i++
	}
	return i
}

// skipString skips the rest of a string whose opening quote is before i. Most
// of a body is here, so it looks at 32 bytes at a time where they are plain.
func skipString(b []byte, i int) (int, fault) {
	for {
		i = skipPlain(b, i)
		if i >= len(b) {
			return i, faultSyntax
		}
		if b[i] == '"' {
			return i + 1, faultNone
		}
		// Text that a client wrote in ASCII is one escape after the other.
		for i < len(b) && b[i] == '\\' {
			n := escapeLen(b, i)
			if n == 0 {
				return i, faultSyntax
			}
			i += n
		}
		if i < len(b) && b[i] < 0x20 {
			return i, faultSyntax
		}
	}
}

// skipPlain goes on to the next byte that stops (see stops), or to the end.
func skipPlain(b []byte, i int) int {
	for len(b)-i >= 32 {
		w := b[i : i+32 : i+32]
		m0, m1 := stops(binary.LittleEndian.Uint64(w)), stops(binary.LittleEndian.Uint64(w[8:]))
		if m0|m1 != 0 {
			if m0 != 0 {
				return i + bits.TrailingZeros64(m0)>>3
			}
			return i + 8 + bits.TrailingZeros64(m1)>>3
		}
		m0, m1 = stops(binary.LittleEndian.Uint64(w[16:])), stops(binary.LittleEndian.Uint64(w[24:]))
		if m0|m1 != 0 {
			if m0 != 0 {
				return i + 16 + bits.TrailingZeros64(m0)>>3
			}
			return i + 24 + bits.TrailingZeros64(m1)>>3
		}
		i += 32
	}
	for i < len(b) && b[i] >= 0x20 && b[i] != '"' && b[i] != '\\' {
		i++
	}
	return i
}

// stops marks the bytes of w that a run of plain string bytes ends at: a
// quote, a backslash or a control character. Subtracting borrows into the high
// bit of a byte that is too small; the lowest mark is exact, higher ones may
// be wrong, which is enough to find the first.
func stops(w uint64) uint64 {
	const ones = 0x0101010101010101
	return ((w - ones*0x20) | ((w ^ ones*'"') - ones) | ((w ^ ones*'\\') - ones)) &^ w & (ones * 0x80)
}

// escapeLen gives the length of the escape that starts at b[i], or 0 if none
// does.
func escapeLen(b []byte, i int) int {
	if i+1 >= len(b) || b[i] != '\\' {
		return 0
	}
	switch b[i+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if _, ok := hex4(b, i+2); ok {
			return 6
		}
	}
	return 0
}

// hex4 reads the four hexadecimal digits at i.
func hex4(b []byte, i int) (rune, bool) {
	if len(b)-i < 4 {
		return 0, false
	}
	var r rune
	for _, c := range b[i : i+4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}
