package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// promised is one line of the table of promises.
type promised struct {
	what, promise string
	limit         float64
	format        string
	value         func(target string) (float64, bool)
}

// promiseTable compares what was measured with what is promised. Timings are
// never asserted: the table says what came out.
func (m *measured) promiseTable(w io.Writer, micro []benchmark) {
	ours := []string{"gatehouse", "gatehouse-groups", "gatehouse-vat"}
	ratio := func(scenario string) func(string) (float64, bool) {
		return func(t string) (float64, bool) { return m.ratio(scenario, t) }
	}
	lines := []promised{
		{"CPU per request, `c32`, ÷ rp", "≤ 1.1", 1.1, "%.2f", ratio("c32")},
		{"`stream32` ÷ rp", "≤ 1.2", 1.2, "%.2f", ratio("stream32")},
		{"`body50k` ÷ rp", "≤ 1.4", 1.4, "%.2f", ratio("body50k")},
		{"`churn` (RS256 never seen before) ÷ rp", "≤ 2.1", 2.1, "%.2f", ratio("churn")},
		{"added latency at 500 requests/s, P50, ÷ rp", "≤ 1.15", 1.15, "%.2f", m.added("p50")},
		{"added latency at 500 requests/s, P99, ÷ rp", "≤ 1.15", 1.15, "%.2f", m.added("p99")},
		{"streams cut, of 10 000", "0", 0, "%.0f", func(t string) (float64, bool) { return m.value("cut", t, "cut") }},
		{"start to first answer, empty SQLite", "≤ 1000 ms", 1000, "%.0f ms", func(t string) (float64, bool) { return m.value("start", t, "ms") }},
		{"RSS after 2 idle seconds", "≤ 60 MiB", 60, "%.0f MiB", func(t string) (float64, bool) { return m.value("start", t, "rss") }},
	}
	fmt.Fprintf(w, "### Promises\n\n| | promise | %s |\n|---|---|%s\n", strings.Join(ours, " | "), strings.Repeat("---|", len(ours)))
	for _, p := range lines {
		fmt.Fprintf(w, "| %s | %s |", p.what, p.promise)
		for _, t := range ours {
			v, ok := p.value(t)
			fmt.Fprintf(w, " %s |", verdict(v, ok, p.limit, p.format))
		}
		fmt.Fprintln(w)
	}
	for _, b := range micro {
		switch {
		case b.name == "PassThrough/c1/gatehouse":
			fmt.Fprintf(w, "| allocations on the pass-through path, a whole request, server and transport included | ≤ 60 | %s | | |\n", verdict(b.allocs, true, 60, "%.0f"))
		case strings.HasPrefix(b.name, "Decide"):
			fmt.Fprintf(w, "| `%s` | ≤ 1000 ns, 0 allocations | %s, %s | | |\n", b.name, verdict(b.ns, true, 1000, "%.0f ns"), verdict(b.allocs, true, 0, "%.0f allocations"))
		}
	}
	fmt.Fprintln(w)
	m.pairedTable(w)
}

// verdict marks what is not kept.
func verdict(v float64, ok bool, limit float64, format string) string {
	switch {
	case !ok:
		return "–"
	case v > limit:
		return "**" + fmt.Sprintf(format, v) + "**"
	default:
		return fmt.Sprintf(format, v)
	}
}

// added is a quantile's excess over the direct call, ÷ rp's.
func (m *measured) added(quantile string) func(string) (float64, bool) {
	return func(target string) (float64, bool) {
		direct, ok1 := m.value("paired", "direct", quantile)
		bare, ok2 := m.value("paired", "rp", quantile)
		ours, ok3 := m.value("paired", target, quantile)
		return (ours - direct) / (bare - direct), ok1 && ok2 && ok3 && bare > direct
	}
}

func (m *measured) pairedTable(w io.Writer) {
	list := m.of("paired", "")
	if len(list) > 0 {
		fmt.Fprint(w, "Latency at 500 requests/s, all targets up and taking turns second by second, medians over the seconds, µs:\n\n| target | P50 | P99 | requests | errors |\n|---|---|---|---|---|\n")
		for _, x := range list {
			fmt.Fprintf(w, "| %s | %.0f | %.0f | %.0f | %.0f |\n", x.Target, x.Values["p50"], x.Values["p99"], x.Values["n"], x.Values["errors"])
		}
		fmt.Fprintln(w)
	}
	for _, x := range m.of("cut", "") {
		fmt.Fprintf(w, "Streams cut: %s %.0f of %.0f.", x.Target, x.Values["cut"], x.Values["streams"])
		if x.Note != "" {
			fmt.Fprintf(w, " First: `%s`.", x.Note)
		}
		fmt.Fprint(w, "\n\n")
	}
}

// benchmark is one line of go test -bench.
type benchmark struct {
	name              string
	ns, bytes, allocs float64
}

func readMicro(file string) ([]benchmark, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var list []benchmark
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		fields := strings.Fields(sc.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		b := benchmark{name: strings.TrimPrefix(fields[0], "Benchmark")}
		if i := strings.LastIndexByte(b.name, '-'); i > 0 {
			if _, err := strconv.Atoi(b.name[i+1:]); err == nil { // GOMAXPROCS
				b.name = b.name[:i]
			}
		}
		for i := 2; i+1 < len(fields); i += 2 {
			v, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				continue
			}
			switch fields[i+1] {
			case "ns/op":
				b.ns = v
			case "B/op":
				b.bytes = v
			case "allocs/op":
				b.allocs = v
			}
		}
		list = append(list, b)
	}
	return list, sc.Err()
}

func microTable(w io.Writer, micro []benchmark) {
	if len(micro) == 0 {
		return
	}
	fmt.Fprint(w, "### Stages (`go test -bench`)\n\n| benchmark | ns | bytes | allocations |\n|---|---|---|---|\n")
	for _, b := range micro {
		fmt.Fprintf(w, "| %s | %.0f | %.0f | %.0f |\n", b.name, b.ns, b.bytes, b.allocs)
	}
	fmt.Fprintln(w)
}

// scaleTables compare a million tokens with a small configuration.
func (m *measured) scaleTables(w io.Writer) {
	get := func(kind, target, name string) float64 { v, _ := m.value(kind, target, name); return v }
	cpu := func(target, note string) (float64, string) {
		var all []float64
		for _, x := range m.of("scale-cpu", target) {
			if x.Note == note {
				all = append(all, x.Values["cpu"])
			}
		}
		v := median(all)
		if len(all) == 0 {
			return 0, "–"
		}
		return v, fmt.Sprintf("%.1f (%.1f–%.1f)", v, all[0], all[len(all)-1])
	}
	fmt.Fprint(w, "| | promise | small | million |\n|---|---|---|---|\n")
	fmt.Fprintf(w, "| start of the process to ready | ≤ 10 000 ms | %.0f ms | %s |\n", get("scale-start", "small", "ms"), verdict(get("scale-start", "million", "ms"), true, 10_000, "%.0f ms"))
	fmt.Fprintf(w, "| CPU time of the start | | %.0f ms | %.0f ms |\n", get("scale-start", "small", "cpu-ms"), get("scale-start", "million", "cpu-ms"))
	for _, x := range []struct{ what, kind, name string }{
		{"RSS, 2 idle seconds after the start", "scale-start", "rss"},
		{"peak RSS of the start", "scale-start", "peak"},
		{"RSS at the end", "scale-end", "rss"},
		{"peak RSS", "scale-end", "peak"},
	} {
		fmt.Fprintf(w, "| %s | ≤ 1536 MiB | %.0f MiB | %s |\n", x.what, get(x.kind, "small", x.name), verdict(get(x.kind, "million", x.name), true, 1536, "%.0f MiB"))
	}
	for _, note := range []string{oneCaller, fortyCallers} {
		a, small := cpu("small", note)
		b, million := cpu("million", note)
		fmt.Fprintf(w, "| CPU µs per request, %s | same within 10 %% | %s | %s · %s |\n", note, small, million, verdict(b/a, a > 0, 1.1, "%.2f"))
	}
	_, small := cpu("small", allCallers)
	_, million := cpu("million", allCallers)
	fmt.Fprintf(w, "| CPU µs per request, c32 of 40 and of 12 000 callers | | %s | %s |\n", small, million)
	for _, x := range []struct{ what, name string }{
		{"revocation sent to refusal, P50", "p50"}, {"revocation sent to refusal, P99", "p99"}, {"after its answer, P99", "after-answer-p99"},
	} {
		fmt.Fprintf(w, "| %s (of %.0f) | ≤ 1000 ms | %.1f ms | %s |\n", x.what, get("scale-revoke", "million", "n"), get("scale-revoke", "small", x.name), verdict(get("scale-revoke", "million", x.name), m.has("scale-revoke"), 1000, "%.1f ms"))
	}
	fmt.Fprintln(w)
}
