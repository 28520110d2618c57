package manifest

import (
	"testing"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
)

func TestColonWithoutASpaceBelongsToTheScalar(t *testing.T) {
	const text = `apiVersion: gatehouse.dev/v1
kind: RoleBinding
metadata: {name: x}
spec: {role: tenant-admin, subjects: [user:a@example.com, team:x], resources: [model:openai-main/llama3:8b, tenant]}
`
	docs, err := Parse("x.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	spec := docs[0].Resource.(*v1.RoleBinding).Spec
	if got := spec.Subjects[0]; got != "user:a@example.com" {
		t.Errorf("subject %q", got)
	}
	if got := spec.Resources[0]; got != "model:openai-main/llama3:8b" {
		t.Errorf("resource %q", got)
	}
	if _, err := Parse("x.yaml", []byte("apiVersion: gatehouse.dev/v1\nkind: Role\nmetadata: {name: x}\nspec: {permissions: [a: b]}\n")); err == nil {
		t.Error("a colon with a space makes a mapping, which is not a permission")
	}
}
