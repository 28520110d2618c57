package storetest

import (
	"testing"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

func resourceTests() map[string]func(*testing.T, *fixture) {
	return map[string]func(*testing.T, *fixture){
		"TestMetadataIsSetByTheStore":                 metadataIsSet,
		"TestUnchangedResourceIsNotRewritten":         unchangedNotRewritten,
		"TestNewResourceOfAnOldNameIsAnother":         recreatedIsAnother,
		"TestUnreadableResourceIsQuarantined":         unreadableIsQuarantined,
		"TestResourcesAreListedByName":                listedByName,
		"TestSecurityPlainSecretIsNeverStored":        plainSecretRefused,
		"TestSealedSecretGoesWithItsField":            sealedSecretGoes,
		"TestSealingTheSameValueAgainTakesNoRevision": resealing,
	}
}

func metadataIsSet(t *testing.T, f *fixture) {
	r := team("research", "one", "ada@example.com")
	head := f.commit(&record.Batch{PutResources: []v1.Resource{r}})
	if head.Revision != 1 || head.Epoch == "" {
		t.Fatalf("head %+v, want revision 1 of an epoch", head)
	}
	m := r.Meta()
	if m.UID == "" || m.ResourceVersion == "" || m.Generation != 1 || !m.CreationTimestamp.Equal(start()) || m.Manager != "api" {
		t.Fatalf("metadata %+v", m)
	}
	first := *m
	f.clock.advance(time.Hour)

	// Labels alone: another version, the same generation.
	r2 := team("research", "two", "ada@example.com")
	f.commit(&record.Batch{PutResources: []v1.Resource{r2}})
	if m := r2.Meta(); m.UID != first.UID || m.ResourceVersion == first.ResourceVersion || m.Generation != 1 || !m.CreationTimestamp.Equal(start()) {
		t.Fatalf("after a label: %+v, was %+v", m, first)
	}
	r3 := team("research", "two", "bob@example.com")
	r3.Manager = "apply:ci"
	f.commit(&record.Batch{PutResources: []v1.Resource{r3}})
	if m := r3.Meta(); m.UID != first.UID || m.Generation != 2 || m.Manager != "apply:ci" {
		t.Fatalf("after the spec: %+v", m)
	}
	got, err := f.Resource(t.Context(), keyOf(r))
	if err != nil {
		t.Fatal(err)
	}
	wantSame(t, "the resource read back", got, r3)

	mine := team("given", "")
	mine.UID = "0193f1a2-0000-7000-8000-000000000001"
	f.commit(&record.Batch{PutResources: []v1.Resource{mine}})
	if mine.UID != "0193f1a2-0000-7000-8000-000000000001" {
		t.Fatalf("uid %s, want the one given", mine.UID)
	}
}

func unchangedNotRewritten(t *testing.T, f *fixture) {
	r := team("research", "one", "ada@example.com")
	before := f.commit(&record.Batch{PutResources: []v1.Resource{r}})
	f.clock.advance(time.Hour)
	again := team("research", "one", "ada@example.com")
	after := f.commit(&record.Batch{PutResources: []v1.Resource{again}})
	if after != before {
		t.Fatalf("head %+v, want %+v", after, before)
	}
	wantSame(t, "metadata", again, r)
	got, err := f.Resource(t.Context(), keyOf(r))
	if err != nil {
		t.Fatal(err)
	}
	wantSame(t, "the stored resource", got, r)
}

func recreatedIsAnother(t *testing.T, f *fixture) {
	r := team("research", "one")
	f.commit(&record.Batch{PutResources: []v1.Resource{r}})
	again := team("research", "one")
	f.commit(&record.Batch{DeleteResources: []identity.ResourceKey{keyOf(r)}, PutResources: []v1.Resource{again}})
	if again.UID == r.UID || again.ResourceVersion == r.ResourceVersion {
		t.Fatalf("%+v is the old one, %+v", again.ObjectMeta, r.ObjectMeta)
	}
	_, err := f.Commit(t.Context(), &record.Batch{Conditions: []record.Condition{{Key: keyOf(r), ResourceVersion: r.ResourceVersion}}})
	wantCode(t, err, identity.CodePreconditionFailed)
}

func unreadableIsQuarantined(t *testing.T, f *fixture) {
	before := f.head()
	f.commit(&record.Batch{PutResources: []v1.Resource{
		futureOf("WarpDrive", "one"), futureOf(v1.KindTeam, "newer"), team("research", ""),
	}})
	for _, p := range []*picture{loaded(f), f.pictureOf(f.since(before))} {
		if len(p.Quarantined) != 2 || p.Quarantined[identity.ResourceKey{Kind: "WarpDrive", Name: "one"}] == "" ||
			p.Quarantined[identity.ResourceKey{Kind: v1.KindTeam, Name: "newer"}] == "" {
			t.Fatalf("quarantined %v, want the unknown kind and the unknown field, with reasons", p.Quarantined)
		}
		if len(p.Resources) != 1 {
			t.Fatalf("%d resources, want the one that can be read", len(p.Resources))
		}
	}
	if _, err := f.Resource(t.Context(), identity.ResourceKey{Kind: v1.KindTeam, Name: "newer"}); err == nil {
		t.Fatal("an unreadable resource was read")
	}
	list, err := f.Resources(t.Context(), v1.KindTeam, "", 10)
	if err != nil || len(list) != 1 {
		t.Fatalf("%d teams, %v", len(list), err)
	}
	// Written by this version, it is readable again.
	f.commit(&record.Batch{PutResources: []v1.Resource{team("newer", "")}})
	if p := loaded(f); len(p.Quarantined) != 1 || len(p.Resources) != 2 {
		t.Fatalf("quarantined %v", p.Quarantined)
	}
}

func loaded(f *fixture) *picture {
	p, _ := f.load()
	return p
}

func (f *fixture) pictureOf(rows *identity.Rows) *picture {
	p := newPicture()
	p.apply(rows)
	return p
}

func listedByName(t *testing.T, f *fixture) {
	f.commit(&record.Batch{PutResources: []v1.Resource{
		team("c", ""), team("a", ""), futureOf(v1.KindTeam, "b"), team("d", ""), virtualAccount("a"),
	}})
	list, err := f.Resources(t.Context(), v1.KindTeam, "", 2)
	if err != nil {
		t.Fatal(err)
	}
	wantSame(t, "first page", names(list), []string{"a", "c"})
	if list, err = f.Resources(t.Context(), v1.KindTeam, "c", 2); err != nil {
		t.Fatal(err)
	}
	wantSame(t, "second page", names(list), []string{"d"})
	if list, err = f.AllResources(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantSame(t, "all", names(list), []string{"a", "c", "d", "a"})
	_, err = f.Resource(t.Context(), identity.ResourceKey{Kind: v1.KindTeam, Name: "zebra"})
	wantCode(t, err, identity.CodeNotFound)
}

func names(list []v1.Resource) []string {
	var out []string
	for _, r := range list {
		out = append(out, r.Meta().Name)
	}
	return out
}

func plainSecretRefused(t *testing.T, f *fixture) {
	b := &record.Batch{PutResources: []v1.Resource{account("openai", &v1.SecretValue{Value: "sk-plain"})}}
	if _, err := f.Commit(t.Context(), b); err == nil {
		t.Fatal("a plain secret was accepted")
	}
	if p := loaded(f); len(p.Resources) != 0 {
		t.Fatal("the batch left something")
	}
	stray := &record.Batch{
		PutResources: []v1.Resource{account("openai", &v1.SecretValue{Env: "KEY"})},
		Secrets:      []record.SealedSecret{{Key: identity.ResourceKey{Kind: v1.KindProviderAccount, Name: "openai"}, Path: apiKeyPath, Sealed: []byte("x")}},
	}
	if _, err := f.Commit(t.Context(), stray); err == nil {
		t.Fatal("a sealed secret was accepted for a field that does not say stored")
	}
}

const apiKeyPath = "spec.credentials.apiKey"

func stored(digest, sealed string) *record.Batch {
	a := account("openai", &v1.SecretValue{Stored: true, Digest: digest})
	return &record.Batch{
		PutResources: []v1.Resource{a},
		Secrets:      []record.SealedSecret{{Key: keyOf(a), Path: apiKeyPath, Digest: digest, Sealed: []byte(sealed)}},
	}
}

func (f *fixture) sealed(uid string) string {
	f.t.Helper()
	b, digest, err := f.SealedSecret(f.t.Context(), uid, apiKeyPath)
	if err != nil {
		if identity.CodeOf(err) != identity.CodeNotFound {
			f.t.Fatal(err)
		}
		return "none"
	}
	return digest + " " + string(b)
}

func sealedSecretGoes(t *testing.T, f *fixture) {
	b := stored("d1", "s1")
	f.commit(b)
	uid := b.PutResources[0].Meta().UID
	wantSame(t, "the sealed value", f.sealed(uid), "d1 s1")

	f.commit(&record.Batch{PutResources: []v1.Resource{account("openai", &v1.SecretValue{Stored: true, Digest: "d1"})}})
	wantSame(t, "sent back as stored", f.sealed(uid), "d1 s1")

	before := f.head()
	f.commit(stored("d2", "s2"))
	wantSame(t, "replaced", f.sealed(uid), "d2 s2")
	if rows := f.since(before); len(rows.Resources) != 1 {
		t.Fatal("another value of a secret is not a change of the resource")
	}
	f.commit(&record.Batch{PutResources: []v1.Resource{account("openai", nil)}})
	wantSame(t, "field gone", f.sealed(uid), "none")

	f.commit(stored("d3", "s3"))
	wantSame(t, "stored again", f.sealed(uid), "d3 s3")
	f.commit(&record.Batch{DeleteResources: []identity.ResourceKey{{Kind: v1.KindProviderAccount, Name: "openai"}}})
	wantSame(t, "resource gone", f.sealed(uid), "none")
}

func resealing(t *testing.T, f *fixture) {
	b := stored("d1", "s1")
	before := f.commit(b)
	if after := f.commit(stored("d1", "s1 in other words")); after != before {
		t.Fatalf("head %+v, want %+v", after, before)
	}
	wantSame(t, "the ciphertext", f.sealed(b.PutResources[0].Meta().UID), "d1 s1 in other words")
}
