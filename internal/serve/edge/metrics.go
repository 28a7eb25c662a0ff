package edge

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"pennyfarthing/internal/serve/h1"
	"pennyfarthing/internal/serve/site"
)

// Metrics counts what the edges of a process do, for Prometheus. Its names are
// described in docs/metrics.md.
type Metrics struct {
	registry   *prometheus.Registry
	requests   *prometheus.CounterVec
	bytes      *prometheus.CounterVec
	answer     *timeHistograms
	refusals   *prometheus.CounterVec
	handshakes *prometheus.CounterVec

	connections *prometheus.GaugeVec
	panics      *prometheus.CounterVec
}

// NewMetrics returns metrics with those of the Go runtime and of the process.
func NewMetrics() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "penny_requests_total", Help: "Requests answered.",
		}, []string{"pop", "site", "protocol", "status"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "penny_body_bytes_total", Help: "Bytes of bodies sent.",
		}, []string{"pop", "site"}),
		answer: newTimeHistograms(prometheus.NewDesc(
			"penny_answer_seconds", "Time that making an answer took, without sending it.", []string{"pop"}, nil)),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "penny_refusals_total", Help: "Requests and connections that were refused, by reason.",
		}, []string{"pop", "reason"}),
		handshakes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "penny_tls_handshakes_total", Help: "TLS handshakes over TCP, by result.",
		}, []string{"pop", "result"}),
		connections: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "penny_connections", Help: "Open connections, over TCP and QUIC.",
		}, []string{"pop"}),
		panics: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "penny_panics_total", Help: "Requests that ended in a panic: mistakes of the program.",
		}, []string{"pop"}),
	}
	m.registry.MustRegister(m.requests, m.bytes, m.answer, m.refusals, m.handshakes, m.connections, m.panics,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Handler serves the metrics in Prometheus' text format.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry})
}

// WatchSites exports the sizes of the sites that a POP has whenever it is asked for
// metrics. A process may have several POPs, but calls this once for each.
func (m *Metrics) WatchSites(pop string, sites func() []*site.Live) {
	m.registry.MustRegister(&siteCollector{pop: pop, sites: sites})
}

// A siteCollector measures the sites of a POP. Which there are, changes; so it
// describes none beforehand.
type siteCollector struct {
	pop   string
	sites func() []*site.Live
}

// Describe describes nothing: what is collected is not checked then.
func (c *siteCollector) Describe(chan<- *prometheus.Desc) {}

// Collect measures every site.
func (c *siteCollector) Collect(to chan<- prometheus.Metric) {
	for _, live := range c.sites() {
		gauge := func(name, help string, value float64) {
			desc := prometheus.NewDesc(name, help, []string{"pop", "site"}, nil)
			to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, c.pop, live.Name())
		}
		now := live.Site()
		sum := now.Summary()
		gauge("penny_site_files", "Files of the site.", float64(sum.Files))
		gauge("penny_site_bytes", "Size of the site's files.", float64(sum.Bytes))
		gauge("penny_site_memory_bytes", "Bodies of the site in memory, all codings.", float64(sum.Memory))
		gauge("penny_site_coded_files", "Files with at least one content coding.", float64(sum.Coded))
		gauge("penny_site_generation", "Counts the contents that the site has had.", float64(now.Generation()))
	}
}

// WatchAccessLog exports how many records a log lost.
func (m *Metrics) WatchAccessLog(l *AccessLog) {
	m.registry.MustRegister(prometheus.NewCounterFunc(
		prometheus.CounterOpts{Name: "penny_access_log_dropped_total", Help: "Records that the access log lost."},
		func() float64 { return float64(l.Dropped()) },
	))
}

// The protocols of requests, as indexes of counters.
type protocol uint8

const (
	overHTTP10 protocol = iota
	overHTTP11
	overHTTP2
	overHTTP3
	protocols
)

// String is the protocol as it stands in the log.
func (p protocol) String() string {
	return [...]string{"HTTP/1.0", "HTTP/1.1", "HTTP/2", "HTTP/3"}[p]
}

func protocolOf(r *http.Request) protocol {
	switch {
	case r.ProtoMajor == 3:
		return overHTTP3
	case r.ProtoMajor == 2:
		return overHTTP2
	case r.ProtoMinor == 0:
		return overHTTP10
	}
	return overHTTP11
}

// siteMeters are the counters of one site on one POP, looked up once.
type siteMeters struct {
	requests [protocols][6]prometheus.Counter // by class of status
	bytes    prometheus.Counter
}

func (m *Metrics) site(pop, name string) *siteMeters {
	s := &siteMeters{bytes: m.bytes.WithLabelValues(pop, name)}
	for p := range protocols {
		for class := 1; class < 6; class++ {
			s.requests[p][class] = m.requests.WithLabelValues(pop, name, p.String(), strconv.Itoa(class)+"xx")
		}
	}
	return s
}

func (s *siteMeters) count(p protocol, status int, bytes int64) { s.add(p, status/100, 1, bytes) }

// add counts requests that were answered with this class of status.
func (s *siteMeters) add(p protocol, class, requests int, bytes int64) {
	if class >= 1 && class < 6 {
		s.requests[p][class].Add(float64(requests))
	}
	s.bytes.Add(float64(bytes))
}

// popMeters are the counters of one server.
type popMeters struct {
	metrics *Metrics
	pop     string
	answer  *timeHistogram
	nobody  *siteMeters // requests that belong to no site

	connections prometheus.Gauge
	panics      prometheus.Counter
}

func (m *Metrics) pop(name string) *popMeters {
	return &popMeters{
		metrics: m, pop: name, answer: m.answer.with(name), nobody: m.site(name, ""),
		connections: m.connections.WithLabelValues(name), panics: m.panics.WithLabelValues(name),
	}
}

// made notes that making some answers took so long, all together.
func (p *popMeters) made(answers int, took time.Duration) { p.answer.observe(answers, took) }

func (p *popMeters) refused(reason string) {
	p.metrics.refusals.WithLabelValues(p.pop, reason).Inc()
}

func (p *popMeters) refusal(r h1.Refusal) { p.refused(r.Reason.String()) }

func (p *popMeters) handshake(err error) {
	result := "ok"
	if err != nil {
		result = "failed"
	}
	p.metrics.handshakes.WithLabelValues(p.pop, result).Inc()
}
