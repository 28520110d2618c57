// Command run measures gateways side by side. It starts the mock upstream and
// the issuer, then, round by round and in rotating order, each target alone;
// checks that it forwards, streams and swaps the key; loads it; and stops it.
//
//	go run ./cmd/run -bin DIR -targets targets/floor.json -rounds 3 -out out.jsonl
//	go run ./cmd/run -report out.jsonl
//
// With -extras it also measures what no single scenario shows: added latency
// with the targets taking turns, streams that were cut, and the start. With
// -scale-data it compares a large configuration with a small one instead.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// bench is one run: what it needs to start targets and to write measurements.
type bench struct {
	vars    map[string]string
	logs    string
	mockURL string
	mock    *process
	fresh   []string // tokens that no target has seen
	profile string
	enc     *json.Encoder
}

// options are the flags of a run.
type options struct {
	bin, files, only, which, out, mock, issuer, extras, scaleData, profile, logs string

	rounds int
	scale  float64
	vars   map[string]string
	report reporting
}

func flags() *options {
	o := &options{vars: map[string]string{"PPROF": "false"}}
	flag.StringVar(&o.bin, "bin", "bin", "folder of mock, issuer and floor")
	flag.StringVar(&o.files, "targets", "targets/floor.json", "comma-separated target files")
	flag.StringVar(&o.only, "only", "", "comma-separated target names (default all)")
	flag.IntVar(&o.rounds, "rounds", 3, "rounds")
	flag.Float64Var(&o.scale, "scale", 1, "multiplies every scenario's seconds")
	flag.StringVar(&o.which, "scenarios", "", "comma-separated scenario names (default all)")
	flag.StringVar(&o.out, "out", "out.jsonl", "measurements, one JSON object a line, appended")
	flag.StringVar(&o.mock, "mock", "127.0.0.1:23400", "mock upstream")
	flag.StringVar(&o.issuer, "issuer", "127.0.0.1:23401", "token issuer")
	flag.StringVar(&o.extras, "extras", "", "comma-separated: paired, cut, start")
	flag.StringVar(&o.scaleData, "scale-data", "", "folder of small/ and million/: compare those targets and nothing else")
	flag.StringVar(&o.profile, "profile", "", "folder for a CPU profile of each target that serves them, by scenario")
	flag.StringVar(&o.logs, "logs", os.TempDir(), "folder for the targets' output")
	flag.StringVar(&o.report.file, "report", "", "print the tables of this file instead of measuring")
	flag.StringVar(&o.report.into, "results", "", "with -report: also write them into this file, between its markers")
	flag.StringVar(&o.report.commit, "commit", "unknown", "with -report: the commit that was measured")
	flag.StringVar(&o.report.micro, "micro", "", "with -report: the output of go test -bench of the root module")
	flag.Func("set", "NAME=VALUE for ${NAME} in target files", func(s string) error {
		k, v, _ := strings.Cut(s, "=")
		o.vars[k] = v
		return nil
	})
	flag.Parse()
	return o
}

func main() {
	o := flags()
	if o.report.file != "" {
		check(o.report.print())
		return
	}
	abs, err := filepath.Abs(o.bin)
	check(err)
	o.vars["BIN"], o.vars["MOCK"], o.vars["ISSUER"], o.vars["SCALE"] = abs, o.mock, o.issuer, o.scaleData
	if o.profile != "" {
		o.vars["PPROF"] = "true"
	}
	f, err := os.OpenFile(o.out, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	check(err)
	defer f.Close()
	b := &bench{vars: o.vars, logs: o.logs, mockURL: "http://" + o.mock, profile: o.profile, enc: json.NewEncoder(f)}
	stop := b.upstreams()
	defer stop()
	b.note("machine", "", machine())
	ts := targets(o.files, o.only)
	if o.scaleData != "" {
		err = b.scale(ts, o.scaleData, o.rounds, o.scale)
	} else {
		b.rounds(ts, b.chosen(o), o.rounds)
		err = b.extras(ts, o)
	}
	if err != nil {
		log.Print(err)
	}
	b.note("machine", "", machine()) // the load average at the end
}

// chosen are the scenarios that were asked for; one of them may need tokens.
func (b *bench) chosen(o *options) (ss []scenario) {
	for _, s := range scenarios {
		if o.which != "" && !slices.Contains(strings.Split(o.which, ","), s.Name) {
			continue
		}
		s.Seconds *= o.scale
		ss = append(ss, s)
		if s.Churn {
			b.fresh = strings.Split(string(get(fmt.Sprintf("http://%s/mint?alg=RS256&n=%d", o.issuer, churnTokens))), "\n")
		}
	}
	return ss
}

// extras measures what was asked for; one that fails leaves the others alone.
func (b *bench) extras(ts []target, o *options) error {
	var errs []error
	for name := range strings.SplitSeq(o.extras, ",") {
		var err error
		switch name {
		case "":
		case "paired":
			err = b.paired(ts, o.scale)
		case "cut":
			err = b.cut(ts)
		case "start":
			err = b.starts(ts)
		default:
			err = errors.New("is no extra")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

func targets(files, only string) []target {
	var ts []target
	for f := range strings.SplitSeq(files, ",") {
		b, err := os.ReadFile(f)
		check(err)
		var more []target
		check(json.Unmarshal(b, &more))
		ts = append(ts, more...)
	}
	if only != "" {
		names := strings.Split(only, ",")
		ts = slices.DeleteFunc(ts, func(t target) bool { return !slices.Contains(names, t.Name) })
	}
	return ts
}

// upstreams starts the mock and the issuer and mints the usual tokens.
func (b *bench) upstreams() (stop func()) {
	mock, err := start(target{Name: "mock", Cmd: []string{"${BIN}/mock", "-addr", "${MOCK}"}}, b.vars, b.logs)
	check(err)
	issuer, err := start(target{Name: "issuer", Cmd: []string{"${BIN}/issuer", "-addr", "${ISSUER}"}}, b.vars, b.logs)
	check(err)
	b.mock = mock
	issuerURL := "http://" + b.vars["ISSUER"]
	check(ready(b.mockURL+"/_stats", 10*time.Second))
	check(ready(issuerURL+"/jwks", 10*time.Second))
	for _, p := range []*process{mock, issuer} {
		select {
		case <-p.done: // the address is taken, perhaps by another run
			log.Fatalf("%s ended at once", p.cmd.Path)
		case <-time.After(100 * time.Millisecond):
		}
	}
	for _, alg := range []string{"RS256", "ES256", "EdDSA"} {
		b.vars[strings.ToUpper(alg)] = string(get(issuerURL + "/mint?alg=" + alg))
	}
	return func() { mock.stop(); issuer.stop() }
}

func (b *bench) rounds(ts []target, ss []scenario, rounds int) {
	for round := range rounds {
		for i := range ts {
			t := &ts[(i+round*(len(ts)/rounds+1))%len(ts)]
			rows, err := b.measure(t, ss, round)
			for _, r := range rows {
				check(b.enc.Encode(r))
			}
			if err != nil {
				log.Printf("round %d %s: %v", round, t.Name, err)
				continue
			}
			log.Printf("round %d %s: done", round, t.Name)
		}
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

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
