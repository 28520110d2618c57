package stored

import (
	"context"
	"errors"
	"fmt"

	"github.com/gatehouse-ai/gatehouse/internal/seal"
	"github.com/gatehouse-ai/gatehouse/internal/secret"
)

// SealedReader reads the sealed value of one field of a resource, with the
// digest that was stored beside it.
type SealedReader interface {
	SealedSecret(ctx context.Context, resourceUID, path string) (sealed []byte, digest string, err error)
}

// Opener opens sealed bytes; seal.Keyset is one.
type Opener interface {
	Open(sealed, associatedData []byte) ([]byte, error)
}

// Backend opens stored values.
type Backend struct {
	reader SealedReader
	opener Opener
}

// New returns a backend.
func New(reader SealedReader, opener Opener) *Backend {
	return &Backend{reader: reader, opener: opener}
}

// Fetch returns the stored value. It must be the one that the reference's
// digest names: where the database has moved on already, its new value may
// belong to a new destination, and is not given to the old one.
func (b *Backend) Fetch(ctx context.Context, ref secret.Ref) (string, error) {
	sealed, digest, err := b.reader.SealedSecret(ctx, ref.ResourceUID, ref.Path)
	if err != nil {
		return "", fmt.Errorf("read the stored value: %w", err)
	}
	if ref.Value.Digest != "" && digest != ref.Value.Digest {
		return "", errors.New("the stored value is not the one that this configuration refers to")
	}
	plain, err := b.opener.Open(sealed, seal.AssociatedData(ref.ResourceUID, ref.Path))
	if err != nil {
		return "", fmt.Errorf("open the stored value: %w", err)
	}
	return string(plain), nil
}
