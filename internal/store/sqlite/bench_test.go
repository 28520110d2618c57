package sqlite_test

import (
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
	"github.com/gatehouse-ai/gatehouse/internal/store/sqlite"
)

// cpu is the processor time of this process so far.
func cpu(b *testing.B) time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// BenchmarkLoad loads 200 000 tokens of 20 000 users, each with an identity and
// a membership: a fifth of what is promised in ten seconds.
func BenchmarkLoad(b *testing.B) {
	const tokens, users, batch = 200_000, 20_000, 10_000
	db := open(b, filepath.Join(b.TempDir(), "gatehouse.db"), nil)
	defer func() { _ = db.Close() }()
	for i := 0; i < tokens; i += batch {
		seed := &record.Batch{}
		for j := i; j < i+batch; j++ {
			uid := fmt.Sprintf("0193f1a2-0000-7000-8000-%012d", j%users)
			seed.PutTokens = append(seed.PutTokens, identity.Token{
				Kind: identity.TokenPersonal, Name: "laptop", Digest: identity.DigestOf(fmt.Sprint(j)), Owner: uid,
				CreatedBy: "user:" + uid + "@example.com", ExpiresAt: time.Now().Add(time.Hour),
			})
			if j < users {
				seed.PutUsers = append(seed.PutUsers, identity.User{
					UID: uid, Email: uid + "@example.com", Active: true,
					Identities:  []identity.UserIdentity{{Issuer: "https://idp.example.com", Subject: uid}},
					Memberships: []identity.Membership{{Team: "research", Source: "scim"}},
				})
			}
		}
		if _, err := db.Commit(b.Context(), seed); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		n := 0
		_, err := db.Load(b.Context(), func(rows *identity.Rows) error {
			n += len(rows.Tokens) + len(rows.Users)
			return nil
		})
		if err != nil || n != tokens+users {
			b.Fatalf("%d rows, %v", n, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(tokens+users), "ns/row")
}

// BenchmarkAppendRequests reports the processor time of one record, by the size
// of the batch and the number of different callers.
func BenchmarkAppendRequests(b *testing.B) {
	for _, size := range []int{16, 64, 256, 1024, 4096} {
		for _, callers := range []int{32, 12_000, 100_000} {
			b.Run(fmt.Sprintf("batch=%d/callers=%d", size, callers), func(b *testing.B) {
				benchmarkAppend(b, size, callers)
			})
		}
	}
}

func benchmarkAppend(b *testing.B, size, callers int) {
	db := open(b, filepath.Join(b.TempDir(), "gatehouse.db"), nil)
	defer func() { _ = db.Close() }()
	batch := make([]record.Request, size)
	for i := range batch {
		batch[i] = record.Request{
			ID: "0193f1a2-0000-7000-8000-000000000001", At: time.Now(), Endpoint: "chat.completions", PrincipalKind: "user",
			Principal: "somebody@example.com", Issuer: "https://idp.example.com/realms/acme", Subject: "0193f1a2-0000-7000-8000-00000000",
			Email: "somebody@example.com", Team: "research", Via: "jwt", Provider: "okta", Account: "openai-main", Model: "gpt-4o",
			UpstreamModel: "gpt-4o-2024-11-20", Status: 200, BytesIn: 812, BytesOut: 1930, Duration: 812 * time.Millisecond, RemoteAddr: "127.0.0.1",
		}
	}
	n := 0
	b.ResetTimer()
	used := cpu(b)
	for n < b.N {
		for i := range batch {
			batch[i].UID = fmt.Sprintf("0193f1a2-0000-7000-8000-%012d", (n+i)*7919%callers)
		}
		if err := db.AppendRequests(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
		n += size
	}
	b.ReportMetric(float64((cpu(b)-used).Nanoseconds())/float64(n)/1000, "cpu-µs/record")
}

// BenchmarkCommit is one small change, synced to disk.
func BenchmarkCommit(b *testing.B) {
	for _, path := range []string{sqlite.Memory, filepath.Join(b.TempDir(), "gatehouse.db")} {
		b.Run(filepath.Base(path), func(b *testing.B) {
			db := open(b, path, nil)
			defer func() { _ = db.Close() }()
			i := 0
			for b.Loop() {
				i++
				_, err := db.Commit(b.Context(), &record.Batch{PutUsers: []identity.User{{UID: "u-1", Email: "a@example.com", DisplayName: fmt.Sprint(i)}}})
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
