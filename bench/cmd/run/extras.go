package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"bench/internal/load"
	"bench/internal/proc"
)

// extra is a measurement that is no scenario.
type extra struct {
	Kind   string             // paired, cut, start, scale, revoke, machine
	Target string             `json:",omitempty"`
	Values map[string]float64 `json:",omitempty"`
	Text   map[string]string  `json:",omitempty"`
	Note   string             `json:",omitempty"`
}

func (b *bench) note(kind, target string, text map[string]string) {
	check(b.enc.Encode(extra{Kind: kind, Target: target, Text: text}))
}

func (b *bench) value(kind, target, note string, v map[string]float64) {
	check(b.enc.Encode(extra{Kind: kind, Target: target, Values: v, Note: note}))
	log.Printf("%s %s: %v %s", kind, target, v, note)
}

func named(ts []target, names ...string) (list []*target) {
	for i := range ts {
		if slices.Contains(names, ts[i].Name) {
			list = append(list, &ts[i])
		}
	}
	return list
}

// pairedSlices of a second each are what every target of paired gets.
const pairedSlices = 21

// paired measures open500 with the targets up at once and taking turns second
// by second, so that whatever else the machine does falls on all of them. P50
// and P99 are the medians over the slices: a moment in which the machine stood
// still spoils one slice and not the whole.
func (b *bench) paired(ts []target, scale float64) error {
	list := named(ts, "direct", "rp", "gatehouse", "gatehouse-vat")
	var up []*started
	for _, t := range list {
		g, err := begin(t, b.vars, b.logs)
		if err != nil {
			return err
		}
		defer g.end()
		if err := g.verify(b.vars, b.mockURL); err != nil {
			return fmt.Errorf("%s: %w", t.Name, err)
		}
		if err := g.warm(); err != nil {
			return err
		}
		up = append(up, g)
	}
	get(b.mockURL + "/_ctl?delay=0s&gap=0s&chunks=50")
	p50, p99 := make([][]float64, len(up)), make([][]float64, len(up))
	n, errs := make([]int, len(up)), make([]int, len(up))
	for slice := range max(3, int(pairedSlices*scale)) {
		for i := range up {
			j := (i + slice) % len(up)
			g := up[j]
			res, err := load.Run(load.Plan{Addr: g.addr, Request: g.request(false, 1<<10), Workers: 64, Rate: 500, For: time.Second})
			if err != nil {
				return err
			}
			p50[j] = append(p50[j], us(load.Quantile(res.Latency, .5)))
			p99[j] = append(p99[j], us(load.Quantile(res.Latency, .99)))
			n[j], errs[j] = n[j]+res.Requests, errs[j]+res.Errors
		}
	}
	for j, g := range up {
		b.value("paired", g.Name, "", map[string]float64{
			"n": float64(n[j]), "errors": float64(errs[j]), "p50": median(p50[j]), "p99": median(p99[j]),
		})
	}
	return nil
}

const (
	cutStreams = 10_000
	cutChunks  = 5
)

// cut counts streams that did not come in whole while the upstream answers
// everything at once.
func (b *bench) cut(ts []target) error {
	for _, t := range named(ts, "rp", "gatehouse", "gatehouse-vat") {
		g, err := begin(t, b.vars, b.logs)
		if err != nil {
			return err
		}
		res, err := b.cutOne(g)
		g.end()
		if err != nil {
			return fmt.Errorf("%s: %w", t.Name, err)
		}
		b.value("cut", t.Name, res.FirstError, map[string]float64{"streams": float64(res.Requests + res.Errors), "cut": float64(res.Errors)})
	}
	return nil
}

func (b *bench) cutOne(g *started) (load.Result, error) {
	if err := g.verify(b.vars, b.mockURL); err != nil {
		return load.Result{}, err
	}
	get(fmt.Sprintf("%s/_ctl?delay=0s&gap=0s&chunks=%d", b.mockURL, cutChunks))
	return load.Run(load.Plan{
		Addr: g.addr, Request: g.request(true, 1<<10), Workers: 32, For: 2 * time.Minute, Max: cutStreams,
		Check: func(body []byte) error { return wholeStream(body, cutChunks) },
	})
}

const startTimes = 5

// starts measures from the start of the process to the first 200 of /readyz,
// with an empty database, and what the process holds after two idle seconds.
func (b *bench) starts(ts []target) error {
	for _, t := range ts {
		if !t.Ours {
			continue
		}
		for range startTimes {
			ms, rss, err := b.startOnce(&t)
			if err != nil {
				return fmt.Errorf("%s: %w", t.Name, err)
			}
			b.value("start", t.Name, "", map[string]float64{"ms": ms, "rss": rss})
		}
	}
	return nil
}

func (b *bench) startOnce(t *target) (ms, rss float64, err error) {
	dir, err := os.MkdirTemp(b.vars["WORK"], "start-")
	if err != nil {
		return 0, 0, err
	}
	defer os.RemoveAll(dir)
	vars := map[string]string{}
	for k, v := range b.vars {
		vars[k] = v
	}
	vars["WORK"] = dir
	began := time.Now()
	g, err := begin(t, vars, b.logs)
	if err != nil {
		return 0, 0, err
	}
	defer g.end()
	if err := g.readyz(10 * time.Second); err != nil {
		return 0, 0, err
	}
	ms = float64(time.Since(began).Microseconds()) / 1e3
	time.Sleep(2 * time.Second)
	return ms, float64(proc.RSS(g.pid)) / (1 << 20), nil
}

// readyz waits for the first 200.
func (s *started) readyz(limit time.Duration) error {
	client := &http.Client{Timeout: 2 * time.Second}
	defer client.CloseIdleConnections()
	for end := time.Now().Add(limit); ; time.Sleep(2 * time.Millisecond) {
		resp, err := client.Get("http://" + s.addr + "/readyz")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		switch {
		case s.ctx.Err() != nil:
			return fmt.Errorf("%s ended before it was ready; see %s", s.Name, filepath.Base("bench-"+s.Name+".log"))
		case time.Now().After(end):
			return fmt.Errorf("%s was not ready after %s", s.Name, limit)
		}
	}
}
