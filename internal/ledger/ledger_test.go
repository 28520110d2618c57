package ledger_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/ledger"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sink keeps ids and the sizes of its batches; tests set how it fails.
type sink struct {
	mu      sync.Mutex
	err     error
	poison  string // a record that is refused for good
	delay   time.Duration
	ids     []string
	batches []int
	calls   int
}

func (s *sink) set(err error, delay time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err, s.delay = err, delay
}

func (s *sink) AppendRequests(ctx context.Context, records []record.Request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if s.delay > 0 {
		delay := s.delay
		s.mu.Unlock()
		select {
		case <-time.After(delay):
		case <-ctx.Done():
		}
		s.mu.Lock()
	}
	if err := errors.Join(ctx.Err(), s.err); err != nil {
		return err
	}
	for i := range records {
		if s.poison != "" && records[i].ID == s.poison {
			return identity.Errorf(identity.CodeInvalidRequest, "NUL in a text")
		}
	}
	for i := range records {
		s.ids = append(s.ids, records[i].ID)
	}
	s.batches = append(s.batches, len(records))
	return nil
}

func (s *sink) got() (ids, batches string, calls int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.ids, " "), fmt.Sprint(s.batches), s.calls
}

func add(l *ledger.Ledger, from, to int) {
	for i := from; i <= to; i++ {
		l.Add(&record.Request{ID: fmt.Sprint(i)})
	}
}

func seq(from, to int) string {
	var ids []string
	for i := from; i <= to; i++ {
		ids = append(ids, fmt.Sprint(i))
	}
	return strings.Join(ids, " ")
}

func mustClose(t *testing.T, l *ledger.Ledger) {
	t.Helper()
	if err := l.Close(t.Context()); err != nil {
		t.Fatalf("Close: %v", err)
	}
}

func TestNothingIsLostOnOrderlyClose(t *testing.T) {
	s := &sink{}
	l := ledger.New(ledger.Options{Sink: s, Queue: 100000, Batch: 64})
	var wg sync.WaitGroup
	const writers, each = 8, 2000
	for w := range writers {
		wg.Go(func() { add(l, w*each, (w+1)*each-1) })
	}
	wg.Wait()
	mustClose(t, l)
	seen := map[string]int{}
	for _, id := range s.ids {
		seen[id]++
	}
	for i := range writers * each {
		if seen[fmt.Sprint(i)] != 1 {
			t.Fatalf("record %d was written %d times", i, seen[fmt.Sprint(i)])
		}
	}
	if st := l.Stats(); st.Written != writers*each || st.Dropped != 0 || st.Queued != 0 || st.Lag != 0 {
		t.Errorf("stats %+v", st)
	}
}

func TestRecordsAreWrittenAfterTheIntervalOrWhenABatchIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		l := ledger.New(ledger.Options{Sink: s, Batch: 4, Interval: 200 * time.Millisecond})
		time.Sleep(time.Hour)
		add(l, 1, 3)
		time.Sleep(199 * time.Millisecond)
		if st := l.Stats(); st.Written != 0 || st.Queued != 3 || st.Lag != 199*time.Millisecond {
			t.Errorf("before the interval: %+v", st)
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if ids, _, _ := s.got(); ids != "1 2 3" {
			t.Errorf("after the interval: %q", ids)
		}
		add(l, 4, 12)
		synctest.Wait()
		if _, batches, _ := s.got(); batches != "[3 4 4]" {
			t.Errorf("full batches must not wait: %s", batches)
		}
		mustClose(t, l)
		if ids, batches, calls := s.got(); ids != seq(1, 12) || batches != "[3 4 4 1]" || calls != 4 {
			t.Errorf("%q in %s, %d calls", ids, batches, calls)
		}
		add(l, 13, 13)
		if st := l.Stats(); st.Dropped != 1 {
			t.Errorf("a record after Close: %+v, want it counted", st)
		}
		mustClose(t, l)
	})
}

func TestDropIsCountedWhenTheQueueIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{err: errors.New("away")}
		l := ledger.New(ledger.Options{Sink: s, Queue: 10, Batch: 4})
		start := time.Now()
		add(l, 1, 25)
		if time.Since(start) != 0 {
			t.Error("Add waited")
		}
		time.Sleep(time.Minute)
		if st := l.Stats(); st.Dropped != 15 || st.Queued != 10 || st.Written != 0 || st.Lag != time.Minute {
			t.Errorf("stats %+v, want 15 dropped and 10 queued", st)
		}
		s.set(nil, 0)
		mustClose(t, l)
		if ids, _, _ := s.got(); ids != seq(1, 10) {
			t.Errorf("written %q, want the oldest ten in order", ids)
		}
	})
}

func TestBlockWaitsForRoomUpToItsLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{delay: 300 * time.Millisecond}
		l := ledger.New(ledger.Options{Sink: s, Queue: 2, Batch: 2, Full: ledger.Block, BlockFor: time.Second})
		add(l, 1, 2)
		synctest.Wait()
		start := time.Now()
		add(l, 3, 3)
		if d := time.Since(start); d != 300*time.Millisecond {
			t.Errorf("waited %v, want until the sink was done", d)
		}
		s.set(errors.New("away"), 0)
		add(l, 4, 4)
		synctest.Wait()
		start = time.Now()
		add(l, 5, 5)
		if d := time.Since(start); d != time.Second {
			t.Errorf("waited %v, want the limit", d)
		}
		if st := l.Stats(); st.Dropped != 1 {
			t.Errorf("stats %+v, want one dropped", st)
		}
		s.set(nil, 0)
		mustClose(t, l)
		if ids, _, _ := s.got(); ids != "1 2 3 4" {
			t.Errorf("written %q", ids)
		}
	})
}

func TestCloseLetsGoOfWhoWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{delay: 20 * time.Second}
		l := ledger.New(ledger.Options{Sink: s, Queue: 1, Full: ledger.Block, BlockFor: time.Hour})
		add(l, 1, 1)
		var wg sync.WaitGroup
		wg.Go(func() { add(l, 2, 2) })
		synctest.Wait()
		if err := l.Close(t.Context()); err == nil {
			t.Error("Close does not report the record that had no room")
		}
		wg.Wait()
		if st := l.Stats(); st.Written+st.Dropped != 2 {
			t.Errorf("stats %+v, want both accounted for", st)
		}
	})
}

func TestSinkOutageLosesNothingThatTheQueueHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		s := &sink{err: errors.New("database away")}
		l := ledger.New(ledger.Options{Sink: s, Batch: 4, Log: slog.New(slog.NewTextHandler(&out, nil))})
		add(l, 1, 10)
		time.Sleep(10 * time.Minute)
		_, _, calls := s.got()
		if calls < 50 || calls > 80 {
			t.Errorf("%d attempts in ten minutes, want one in about 10 s", calls)
		}
		if st := l.Stats(); st.Failures != uint64(calls) || st.Queued != 10 {
			t.Errorf("stats %+v", st)
		}
		s.set(nil, 0)
		time.Sleep(11 * time.Second)
		if ids, _, _ := s.got(); ids != seq(1, 10) {
			t.Errorf("written %q", ids)
		}
		if st := l.Stats(); st.Written != 10 || st.Queued != 0 || st.Lag != 0 {
			t.Errorf("stats %+v", st)
		}
		if strings.Count(out.String(), "level=WARN") != 1 || strings.Count(out.String(), "level=INFO") != 1 {
			t.Errorf("log:\n%s", out.String())
		}
		mustClose(t, l)
	})
}

func TestRecordThatCanNeverBeWrittenDoesNotHoldUpTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{poison: "7"}
		l := ledger.New(ledger.Options{Sink: s, Batch: 16})
		add(l, 1, 16)
		add(l, 17, 20)
		time.Sleep(time.Second)
		mustClose(t, l)
		if ids, _, _ := s.got(); ids != seq(1, 6)+" "+seq(8, 20) {
			t.Errorf("written %q, want all but 7", ids)
		}
		if st := l.Stats(); st.Dropped != 1 || st.Written != 19 {
			t.Errorf("stats %+v", st)
		}
	})
}

func TestCloseGivesUpWhenItsTimeIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{delay: time.Hour}
		l := ledger.New(ledger.Options{Sink: s, Toucher: &toucher{err: errors.New("away")}, Batch: 4})
		add(l, 1, 10)
		l.TouchToken("a", time.Now(), "192.0.2.1")
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		start := time.Now()
		err := l.Close(ctx)
		if err == nil || !strings.Contains(err.Error(), "10 request records") || !strings.Contains(err.Error(), "1 tokens") {
			t.Errorf("Close = %v; want both losses in numbers", err)
		}
		if d := time.Since(start); d != 5*time.Second {
			t.Errorf("Close took %v", d)
		}
		if st := l.Stats(); st.Dropped != 10 || st.Queued != 0 {
			t.Errorf("stats %+v", st)
		}
	})
}

func TestUnknownPolicyIsRefused(t *testing.T) {
	for text, want := range map[string]ledger.Policy{"drop": ledger.Drop, "block": ledger.Block} {
		if got, err := ledger.ParsePolicy(text); err != nil || got != want {
			t.Errorf("ParsePolicy(%q) = %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "Drop", "fail"} {
		if _, err := ledger.ParsePolicy(text); err == nil {
			t.Errorf("ParsePolicy(%q) is content", text)
		}
	}
}

// toucher keeps what it is told.
type toucher struct {
	mu    sync.Mutex
	err   error
	calls int
	most  int
	times map[string]time.Time
	notes []string
	from  []string
}

func (u *toucher) TouchTokens(ctx context.Context, lastUsed map[string]identity.TokenUse) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.calls++
	if err := errors.Join(ctx.Err(), u.err); err != nil {
		return err
	}
	u.most = max(u.most, len(lastUsed))
	if u.times == nil {
		u.times = map[string]time.Time{}
	}
	for id, use := range lastUsed {
		u.times[id] = use.At
		u.notes = append(u.notes, id+"@"+use.At.Format("15:04:05"))
		u.from = append(u.from, use.From)
	}
	return nil
}

func (u *toucher) set(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.err = err
}

func TestLastUseIsWrittenWithinAMinuteAndOncePerMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &toucher{}
		l := ledger.New(ledger.Options{Sink: &sink{}, Toucher: u})
		time.Sleep(time.Hour) // 01:00:00, nothing to do
		for range 20 {
			l.TouchToken("a", time.Now(), "192.0.2.1")
			l.TouchToken("b", time.Now().Add(-time.Second), "192.0.2.1")
			time.Sleep(time.Second)
		}
		time.Sleep(40 * time.Second)
		u.mu.Lock()
		// b's first use lies in the minute before, so its second is noted too.
		if u.calls != 1 || u.times["a"].Format("15:04:05") != "01:00:00" || u.times["b"].Format("15:04:05") != "01:00:00" {
			t.Errorf("after a minute: %d calls, %v", u.calls, u.notes)
		}
		if !slices.Equal(u.from, []string{"192.0.2.1", "192.0.2.1"}) {
			t.Errorf("from %v", u.from)
		}
		u.mu.Unlock()
		time.Sleep(time.Hour)
		if u.calls != 1 {
			t.Errorf("%d calls, but nothing was used", u.calls)
		}
		l.TouchToken("a", time.Now(), "192.0.2.1")
		mustClose(t, l)
		if u.calls != 2 || u.times["a"].Hour() != 2 {
			t.Errorf("after Close: %d calls, %v", u.calls, u.notes)
		}
	})
}

func TestLastUseSurvivesAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &toucher{err: errors.New("away")}
		l := ledger.New(ledger.Options{Sink: &sink{}, Toucher: u})
		for i := range 2500 {
			l.TouchToken(fmt.Sprint(i), time.Now(), "192.0.2.1")
		}
		time.Sleep(30 * time.Minute)
		l.TouchToken("7", time.Now(), "192.0.2.1")
		late := time.Now()
		time.Sleep(time.Minute)
		if n := l.Stats().TouchFailures; n < 30 || n > 40 || len(u.times) != 0 {
			t.Errorf("%d failures, want one each interval", n)
		}
		u.set(nil)
		time.Sleep(time.Minute)
		u.mu.Lock()
		if len(u.times) != 2500 || !u.times["7"].Equal(late) || u.most > 1000 {
			t.Errorf("%d tokens, 7 at %v (want %v), %d at once", len(u.times), u.times["7"], late, u.most)
		}
		u.mu.Unlock()
		mustClose(t, l)
	})
}

func TestConcurrentTouchesAreAllWritten(t *testing.T) {
	u := &toucher{}
	l := ledger.New(ledger.Options{Sink: &sink{}, Toucher: u, TouchInterval: time.Millisecond})
	now := time.Now()
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 5000 {
				l.TouchToken(fmt.Sprint(w*2500+i), now, "192.0.2.1")
			}
		})
	}
	wg.Wait()
	mustClose(t, l)
	if len(u.times) != 12500 {
		t.Errorf("%d tokens, want 12500", len(u.times))
	}
}

func TestTouchingATouchedTokenDoesNotAllocate(t *testing.T) {
	l := ledger.New(ledger.Options{Sink: &sink{}, Toucher: &toucher{}})
	defer mustClose(t, l)
	now := time.Now()
	l.TouchToken("token", now, "192.0.2.1")
	if n := testing.AllocsPerRun(100, func() { l.TouchToken("token", now, "192.0.2.1") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestAddDoesNotAllocatePerRecord(t *testing.T) {
	l := ledger.New(ledger.Options{Sink: &sink{err: errors.New("away")}, Batch: 100000, Queue: 100000, Interval: time.Hour})
	r := &record.Request{ID: "x"}
	l.Add(r) // makes the batch
	if n := testing.AllocsPerRun(1000, func() { l.Add(r) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := l.Close(ctx); err == nil {
		t.Error("Close is content")
	}
}
