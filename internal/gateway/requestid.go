package gateway

import (
	"encoding/hex"
	"math/rand/v2"
	"time"
)

// newRequestID makes a UUIDv7 (RFC 9562 section 5.7). The id is shown to the
// caller and is no secret, so the runtime's own generator is good enough.
func newRequestID(now time.Time) string {
	ms, a, b := uint64(now.UnixMilli()), rand.Uint64(), rand.Uint64()
	raw := [16]byte{
		byte(ms >> 40), byte(ms >> 32), byte(ms >> 24), byte(ms >> 16), byte(ms >> 8), byte(ms),
		0x70 | byte(a>>8)&0x0f, byte(a),
		0x80 | byte(b>>56)&0x3f, byte(b >> 48), byte(b >> 40), byte(b >> 32), byte(b >> 24), byte(b >> 16), byte(b >> 8), byte(b),
	}
	var s [36]byte
	hex.Encode(s[0:8], raw[0:4])
	hex.Encode(s[9:13], raw[4:6])
	hex.Encode(s[14:18], raw[6:8])
	hex.Encode(s[19:23], raw[8:10])
	hex.Encode(s[24:], raw[10:])
	s[8], s[13], s[18], s[23] = '-', '-', '-', '-'
	return string(s[:])
}

// traceID reads the trace id of a traceparent header (W3C Trace Context,
// section 3.2.2); empty where there is none, or one that is not well formed.
func traceID(values []string) string {
	if len(values) != 1 {
		return ""
	}
	v := values[0]
	if len(v) < 55 || v[2] != '-' || v[35] != '-' || v[52] != '-' {
		return ""
	}
	id := v[3:35]
	zero := true
	for i := 0; i < len(id); i++ {
		c := id[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return ""
		}
		zero = zero && c == '0'
	}
	if zero {
		return ""
	}
	return id
}
