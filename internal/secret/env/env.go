package env

import (
	"context"
	"fmt"
	"os"

	"github.com/gatehouse-ai/gatehouse/internal/secret"
)

// Backend reads environment variables.
type Backend struct {
	lookup func(string) (string, bool)
}

// New returns a backend that reads with lookup; nil means os.LookupEnv.
func New(lookup func(string) (string, bool)) *Backend {
	if lookup == nil {
		lookup = os.LookupEnv
	}
	return &Backend{lookup: lookup}
}

// Fetch returns the variable. An unset or empty one is an error that names it.
func (b *Backend) Fetch(_ context.Context, ref secret.Ref) (string, error) {
	value, ok := b.lookup(ref.Value.Env)
	if !ok || value == "" {
		return "", fmt.Errorf("the environment variable %s is not set", ref.Value.Env)
	}
	return value, nil
}
