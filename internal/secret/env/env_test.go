package env_test

import (
	"strings"
	"testing"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/secret"
	"github.com/gatehouse-ai/gatehouse/internal/secret/env"
)

func TestUnsetAndEmptyVariablesAreErrors(t *testing.T) {
	t.Setenv("GATEHOUSE_TEST_SET", " sk ")
	t.Setenv("GATEHOUSE_TEST_EMPTY", "")
	for name, want := range map[string]string{"GATEHOUSE_TEST_SET": " sk ", "GATEHOUSE_TEST_EMPTY": "", "GATEHOUSE_TEST_UNSET": ""} {
		got, err := env.New(nil).Fetch(t.Context(), secret.Ref{Value: v1.SecretValue{Env: name}})
		if got != want || (err == nil) != (want != "") || err != nil && !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
