package gateway

import (
	"strconv"

	"github.com/gatehouse-ai/gatehouse/internal/record"
	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the gateway's. Labels come from the configuration, never from
// what a caller writes.
type metrics struct {
	registry prometheus.Registerer
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	first    *prometheus.HistogramVec
	tokens   *prometheus.CounterVec
	running  prometheus.GaugeFunc
}

// newMetrics registers the metrics; nil for no registry.
func newMetrics(r prometheus.Registerer, running func() int) *metrics {
	if r == nil {
		return nil
	}
	buckets := []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600}
	m := &metrics{
		registry: r,
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gatehouse_gateway_requests_total", Help: "Requests, by endpoint, provider account and status.",
		}, []string{"endpoint", "account", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "gatehouse_gateway_request_duration_seconds", Help: "Duration of requests, until the last byte.", Buckets: buckets,
		}, []string{"endpoint"}),
		first: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "gatehouse_gateway_first_byte_seconds", Help: "Time until the provider's first byte.", Buckets: buckets,
		}, []string{"endpoint"}),
		tokens: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gatehouse_gateway_tokens_total", Help: "Tokens as the providers count them, by account and direction (input, output, cached).",
		}, []string{"account", "direction"}),
		running: prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "gatehouse_gateway_running_requests", Help: "Calls on their way to or from a provider.",
		}, func() float64 { return float64(running()) }),
	}
	r.MustRegister(m.requests, m.seconds, m.first, m.tokens, m.running)
	return m
}

func (m *metrics) unregister() {
	if m == nil {
		return
	}
	for _, c := range []prometheus.Collector{m.requests, m.seconds, m.first, m.tokens, m.running} {
		m.registry.Unregister(c)
	}
}

// observe counts a request. Only an account that the request reached is a
// label: UpstreamModel says that it was.
func (m *metrics) observe(r *record.Request) {
	if m == nil {
		return
	}
	account := ""
	if r.UpstreamModel != "" {
		account = r.Account
	}
	m.requests.WithLabelValues(r.Endpoint, account, strconv.Itoa(r.Status)).Inc()
	m.seconds.WithLabelValues(r.Endpoint).Observe(r.Duration.Seconds())
	if r.FirstByte > 0 {
		m.first.WithLabelValues(r.Endpoint).Observe(r.FirstByte.Seconds())
	}
	if u := r.Usage; u != (record.Usage{}) {
		m.tokens.WithLabelValues(account, "input").Add(float64(u.InputTokens))
		m.tokens.WithLabelValues(account, "output").Add(float64(u.OutputTokens))
		m.tokens.WithLabelValues(account, "cached").Add(float64(u.CachedTokens))
	}
}
