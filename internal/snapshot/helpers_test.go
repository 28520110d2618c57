package snapshot

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// res reads a resource as the store would hand it over.
func res(t testing.TB, kind v1.Kind, name, spec string) v1.Resource {
	t.Helper()
	r := v1.New(kind)
	if err := json.Unmarshal([]byte(`{"metadata":{"name":"`+name+`"},"spec":`+spec+`}`), r); err != nil {
		t.Fatalf("%s %s: %v", kind, name, err)
	}
	*r.Type() = v1.TypeMeta{APIVersion: v1.APIVersion, Kind: kind}
	r.Meta().UID, r.Meta().ResourceVersion = "uid-"+kind.Slug()+"-"+name, "1"
	r.Default()
	return r
}

func snap(rows ...identity.Rows) *Snapshot { return next(nil, rows...) }

func next(prev *Snapshot, rows ...identity.Rows) *Snapshot {
	b := NewBuilder(prev)
	for i := range rows {
		b.Add(&rows[i])
	}
	head := identity.Head{Epoch: "e", Revision: 1}
	if prev != nil {
		head.Revision = prev.head.Revision + 1
	}
	return b.Build(head)
}

func resources(list ...v1.Resource) identity.Rows { return identity.Rows{Resources: list} }

func people(emails ...string) identity.Rows {
	var rows identity.Rows
	for _, e := range emails {
		rows.Users = append(rows.Users, identity.User{UID: "uid-" + e, Email: e, Active: true})
	}
	return rows
}

func digestOf(n uint64) identity.Digest {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], n)
	return sha256.Sum256(b[:])
}

func uuidOf(n uint64) string { return fmt.Sprintf("%08x-0000-7000-8000-%012x", n>>48, n&(1<<48-1)) }

// grants lists who has which role on a resource, as "subject role".
func grants(s *Snapshot, ref identity.ResourceRef) []string {
	list := []string{}
	for _, e := range s.Target(ref).Entries {
		list = append(list, string(e.Who)+" "+e.Role)
	}
	slices.Sort(list)
	return list
}

func problems(s *Snapshot) []string {
	list := []string{}
	for _, p := range s.Problems() {
		list = append(list, p.Resource+" "+p.Message)
	}
	return list
}
