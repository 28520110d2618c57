// Command run measures gateways side by side. It starts the mock upstream and
// the issuer, then, round by round and in rotating order, each target alone;
// checks that it forwards, streams and swaps the key; loads it; and stops it.
//
//	go run ./cmd/run -bin DIR -targets targets/floor.json -rounds 3 -out out.jsonl
//	go run ./cmd/run -report out.jsonl
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"bench/internal/chat"
	"bench/internal/load"
	"bench/internal/proc"
)

// target is one gateway. ${NAME} in its strings is replaced by -set values,
// environment variables, BIN, WORK, MOCK, ISSUER and the RS256, ES256 and EDDSA tokens.
type target struct {
	Name    string
	Cmd     []string
	Dir     string
	Env     map[string]string
	URL     string
	Model   string
	Headers map[string]string
	Key     string // Authorization that the upstream must see; empty: not checked
	Only    []string
	Warm    float64 // more seconds of warm-up, for runtimes with a JIT
}

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

func main() {
	bin := flag.String("bin", "bin", "folder of mock, issuer and floor")
	files := flag.String("targets", "targets/floor.json", "comma-separated target files")
	only := flag.String("only", "", "comma-separated target names (default all)")
	rounds := flag.Int("rounds", 3, "rounds")
	scale := flag.Float64("scale", 1, "multiplies every scenario's seconds")
	which := flag.String("scenarios", "", "comma-separated scenario names (default all)")
	out := flag.String("out", "out.jsonl", "measurements, one JSON object a line, appended")
	mockAddr := flag.String("mock", "127.0.0.1:23400", "mock upstream")
	issuerAddr := flag.String("issuer", "127.0.0.1:23401", "token issuer")
	report := flag.String("report", "", "print tables of this file instead of measuring")
	logs := flag.String("logs", os.TempDir(), "folder for the targets' output")
	vars := map[string]string{}
	flag.Func("set", "NAME=VALUE for ${NAME} in target files", func(s string) error {
		k, v, _ := strings.Cut(s, "=")
		vars[k] = v
		return nil
	})
	flag.Parse()
	if *report != "" {
		check(printReport(*report))
		return
	}

	abs, err := filepath.Abs(*bin)
	check(err)
	vars["BIN"], vars["MOCK"], vars["ISSUER"] = abs, *mockAddr, *issuerAddr
	var ts []target
	for f := range strings.SplitSeq(*files, ",") {
		b, err := os.ReadFile(f)
		check(err)
		var more []target
		check(json.Unmarshal(b, &more))
		ts = append(ts, more...)
	}
	if *only != "" {
		names := strings.Split(*only, ",")
		ts = slices.DeleteFunc(ts, func(t target) bool { return !slices.Contains(names, t.Name) })
	}
	var ss []scenario
	for _, s := range scenarios {
		if *which == "" || slices.Contains(strings.Split(*which, ","), s.Name) {
			s.Seconds *= *scale
			ss = append(ss, s)
		}
	}

	mock, err := start(target{Name: "mock", Cmd: []string{"${BIN}/mock", "-addr", "${MOCK}"}}, vars, *logs)
	check(err)
	defer mock.stop()
	issuer, err := start(target{Name: "issuer", Cmd: []string{"${BIN}/issuer", "-addr", "${ISSUER}"}}, vars, *logs)
	check(err)
	defer issuer.stop()
	check(ready("http://"+*mockAddr+"/_stats", 10*time.Second))
	check(ready("http://"+*issuerAddr+"/jwks", 10*time.Second))
	for _, p := range []*process{mock, issuer} {
		select {
		case <-p.done: // the address is taken, perhaps by another run
			log.Fatalf("%s ended at once", p.cmd.Path)
		case <-time.After(100 * time.Millisecond):
		}
	}
	for _, alg := range []string{"RS256", "ES256", "EdDSA"} {
		vars[strings.ToUpper(alg)] = string(get("http://" + *issuerAddr + "/mint?alg=" + alg))
	}

	var fresh []string
	if slices.ContainsFunc(ss, func(s scenario) bool { return s.Churn }) {
		fresh = strings.Split(string(get(fmt.Sprintf("http://%s/mint?alg=RS256&n=%d", *issuerAddr, churnTokens))), "\n")
	}

	f, err := os.OpenFile(*out, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	check(err)
	defer f.Close()
	enc := json.NewEncoder(f)
	for round := range *rounds {
		for i := range ts {
			t := ts[(i+round*(len(ts)/(*rounds)+1))%len(ts)]
			rows, err := measure(t, ss, round, vars, *logs, mock.pid, "http://"+*mockAddr, fresh)
			for _, r := range rows {
				check(enc.Encode(r))
			}
			if err != nil {
				log.Printf("round %d %s: %v", round, t.Name, err)
				continue
			}
			log.Printf("round %d %s: done", round, t.Name)
		}
	}
}

func measure(t target, ss []scenario, round int, vars map[string]string, logs string, mockPID int, mockURL string, fresh []string) ([]row, error) {
	expand := func(s string) string { return os.Expand(s, lookup(vars)) }
	u, err := url.Parse(expand(t.URL))
	if err != nil {
		return nil, err
	}
	pid := 0
	ctx, exited := context.WithCancelCause(context.Background())
	defer exited(nil)
	if len(t.Cmd) > 0 {
		p, err := start(t, vars, logs)
		if err != nil {
			return nil, err
		}
		defer p.stop()
		pid = p.pid
		go func() {
			<-p.done
			exited(fmt.Errorf("%s ended early", t.Name))
		}()
	}
	headers := map[string]string{"Content-Type": "application/json", "User-Agent": "bench", "Accept": "*/*"}
	for k, v := range t.Headers {
		headers[k] = expand(v)
	}
	get(mockURL + "/_ctl?delay=0s&gap=0s&chunks=50")
	if err := verify(ctx, u.String(), t.Model, headers, expand(t.Key), mockURL); err != nil {
		return nil, err
	}
	request := func(s scenario) []byte {
		body := chat.Request(t.Model, s.Stream, s.Size)
		var b bytes.Buffer
		fmt.Fprintf(&b, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n", u.RequestURI(), u.Host, len(body))
		for _, k := range slices.Sorted(maps.Keys(headers)) {
			fmt.Fprintf(&b, "%s: %s\r\n", k, headers[k])
		}
		b.WriteString("\r\n")
		b.Write(body)
		return b.Bytes()
	}
	warm := scenario{Workers: 32, Size: 1 << 10}
	for _, d := range []time.Duration{700 * time.Millisecond, 700*time.Millisecond + time.Duration(t.Warm*1e9)} {
		if _, err := load.Run(load.Plan{Addr: u.Host, Request: request(warm), Workers: 32, For: d}); err != nil {
			return nil, err
		}
	}
	var rows []row
	for _, s := range ss {
		if len(t.Only) > 0 && !slices.Contains(t.Only, s.Name) {
			continue
		}
		get(fmt.Sprintf("%s/_ctl?delay=%s&gap=%s&chunks=50", mockURL, s.Delay, s.Gap))
		p := load.Plan{Addr: u.Host, Request: request(s), Workers: s.Workers, Rate: s.Rate, For: time.Duration(s.Seconds * float64(time.Second)), Max: 500_000}
		if s.Churn {
			known := vars["RS256"]
			for _, tok := range fresh {
				p.Each = append(p.Each, bytes.ReplaceAll(p.Request, []byte(known), []byte(tok)))
			}
		}
		r := row{Round: round, Target: t.Name, Scenario: s.Name, Started: time.Now()}
		g0, m0, l0 := cpu(pid), cpu(mockPID), cpu(os.Getpid())
		res, err := load.Run(p)
		g1, m1, l1 := cpu(pid), cpu(mockPID), cpu(os.Getpid())
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
		if pid != 0 {
			r.RSS = float64(proc.PeakRSS(pid)) / (1 << 20)
		}
		rows = append(rows, r)
		time.Sleep(200 * time.Millisecond)
	}
	return rows, nil
}

// verify waits for the target to answer, then checks one plain and one
// streaming completion and which key the upstream was shown.
func verify(ctx context.Context, u, model string, headers map[string]string, key, mockURL string) error {
	post := func(stream bool) (string, error) {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, "POST", u, bytes.NewReader(chat.Request(model, stream, 1<<10)))
		if err != nil {
			return "", err
		}
		for k, v := range headers {
			req.Header.Set(k, v)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode != 200 {
			err = fmt.Errorf("%s: %.300s", resp.Status, b)
		}
		return string(b), err
	}
	var body string
	var err error
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		if body, err = post(false); err == nil || ctx.Err() != nil {
			break
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	if !strings.Contains(body, "A gateway sits between") || !strings.Contains(body, `"total_tokens"`) {
		return fmt.Errorf("unexpected completion: %.300s", body)
	}
	if body, err = post(true); err != nil {
		return err
	}
	if n := strings.Count(body, "data:"); n < 50 || !strings.Contains(body, "[DONE]") {
		return fmt.Errorf("unexpected stream of %d events: %.300s", n, body)
	}
	if key != "" {
		var stats struct{ Authorization string }
		if err := json.Unmarshal(get(mockURL+"/_stats"), &stats); err != nil {
			return err
		}
		if stats.Authorization != key {
			return fmt.Errorf("upstream saw Authorization %.40q", stats.Authorization)
		}
	}
	return nil
}

func lookup(vars map[string]string) func(string) string {
	return func(k string) string {
		if v, ok := vars[k]; ok {
			return v
		}
		return os.Getenv(k)
	}
}

// process is one that start began.
type process struct {
	pid  int
	cmd  *exec.Cmd
	done chan struct{}
}

func start(t target, vars map[string]string, logs string) (*process, error) {
	args := make([]string, len(t.Cmd))
	for i, a := range t.Cmd {
		args[i] = os.Expand(a, lookup(vars))
	}
	c := exec.Command(args[0], args[1:]...)
	c.Dir = os.Expand(t.Dir, lookup(vars))
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.TempDir()}
	for k, v := range t.Env {
		c.Env = append(c.Env, k+"="+os.Expand(v, lookup(vars)))
	}
	f, err := os.Create(filepath.Join(logs, "bench-"+t.Name+".log"))
	check(err)
	c.Stdout, c.Stderr = f, f
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := c.Start(); err != nil {
		return nil, err
	}
	f.Close()
	p := &process{c.Process.Pid, c, make(chan struct{})}
	go func() { c.Wait(); close(p.done) }()
	return p, nil
}

func (p *process) stop() {
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(5 * time.Second):
		p.cmd.Process.Kill()
		<-p.done
	}
}

func ready(u string, wait time.Duration) error {
	var err error
	for end := time.Now().Add(wait); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		var resp *http.Response
		if resp, err = http.Get(u); err == nil {
			resp.Body.Close()
			return nil
		}
	}
	return err
}

func get(u string) []byte {
	resp, err := http.Get(u)
	check(err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	check(err)
	return b
}

func cpu(pid int) time.Duration {
	if pid == 0 {
		return 0
	}
	return proc.CPU(pid)
}

func us(d time.Duration) float64 { return float64(d) / 1e3 }

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func printReport(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	type key struct{ scenario, target string }
	all := map[key][]row{}
	var names []string
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		var r row
		if err := json.Unmarshal(sc.Bytes(), &r); err != nil {
			return err
		}
		k := key{r.Scenario, r.Target}
		all[k] = append(all[k], r)
		if !slices.Contains(names, r.Target) {
			names = append(names, r.Target)
		}
	}
	for _, s := range scenarios {
		fmt.Printf("\n### %s\n\n", s.Name)
		fmt.Println("| target | gateway CPU µs/req (min–max) | req/s (min–max) | p50 µs | p90 | p99 | p99.9 | first p50 | first p99 | errors | late | RSS MiB | n |")
		fmt.Println("|---|---|---|---|---|---|---|---|---|---|---|---|---|")
		slices.SortStableFunc(names, func(a, b string) int {
			return int(med(all[key{s.Name, a}], func(r row) float64 { return r.CPU })*1000) - int(med(all[key{s.Name, b}], func(r row) float64 { return r.CPU })*1000)
		})
		for _, n := range names {
			rs := all[key{s.Name, n}]
			if len(rs) == 0 {
				continue
			}
			m := func(get func(row) float64) float64 { return med(rs, get) }
			errs, late := 0, 0
			for _, r := range rs {
				errs += r.Errors
				late += r.Late
			}
			fmt.Printf("| %s | %s | %s | %.0f | %.0f | %.0f | %.0f | %.0f | %.0f | %d | %d | %.0f | %d |\n", n,
				spread(rs, "%.1f", func(r row) float64 { return r.CPU }), spread(rs, "%.0f", func(r row) float64 { return r.RPS }),
				m(func(r row) float64 { return r.P50 }), m(func(r row) float64 { return r.P90 }), m(func(r row) float64 { return r.P99 }), m(func(r row) float64 { return r.P999 }),
				m(func(r row) float64 { return r.First50 }), m(func(r row) float64 { return r.First99 }), errs, late, m(func(r row) float64 { return r.RSS }), len(rs))
		}
	}
	return sc.Err()
}

func med(rs []row, get func(row) float64) float64 {
	v := values(rs, get)
	if len(v) == 0 {
		return 0
	}
	return (v[len(v)/2] + v[(len(v)-1)/2]) / 2
}

func spread(rs []row, format string, get func(row) float64) string {
	v := values(rs, get)
	return fmt.Sprintf(format+" ("+format+"–"+format+")", med(rs, get), v[0], v[len(v)-1])
}

func values(rs []row, get func(row) float64) []float64 {
	var v []float64
	for _, r := range rs {
		v = append(v, get(r))
	}
	slices.Sort(v)
	return v
}
