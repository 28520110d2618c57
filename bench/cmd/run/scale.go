package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"bench/internal/load"
	"bench/internal/proc"
)

const (
	scaleSlice   = 3.0 // seconds
	scaleRevokes = 50

	// The same load on both configurations, and as many callers as each has
	// ready (40 and 12 000).
	oneCaller    = "c32 one caller"
	fortyCallers = "c32 forty callers"
	allCallers   = "c32 all callers"
)

// scaled is a Gatehouse on a configuration that internal/testkit/scale wrote.
type scaled struct {
	*started
	one     []byte   // the request of one caller
	spread  [][]byte // of thousands of callers for many models
	callers []caller
}

// caller is somebody's token and a model that it may use.
type caller struct{ token, model string }

// scale compares a large configuration with a small one: both processes are up
// at once and take turns, so that the machine's other work falls on both.
func (b *bench) scale(ts []target, dir string, rounds int, factor float64) error {
	var up []*scaled
	for i := range ts {
		s, err := b.beginScaled(&ts[i], filepath.Join(dir, ts[i].Name))
		if err != nil {
			return err
		}
		defer s.end()
		up = append(up, s)
	}
	get(b.mockURL + "/_ctl?delay=0s&gap=0s&chunks=50")
	for _, s := range up { // callers and connections become known
		if _, err := load.Run(load.Plan{Addr: s.addr, Each: s.spread, Workers: 32, For: time.Minute}); err != nil {
			return err
		}
	}
	for round := range rounds {
		for i := range up {
			s := up[(i+round)%len(up)]
			for _, sc := range []scenario{{Name: oneCaller}, {Name: fortyCallers}, {Name: allCallers}} {
				p := load.Plan{Addr: s.addr, Request: s.one, Workers: 32, For: seconds(scaleSlice * factor), Max: 500_000}
				switch sc.Name {
				case fortyCallers:
					p.Each, p.Cycle = s.spread[:min(40, len(s.spread))], true
				case allCallers:
					p.Each, p.Cycle = s.spread, true
				}
				profiled := b.profiling(s.started, scenario{Name: strings.ReplaceAll(sc.Name, " ", "-"), Seconds: scaleSlice * factor})
				r := b.load(s.started, p)
				profiled()
				r.Round, r.Scenario = round, sc.Name
				if r.Errors > 0 {
					log.Printf("%s %s: %d errors, %s", s.Name, sc.Name, r.Errors, r.Error)
				}
				b.value("scale-cpu", s.Name, sc.Name, map[string]float64{"cpu": r.CPU, "rps": r.RPS, "p99": r.P99, "errors": float64(r.Errors)})
			}
		}
	}
	for _, s := range up {
		if err := b.revocations(s); err != nil {
			return err
		}
		b.value("scale-end", s.Name, "", map[string]float64{
			"rss": float64(proc.RSS(s.pid)) / (1 << 20), "peak": float64(proc.PeakRSS(s.pid)) / (1 << 20),
		})
	}
	return nil
}

// beginScaled starts one and measures the load: from the start of the process
// to the first 200 of /readyz, and what it holds two idle seconds later.
func (b *bench) beginScaled(t *target, dir string) (*scaled, error) {
	began := time.Now()
	g, err := begin(t, b.vars, b.logs)
	if err != nil {
		return nil, err
	}
	if err := g.readyz(5 * time.Minute); err != nil {
		g.end()
		return nil, err
	}
	took := time.Since(began)
	used := proc.CPU(g.pid)
	time.Sleep(2 * time.Second)
	b.value("scale-start", t.Name, "", map[string]float64{
		"ms": float64(took.Milliseconds()), "cpu-ms": float64(used.Milliseconds()),
		"rss": float64(proc.RSS(g.pid)) / (1 << 20), "peak": float64(proc.PeakRSS(g.pid)) / (1 << 20),
	})
	s := &scaled{started: g}
	err = lines(filepath.Join(dir, "tokens.txt"), func(f []string) {
		s.callers = append(s.callers, caller{f[0], f[1]})
		s.spread = append(s.spread, g.requestAs("Bearer "+f[0], f[1], false, 1<<10))
	})
	if err == nil && len(s.spread) == 0 {
		err = fmt.Errorf("%s: no tokens", dir)
	}
	if err != nil {
		g.end()
		return nil, err
	}
	s.one = s.spread[0]
	return s, nil
}

// lines reads the fields of each line of a file.
func lines(file string, use func(fields []string)) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		use(strings.Fields(sc.Text()))
	}
	return sc.Err()
}

// revocations makes tokens and revokes them one by one through the API, and
// measures how long after the request was sent, and after its answer, the
// gateway refuses them.
func (b *bench) revocations(s *scaled) error {
	var sent, answered []time.Duration
	for i := range scaleRevokes {
		from, after, err := s.revokeOnce(s.callers[i%len(s.callers)])
		if err != nil {
			return fmt.Errorf("revocation: %w", err)
		}
		sent, answered = append(sent, from), append(answered, after)
	}
	slices.Sort(sent)
	slices.Sort(answered)
	ms := func(d []time.Duration, q float64) float64 { return us(load.Quantile(d, q)) / 1e3 }
	b.value("scale-revoke", s.Name, "", map[string]float64{
		"n": float64(len(sent)), "p50": ms(sent, .5), "p99": ms(sent, .99), "after-answer-p50": ms(answered, .5), "after-answer-p99": ms(answered, .99),
	})
	return nil
}

func (s *scaled) revokeOnce(c caller) (fromSend, fromAnswer time.Duration, err error) {
	var made struct{ ID, Token string }
	code, body, err := s.do("POST", "/api/v1/me/tokens", c.token, `{"name":"bench","expiresIn":"1h"}`)
	if err == nil {
		err = json.Unmarshal(body, &made)
	}
	if err != nil || code != http.StatusCreated {
		return 0, 0, fmt.Errorf("make a token: status %d, error %v", code, err)
	}
	chat := `{"model":"` + c.model + `","messages":[{"role":"user","content":"Hi"}]}`
	if code, body, err = s.do("POST", s.path, made.Token, chat); err != nil || code != http.StatusOK {
		return 0, 0, fmt.Errorf("before: status %d, error %v: %s", code, err, body)
	}
	type answer struct {
		code int
		at   time.Time
		err  error
	}
	revoked := make(chan answer, 1)
	began := time.Now()
	go func() {
		code, _, err := s.do("DELETE", "/api/v1/me/tokens/"+made.ID, c.token, "")
		revoked <- answer{code, time.Now(), err}
	}()
	for {
		code, _, err := s.do("POST", s.path, made.Token, chat)
		switch {
		case err != nil:
			return 0, 0, err
		case code == http.StatusUnauthorized:
			refused := time.Now()
			a := <-revoked
			if a.err != nil || a.code != http.StatusNoContent {
				return 0, 0, fmt.Errorf("revoke: status %d, error %v", a.code, a.err)
			}
			return refused.Sub(began), max(0, refused.Sub(a.at)), nil
		case time.Since(began) > 10*time.Second:
			return 0, 0, fmt.Errorf("still accepted after %s; the last status was %d", time.Since(began), code)
		}
		time.Sleep(time.Millisecond)
	}
}

// do sends one request and reads the answer.
func (s *scaled) do(method, path, token, body string) (int, []byte, error) {
	req, err := http.NewRequest(method, "http://"+s.addr+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, b, err
}
