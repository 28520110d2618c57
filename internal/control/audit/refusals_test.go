package audit_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/control/audit"
)

func TestSecurityOneCallersRefusalsAreBoundedAndNoneIsForgotten(t *testing.T) {
	var f audit.Refusals
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	admit := func(caller string, times int) (written, untold int) {
		for range times {
			if n, ok := f.Admit(caller, now); ok {
				written, untold = written+1, untold+n
			}
		}
		return written, untold
	}
	if w, u := admit("a", 100); w != audit.RefusalsPerMinute || u != 0 {
		t.Errorf("%d written, %d untold", w, u)
	}
	if w, u := admit("b", 1); w != 1 || u != 0 {
		t.Errorf("another caller: %d written, %d untold", w, u)
	}
	now = now.Add(59 * time.Second)
	if w, _ := admit("a", 1); w != 0 {
		t.Error("written within the minute")
	}
	now = now.Add(time.Second)
	if w, u := admit("a", 1); w != 1 || u != 41 {
		t.Errorf("after the minute: %d written, %d untold", w, u)
	}
	f.Missed("a", 3, now)
	if w, u := admit("a", 1); w != 1 || u != 3 {
		t.Errorf("after three that could not be written: %d written, %d untold", w, u)
	}
	// However many callers there are, what is kept of them is bounded, and keeps nobody out.
	for i := range 30_000 {
		if w, _ := admit(fmt.Sprint("c", i), 1); w != 1 {
			t.Fatalf("caller %d is kept out", i)
		}
	}
}
