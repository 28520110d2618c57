package store

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/record"
)

// requestFormat is the first byte of packed details. A reader reads every
// format up to its own; fields are only ever added, at the end, in a new one.
const requestFormat = 1

// packedTexts are the texts without a column, in the order in which they are packed.
func packedTexts(r *record.Request) [15]*string {
	return [...]*string{
		&r.ID, &r.Endpoint, &r.PrincipalKind, &r.Principal, &r.Issuer, &r.Subject, &r.Email, &r.Via, &r.TokenID,
		&r.Provider, &r.UpstreamModel, &r.Code, &r.RemoteAddr, &r.Metadata, &r.TraceID,
	}
}

func packRequest(b []byte, r *record.Request) []byte {
	b = append(b, requestFormat)
	for _, s := range packedTexts(r) {
		b = binary.AppendUvarint(b, uint64(len(*s)))
		b = append(b, *s...)
	}
	for _, n := range [...]int64{flag(r.Stream), r.BytesIn, r.BytesOut, r.FirstByte.Microseconds()} {
		b = binary.AppendVarint(b, n)
	}
	return b
}

var errPacked = errors.New("the details of a record are damaged")

func unpackRequest(b []byte, r *record.Request) error {
	if len(b) == 0 || b[0] != requestFormat {
		return fmt.Errorf("%w: unknown format", errPacked)
	}
	b = b[1:]
	for _, s := range packedTexts(r) {
		n, size := binary.Uvarint(b)
		if size <= 0 || n > uint64(len(b)-size) {
			return errPacked
		}
		*s = string(b[size : size+int(n)])
		b = b[size+int(n):]
	}
	var numbers [4]int64
	for i := range numbers {
		n, size := binary.Varint(b)
		if size <= 0 {
			return errPacked
		}
		numbers[i], b = n, b[size:]
	}
	r.Stream, r.BytesIn, r.BytesOut = numbers[0] != 0, numbers[1], numbers[2]
	r.FirstByte = time.Duration(numbers[3]) * time.Microsecond
	return nil
}

func jsonOf(v any) (json.RawMessage, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("marshal: %w", err)
	}
	return b, nil
}
