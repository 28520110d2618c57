package storetest

import (
	"context"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

func recordTests() map[string]func(*testing.T, *fixture) {
	return map[string]func(*testing.T, *fixture){
		"TestRequestIsKeptWhole":                      requestWhole,
		"TestRequestsAreListedNewestFirst":            requestsNewestFirst,
		"TestSecurityNobodysRequestsAreNotEverybodys": nobodysRequests,
		"TestOldRequestsAreRemoved":                   oldRequests,
		"TestRequestsWrittenOutOfOrderAreRemoved":     outOfOrder,
		"TestStrangeTextDoesNotStopOthersRecords":     strangeText,
		"TestRecordsWrittenAtOnceAreAllKept":          recordsAtOnce,
	}
}

// requestWhole sets every field by reflection, so that a new field cannot be
// forgotten.
func requestWhole(t *testing.T, f *fixture) {
	want := record.Request{At: start().Add(1234 * time.Microsecond)}
	fill(reflect.ValueOf(&want).Elem())
	empty := record.Request{At: start(), UID: "u-2"}
	if err := f.AppendRequests(t.Context(), []record.Request{want, empty}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []record.Request{want, empty} {
		got, err := f.Requests(t.Context(), want.UID, 10)
		if err != nil || len(got) != 1 {
			t.Fatalf("%d requests, %v", len(got), err)
		}
		wantSame(t, "the request", got[0], want)
	}
}

func fill(v reflect.Value) {
	for i := range v.NumField() {
		field := v.Field(i)
		switch {
		case field.Type() == reflect.TypeFor[time.Time]():
		case field.Type() == reflect.TypeFor[time.Duration]():
			field.SetInt(int64(time.Duration(i+1) * time.Millisecond))
		case field.Kind() == reflect.String:
			field.SetString(fmt.Sprintf("text %d ü", i))
		case field.CanInt():
			field.SetInt(int64(i + 200))
		case field.Kind() == reflect.Bool:
			field.SetBool(true)
		case field.Kind() == reflect.Struct:
			fill(field)
		default:
			panic("a kind of field that this test does not know: " + field.Type().String())
		}
	}
}

// appendRequests writes batches of the given sizes; every third request is u-1's.
func (f *fixture) appendRequests(sizes ...int) (mine []string) {
	f.t.Helper()
	n := 0
	for _, size := range sizes {
		var batch []record.Request
		for range size {
			r := record.Request{ID: fmt.Sprintf("r-%05d", n), At: start().Add(time.Duration(n) * time.Second), UID: fmt.Sprintf("u-%d", n%3), Account: "a", Model: "m"}
			if r.UID == "u-1" {
				mine = append([]string{r.ID}, mine...)
			}
			batch = append(batch, r)
			n++
		}
		if err := f.AppendRequests(f.t.Context(), batch); err != nil {
			f.t.Fatal(err)
		}
	}
	return mine
}

func ids(list []record.Request) (out []string) {
	for _, r := range list {
		out = append(out, r.ID)
	}
	return out
}

func requestsNewestFirst(t *testing.T, f *fixture) {
	mine := f.appendRequests(1, 5, 33, 64, 100, 2)
	for _, limit := range []int{1, 20, 60, 1000} {
		got, err := f.Requests(t.Context(), "u-1", limit)
		if err != nil {
			t.Fatal(err)
		}
		wantSame(t, fmt.Sprintf("the newest %d of u-1", limit), ids(got), mine[:min(limit, len(mine))])
	}
	all, err := f.AllRequests(t.Context(), 3)
	if err != nil {
		t.Fatal(err)
	}
	wantSame(t, "everybody's newest 3", ids(all), []string{"r-00204", "r-00203", "r-00202"})
	if n, err := f.CountRequests(t.Context()); err != nil || n != 205 {
		t.Fatalf("%d requests, %v; want 205", n, err)
	}
}

func nobodysRequests(t *testing.T, f *fixture) {
	if err := f.AppendRequests(t.Context(), []record.Request{{ID: "1", At: start()}, {ID: "2", At: start(), UID: "u-1"}}); err != nil {
		t.Fatal(err)
	}
	got, err := f.Requests(t.Context(), "", 10)
	wantCode(t, err, identity.CodeInvalidRequest)
	if len(got) != 0 {
		t.Fatalf("somebody without a uid was given %d requests", len(got))
	}
}

func oldRequests(t *testing.T, f *fixture) {
	mine := f.appendRequests(30, 40, 50)
	for _, tc := range []struct{ before, left int }{{-5, 120}, {35, 85}, {35, 85}, {50, 70}, {119, 1}, {500, 0}} {
		if err := f.RemoveRequestsBefore(t.Context(), start().Add(time.Duration(tc.before)*time.Second)); err != nil {
			t.Fatal(err)
		}
		if n, err := f.CountRequests(t.Context()); err != nil || n != int64(tc.left) {
			t.Fatalf("%d left, %v; want %d", n, err, tc.left)
		}
		if tc.before == 35 {
			got, err := f.Requests(t.Context(), "u-1", 0)
			if err != nil {
				t.Fatal(err)
			}
			wantSame(t, "u-1's", ids(got), mine[:len(got)])
			if len(got) != 28 {
				t.Fatalf("%d of u-1 left, want 28", len(got))
			}
		}
	}
	if again := f.appendRequests(10); len(again) != 3 {
		t.Fatal("nothing can be written after everything was removed")
	}
	if got, err := f.Requests(t.Context(), "u-1", 0); err != nil || len(got) != 3 {
		t.Fatalf("%d of u-1, %v; want 3", len(got), err)
	}
}

func outOfOrder(t *testing.T, f *fixture) {
	write := func(id string, at time.Duration) {
		t.Helper()
		if err := f.AppendRequests(t.Context(), []record.Request{{ID: id, At: start().Add(at), UID: "u-1"}}); err != nil {
			t.Fatal(err)
		}
	}
	write("late", time.Hour)
	write("early", 0)
	if err := f.RemoveRequestsBefore(t.Context(), start().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	write("next", 2*time.Hour)
	got, err := f.Requests(t.Context(), "u-1", 0)
	if err != nil {
		t.Fatal(err)
	}
	wantSame(t, "requests", ids(got), []string{"next", "late"})
}

// strangeText: callers name models, with any bytes.
func strangeText(t *testing.T, f *fixture) {
	strange := record.Request{ID: "strange \x00\xff", At: start(), UID: "u-1", Model: "a\x00b\xffc", Account: "\xf0\x28", Team: "\x00", Metadata: "\x00"}
	plain := record.Request{ID: "plain", At: start(), UID: "u-1", Model: "a/b"}
	if err := f.AppendRequests(t.Context(), []record.Request{strange, plain}); err != nil {
		t.Fatal(err)
	}
	got, err := f.Requests(t.Context(), "u-1", 10)
	if err != nil {
		t.Fatal(err)
	}
	wantSame(t, "records", ids(got), []string{plain.ID, strange.ID})
}

func recordsAtOnce(t *testing.T, f *fixture) {
	const racers, each = 4, 20
	for _, err := range race(racers, func(i int) error {
		for j := range each {
			list := []record.Request{{ID: fmt.Sprint(i, "-", j), At: start(), UID: fmt.Sprint("u-", i)}, {ID: "other", At: start(), UID: "u-other"}}
			if err := f.AppendRequests(context.WithoutCancel(t.Context()), list); err != nil {
				return err
			}
		}
		return nil
	}) {
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range racers {
		if got, err := f.Requests(t.Context(), fmt.Sprint("u-", i), 0); err != nil || len(got) != each {
			t.Fatalf("%d records of writer %d, %v; want %d", len(got), i, err, each)
		}
	}
	if got, err := f.Requests(t.Context(), "u-other", 0); err != nil || len(got) != racers*each {
		t.Fatalf("%d records of all writers, %v; want %d", len(got), err, racers*each)
	}
}
