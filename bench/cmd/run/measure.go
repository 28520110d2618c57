package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"bench/internal/load"
	"bench/internal/proc"
)

type scenario struct {
	Name       string
	Workers    int
	Rate       float64
	Size       int // request body bytes
	Stream     bool
	Churn      bool // every request with a JWT never seen before
	Delay, Gap time.Duration
	Seconds    float64
}

var scenarios = []scenario{
	{Name: "c1", Workers: 1, Size: 1 << 10, Seconds: 2.5},
	{Name: "c32", Workers: 32, Size: 1 << 10, Seconds: 3},
	{Name: "c256", Workers: 256, Size: 1 << 10, Seconds: 3},
	{Name: "open500", Workers: 64, Rate: 500, Size: 1 << 10, Seconds: 3},
	{Name: "slow64", Workers: 64, Size: 1 << 10, Delay: 50 * time.Millisecond, Seconds: 3},
	{Name: "body50k", Workers: 32, Size: 50 << 10, Seconds: 3},
	{Name: "stream32", Workers: 32, Size: 1 << 10, Stream: true, Gap: 5 * time.Millisecond, Seconds: 4},
	{Name: "churn", Workers: 32, Size: 1 << 10, Churn: true, Seconds: 3},
}

// churnTokens is how many tokens churn has; a target is started anew for each
// round, so it has seen none of them.
const churnTokens = 12_000

// row is one measurement. Times are microseconds.
type row struct {
	Round                  int
	Target, Scenario       string
	Requests, Errors, Late int
	RPS                    float64
	P50, P90, P99, P999    float64
	First50, First99       float64
	CPU                    float64 // of the gateway, per request
	LoadCPU, MockCPU       float64 // of the load generator and the mock, per request
	GatewayShare           float64 // gateway CPU seconds per second
	RSS                    float64 // peak so far, MiB
	Error                  string  `json:",omitempty"`
	Started                time.Time
}

func (b *bench) measure(t *target, ss []scenario, round int) ([]row, error) {
	g, err := begin(t, b.vars, b.logs)
	if err != nil {
		return nil, err
	}
	defer g.end()
	if err := g.verify(b.vars, b.mockURL); err != nil {
		return nil, err
	}
	if err := g.warm(); err != nil {
		return nil, err
	}
	var rows []row
	for _, s := range ss {
		if len(t.Only) > 0 && !slices.Contains(t.Only, s.Name) {
			continue
		}
		p := load.Plan{Addr: g.addr, Request: g.request(s.Stream, s.Size), Workers: s.Workers, Rate: s.Rate, For: seconds(s.Seconds), Max: 500_000}
		if s.Churn {
			p.Each = g.churn(p.Request, b.vars["RS256"], b.fresh)
		}
		get(fmt.Sprintf("%s/_ctl?delay=%s&gap=%s&chunks=50", b.mockURL, s.Delay, s.Gap))
		profiled := b.profiling(g, s)
		r := b.load(g, p)
		r.Round, r.Scenario = round, s.Name
		profiled()
		rows = append(rows, r)
		time.Sleep(200 * time.Millisecond)
	}
	return rows, nil
}

// warm sends requests that are not measured.
func (s *started) warm() error {
	for _, d := range []time.Duration{700 * time.Millisecond, 700*time.Millisecond + seconds(s.Warm)} {
		if _, err := load.Run(load.Plan{Addr: s.addr, Request: s.request(false, 1<<10), Workers: 32, For: d}); err != nil {
			return err
		}
	}
	return nil
}

func (s *started) churn(request []byte, known string, fresh []string) (each [][]byte) {
	for _, tok := range fresh {
		each = append(each, bytes.ReplaceAll(request, []byte(known), []byte(tok)))
	}
	return each
}

// load carries a plan out and measures the gateway.
func (b *bench) load(g *started, p load.Plan) row {
	r := row{Target: g.Name, Started: time.Now()}
	g0, m0, l0 := cpu(g.pid), cpu(b.mock.pid), cpu(os.Getpid())
	res, err := load.Run(p)
	g1, m1, l1 := cpu(g.pid), cpu(b.mock.pid), cpu(os.Getpid())
	if err != nil {
		r.Error = err.Error()
	}
	r.Requests, r.Errors, r.Late = res.Requests, res.Errors, res.Late
	if res.FirstError != "" {
		r.Error = res.FirstError
	}
	if n := float64(res.Requests + res.Errors); n > 0 {
		r.RPS = float64(res.Requests) / res.Elapsed.Seconds()
		r.CPU, r.MockCPU, r.LoadCPU = us(g1-g0)/n, us(m1-m0)/n, us(l1-l0)/n
		r.GatewayShare = (g1 - g0).Seconds() / res.Elapsed.Seconds()
	}
	r.P50, r.P90 = us(load.Quantile(res.Latency, .5)), us(load.Quantile(res.Latency, .9))
	r.P99, r.P999 = us(load.Quantile(res.Latency, .99)), us(load.Quantile(res.Latency, .999))
	r.First50, r.First99 = us(load.Quantile(res.First, .5)), us(load.Quantile(res.First, .99))
	if g.pid != 0 {
		r.RSS = float64(proc.PeakRSS(g.pid)) / (1 << 20)
	}
	return r
}

// profiling takes a CPU profile while a scenario runs. The figures of a run
// with profiles are not for comparing.
func (b *bench) profiling(g *started, s scenario) (wait func()) {
	if b.profile == "" || g.Ops == "" {
		return func() {}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		resp, err := http.Get(fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", g.Ops, max(1, int(s.Seconds))))
		check(err)
		defer resp.Body.Close()
		data, err := io.ReadAll(resp.Body)
		check(err)
		check(os.WriteFile(filepath.Join(b.profile, g.Name+"-"+s.Name+".pprof"), data, 0o644))
	}()
	return func() { <-done }
}

func cpu(pid int) time.Duration {
	if pid == 0 {
		return 0
	}
	return proc.CPU(pid)
}

func us(d time.Duration) float64 { return float64(d) / 1e3 }

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
