package stored_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/seal"
	"github.com/gatehouse-ai/gatehouse/internal/secret"
	"github.com/gatehouse-ai/gatehouse/internal/secret/stored"
)

type row struct {
	sealed []byte
	digest string
	err    error
}

func (r row) SealedSecret(context.Context, string, string) ([]byte, string, error) {
	return r.sealed, r.digest, r.err
}

func keyset(t *testing.T) *seal.Keyset {
	t.Helper()
	k, err := seal.Open("file:"+t.TempDir()+"/k", seal.Options{CreateFile: true})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestSecurityStoredValueOpensAtItsPlaceOnly(t *testing.T) {
	k, other := keyset(t), keyset(t)
	ad := seal.AssociatedData("u1", "spec.key")
	sealed, err := k.Seal([]byte("sk-private"), ad)
	if err != nil {
		t.Fatal(err)
	}
	d := k.Digest("sk-private", ad)
	away := errors.New("database is away")
	for _, tc := range []struct {
		name, uid, path, digest string
		row                     row
		opener                  stored.Opener
		want                    string
		wantErr                 error
		text                    string
	}{
		{name: "its place", uid: "u1", path: "spec.key", digest: d, row: row{sealed, d, nil}, opener: k, want: "sk-private"},
		{name: "no digest in the reference", uid: "u1", path: "spec.key", row: row{sealed, d, nil}, opener: k, want: "sk-private"},
		{name: "another resource's bytes", uid: "u2", path: "spec.key", digest: d, row: row{sealed, d, nil}, opener: k, wantErr: seal.ErrAltered},
		{name: "another field's bytes", uid: "u1", path: "spec.other", digest: d, row: row{sealed, d, nil}, opener: k, wantErr: seal.ErrAltered},
		{name: "another master key", uid: "u1", path: "spec.key", digest: d, row: row{sealed, d, nil}, opener: other, wantErr: seal.ErrWrongKey},
		{name: "a newer value", uid: "u1", path: "spec.key", digest: "hmac:older", row: row{sealed, d, nil}, opener: k, text: "not the one that this configuration refers to"},
		{name: "away", uid: "u1", path: "spec.key", digest: d, row: row{err: away}, opener: k, wantErr: away},
	} {
		ref := secret.Ref{ResourceUID: tc.uid, Path: tc.path, Value: v1.SecretValue{Stored: true, Digest: tc.digest}}
		got, err := stored.New(tc.row, tc.opener).Fetch(t.Context(), ref)
		switch {
		case got != tc.want || (err == nil) != (tc.want != ""):
			t.Errorf("%s: %q, %v", tc.name, got, err)
		case tc.wantErr != nil && !errors.Is(err, tc.wantErr):
			t.Errorf("%s: %v, want %v", tc.name, err, tc.wantErr)
		case err != nil && (!strings.Contains(err.Error(), tc.text) || strings.Contains(err.Error(), "sk-private")):
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}
