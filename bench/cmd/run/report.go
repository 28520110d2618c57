package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// reporting turns measurements into tables.
type reporting struct{ file, into, commit, micro string }

// measured is everything in one file of measurements.
type measured struct {
	rows   map[key][]row
	names  []string // targets in the order in which they were first measured
	extras []extra
}

type key struct{ scenario, target string }

func readMeasured(file string) (*measured, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m := &measured{rows: map[key][]row{}}
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		var x extra
		if err := json.Unmarshal(sc.Bytes(), &x); err != nil {
			return nil, err
		}
		if x.Kind != "" {
			m.extras = append(m.extras, x)
			continue
		}
		var r row
		if err := json.Unmarshal(sc.Bytes(), &r); err != nil {
			return nil, err
		}
		k := key{r.Scenario, r.Target}
		m.rows[k] = append(m.rows[k], r)
		if !slices.Contains(m.names, r.Target) {
			m.names = append(m.names, r.Target)
		}
	}
	return m, sc.Err()
}

// print shows the tables, and writes them between the markers of a file.
func (rep *reporting) print() error {
	m, err := readMeasured(rep.file)
	if err != nil {
		return err
	}
	var b strings.Builder
	section := "neighbours"
	m.place(&b, rep.commit)
	if m.has("scale-start") {
		section = "scale"
		m.scaleTables(&b)
	} else {
		var micro []benchmark
		if rep.micro != "" {
			if micro, err = readMicro(rep.micro); err != nil {
				return err
			}
		}
		m.promiseTable(&b, micro)
		m.cpuTable(&b)
		m.detailTables(&b)
		microTable(&b, micro)
	}
	fmt.Print(b.String())
	if rep.into == "" {
		return nil
	}
	return between(rep.into, section, b.String())
}

// between replaces what stands between two markers of a file.
func between(file, section, text string) error {
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	begin, end := "<!-- begin "+section+" -->\n", "<!-- end "+section+" -->"
	before, rest, ok1 := strings.Cut(string(old), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		return fmt.Errorf("%s has no markers of %s", file, section)
	}
	return os.WriteFile(file, []byte(before+begin+"\n"+strings.TrimSpace(text)+"\n\n"+end+after), 0o644)
}

func (m *measured) has(kind string) bool { return len(m.of(kind, "")) > 0 }

// of returns the extras of a kind; target "" is all.
func (m *measured) of(kind, target string) (list []extra) {
	for _, x := range m.extras {
		if x.Kind == kind && (target == "" || x.Target == target) {
			list = append(list, x)
		}
	}
	return list
}

// value is the median of one value of a kind; ok is false where there is none.
func (m *measured) value(kind, target, name string) (v float64, ok bool) {
	var all []float64
	for _, x := range m.of(kind, target) {
		if v, ok := x.Values[name]; ok {
			all = append(all, v)
		}
	}
	return median(all), len(all) > 0
}

// place says what was measured, where and when.
func (m *measured) place(w io.Writer, commit string) {
	places := m.of("machine", "")
	if len(places) == 0 {
		return
	}
	p, last := places[0].Text, places[len(places)-1].Text
	fmt.Fprintf(w, "%s, commit %s. %s, %s cores, %s, %s", p["date"], commit, p["cpu"], p["cores"], p["kernel"], p["go"])
	for _, n := range []string{"nginx", "caddy"} {
		if v := p[n]; v != "" && !m.has("scale-start") {
			fmt.Fprintf(w, ", %s %s", n, v)
		}
	}
	fmt.Fprintf(w, ".\nLoad average (1, 5, 15 min) when it began: %s; when it ended: %s.", p["load"], last["load"])
	var load float64
	if _, err := fmt.Sscan(p["load"], &load); err == nil && load > 0.5 {
		fmt.Fprint(w, "\n**Other work was running on this machine when the run began: read the ratios, and of those the CPU ones; latencies are too high for every target.**")
	}
	fmt.Fprint(w, "\n\n")
}

// cpuTable is the table of CPU per request.
func (m *measured) cpuTable(w io.Writer) {
	names := slices.DeleteFunc(slices.Clone(m.names), func(n string) bool { return n == "direct" })
	slices.SortStableFunc(names, func(a, b string) int { return rank(a) - rank(b) })
	fmt.Fprintf(w, "### CPU µs per request: median (min–max) of the rounds, and ÷ `rp` of the same run\n\n| scenario | %s |\n|---|%s\n", strings.Join(names, " | "), strings.Repeat("---|", len(names)))
	for _, s := range scenarios {
		if !m.measuredAny(s.Name) {
			continue
		}
		fmt.Fprintf(w, "| `%s` |", s.Name)
		for _, n := range names {
			rs := m.rows[key{s.Name, n}]
			if len(rs) == 0 {
				fmt.Fprint(w, " – |")
				continue
			}
			fmt.Fprintf(w, " %s", spread(rs, "%.0f", func(r row) float64 { return r.CPU }))
			if ratio, ok := m.ratio(s.Name, n); ok && n != "rp" {
				fmt.Fprintf(w, " · %.2f", ratio)
			}
			fmt.Fprint(w, " |")
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w)
}

// rank puts ours first.
func rank(name string) int {
	return slices.Index([]string{"rp", "gatehouse", "gatehouse-groups", "gatehouse-vat", "nethttp-full"}, name) & 0xff
}

func (m *measured) measuredAny(scenario string) bool {
	return slices.ContainsFunc(m.names, func(n string) bool { return len(m.rows[key{scenario, n}]) > 0 })
}

// ratio is CPU per request ÷ rp's, medians of one run.
func (m *measured) ratio(scenario, target string) (float64, bool) {
	ours, bare := m.rows[key{scenario, target}], m.rows[key{scenario, "rp"}]
	if len(ours) == 0 || len(bare) == 0 {
		return 0, false
	}
	get := func(r row) float64 { return r.CPU }
	return med(ours, get) / med(bare, get), true
}

func (m *measured) detailTables(w io.Writer) {
	for _, s := range scenarios {
		if !m.measuredAny(s.Name) {
			continue
		}
		fmt.Fprintf(w, "<details><summary>%s</summary>\n\n", s.Name)
		fmt.Fprintln(w, "| target | gateway CPU µs/req (min–max) | req/s (min–max) | p50 µs | p90 | p99 | p99.9 | first p50 | first p99 | errors | late | RSS MiB | n |")
		fmt.Fprintln(w, "|---|---|---|---|---|---|---|---|---|---|---|---|---|")
		for _, n := range m.names {
			rs := m.rows[key{s.Name, n}]
			if len(rs) == 0 {
				continue
			}
			f := func(get func(row) float64) float64 { return med(rs, get) }
			errs, late := 0, 0
			for _, r := range rs {
				errs += r.Errors
				late += r.Late
			}
			fmt.Fprintf(w, "| %s | %s | %s | %.0f | %.0f | %.0f | %.0f | %.0f | %.0f | %d | %d | %.0f | %d |\n", n,
				spread(rs, "%.1f", func(r row) float64 { return r.CPU }), spread(rs, "%.0f", func(r row) float64 { return r.RPS }),
				f(func(r row) float64 { return r.P50 }), f(func(r row) float64 { return r.P90 }), f(func(r row) float64 { return r.P99 }), f(func(r row) float64 { return r.P999 }),
				f(func(r row) float64 { return r.First50 }), f(func(r row) float64 { return r.First99 }), errs, late, f(func(r row) float64 { return r.RSS }), len(rs))
		}
		fmt.Fprint(w, "\n</details>\n\n")
	}
}

func med(rs []row, get func(row) float64) float64 { return median(values(rs, get)) }

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	slices.Sort(v)
	return (v[len(v)/2] + v[(len(v)-1)/2]) / 2
}

func spread(rs []row, format string, get func(row) float64) string {
	v := values(rs, get)
	slices.Sort(v)
	return fmt.Sprintf(format+" ("+format+"–"+format+")", median(v), v[0], v[len(v)-1])
}

func values(rs []row, get func(row) float64) []float64 {
	var v []float64
	for _, r := range rs {
		v = append(v, get(r))
	}
	return v
}
