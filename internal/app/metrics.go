package app

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

// registerMetrics adds what is not the gateway's own: what the runtimes say of
// themselves, read when somebody asks.
func (a *App) registerMetrics() {
	a.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	a.registry.MustRegister(&stateCollector{app: a})
}

// stateCollector turns the states of the runtimes into metrics.
type stateCollector struct{ app *App }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("gatehouse_"+name, help, labels, nil)
}

// Describe is empty: which series there are depends on the configuration.
func (c *stateCollector) Describe(chan<- *prometheus.Desc) {}

// emit sends one value of a series, with its labels as names and values in turn.
type emit func(name, help string, v float64, labels ...string)

func series(ch chan<- prometheus.Metric, kind prometheus.ValueType) emit {
	return func(name, help string, v float64, labels ...string) {
		names := make([]string, 0, len(labels)/2)
		values := make([]string, 0, len(labels)/2)
		for i := 0; i < len(labels); i += 2 {
			names, values = append(names, labels[i]), append(values, labels[i+1])
		}
		ch <- prometheus.MustNewConstMetric(desc(name, help, names...), kind, v, values...)
	}
}

// Collect is called at each scrape.
func (c *stateCollector) Collect(ch chan<- prometheus.Metric) {
	gauge, counter := series(ch, prometheus.GaugeValue), series(ch, prometheus.CounterValue)
	c.snapshot(gauge)
	for _, s := range c.app.ring.Status() {
		gauge("identity_provider_keys", "Usable keys of an identity provider.", float64(s.Keys), "provider", s.Name)
		gauge("identity_provider_keys_age_seconds", "Age of the keys in use.", s.Age.Seconds(), "provider", s.Name)
		counter("identity_provider_fetches_total", "Attempts to fetch keys.", float64(s.Fetches), "provider", s.Name)
		counter("identity_provider_fetch_failures_total", "Failed attempts to fetch keys.", float64(s.Failures), "provider", s.Name)
		counter("identity_provider_refetches_total", "Fetches that tokens with an unknown key caused.", float64(s.Refetches), "provider", s.Name)
	}
	for _, s := range c.app.secrets.Status() {
		gauge("secret_ready", "Whether a secret has a value.", b2f(s.Ready), "resource", s.ResourceName, "path", s.Path)
		gauge("secret_age_seconds", "Age of a secret's value.", s.Age.Seconds(), "resource", s.ResourceName, "path", s.Path)
	}
	l := c.app.ledger.Stats()
	gauge("ledger_queued", "Request records that wait to be written.", float64(l.Queued))
	counter("ledger_written_total", "Request records written.", float64(l.Written))
	counter("ledger_dropped_total", "Request records dropped because the queue was full.", float64(l.Dropped))
	if m := c.app.health.manifests; m != nil {
		gauge("manifests_refused", "Whether manifests.dir holds a change that was refused.", b2f(m.problem() != nil))
	}
}

func (c *stateCollector) snapshot(gauge emit) {
	h := c.app.publisher.Health()
	gauge("snapshot_revision", "Revision of the configuration in use.", float64(h.Head.Revision))
	gauge("snapshot_present", "Whether there is a configuration to serve with.", b2f(h.Present))
	gauge("snapshot_age_seconds", "Time since the database last agreed with the configuration in use.", c.app.now().Sub(h.Confirmed).Seconds())
	var st snapshot.Stats
	if s := c.app.publisher.Load(); s != nil {
		st = s.Stats()
	}
	gauge("snapshot_users", "Users in the configuration.", float64(st.Users))
	gauge("snapshot_tokens", "Tokens in the configuration.", float64(st.Tokens))
	gauge("snapshot_problems", "Resources that mean less than was written.", float64(st.Problems))
}

func b2f(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
