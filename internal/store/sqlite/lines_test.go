package sqlite_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/record"
	"github.com/google/go-cmp/cmp"
)

// A principal's records are found by lines that each cover a stretch of rows,
// are written once, and are remembered until the next stretch or start.
func TestRecordsOfAPrincipalAreFoundAcrossStretchesAndRestarts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gatehouse.db")
	want := map[string][]string{}
	n := 0
	add := func(uids ...string) (list []record.Request) {
		for _, uid := range uids {
			n++
			id := fmt.Sprint(n)
			list = append(list, record.Request{ID: id, At: time.Unix(int64(n), 0), UID: uid})
			want[uid] = append(want[uid], id)
		}
		return list
	}
	many := func(uid string, count int) (uids []string) {
		for range count {
			uids = append(uids, uid)
		}
		return uids
	}
	write := func(lists ...[]record.Request) {
		t.Helper()
		db := open(t, path, nil)
		for _, list := range lists {
			if err := db.AppendRequests(t.Context(), list); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, uids := range [][]string{
		{"u-1", "u-2", "u-1"},
		{"u-2"},
		slices.Concat(many("u-1", 1), many("crowd", 32_720), many("u-1", 60), many("crowd", 7000)), // u-1 on both sides of a stretch's end
		append(many("crowd", 30_000), "u-2", "u-3"),
	} {
		write(add(uids...), add("u-1", "u-3"), add("u-1", "u-2"))
	}
	db := open(t, path, nil)
	defer func() { _ = db.Close() }()
	for _, uid := range []string{"u-1", "u-2", "u-3"} {
		list, err := db.Requests(t.Context(), uid, 1000)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range slices.Backward(list) {
			got = append(got, r.ID)
		}
		if diff := cmp.Diff(want[uid], got); diff != "" {
			t.Errorf("%s: -want +got\n%s", uid, diff)
		}
	}
}
