package sweep

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"pennyfarthing/internal/verdict"
)

// serveMetrics listens at an address, and returns which it is. serve serves
// Prometheus' metrics there until its context ends.
func serveMetrics(ctx context.Context, address string, c *Counters, began time.Time) (at net.Addr, serve func(context.Context) error, err error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, nil, fmt.Errorf("serve metrics: %w", err)
	}
	registry := prometheus.NewRegistry()
	if err := registry.Register(&collector{c, began}); err != nil {
		_ = l.Close()
		return nil, nil, fmt.Errorf("serve metrics: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	return l.Addr(), func(ctx context.Context) error {
		stop := context.AfterFunc(ctx, func() { _ = server.Close() })
		defer stop()
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve metrics: %w", err)
		}
		return nil
	}, nil
}

// A collector tells Prometheus the counters.
type collector struct {
	c     *Counters
	began time.Time
}

// Describe sends nothing: which verdicts there are is known as they come.
func (m *collector) Describe(chan<- *prometheus.Desc) {}

// Collect reads the counters.
func (m *collector) Collect(out chan<- prometheus.Metric) {
	p := m.c.progress(m.began, time.Now())
	one := func(kind prometheus.ValueType, name, help string, v float64) {
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc("penny_sweep_"+name, help, nil, nil), kind, v)
	}
	truth := map[bool]float64{true: 1}
	one(prometheus.GaugeValue, "targets_listed", "Targets that the list has, as far as it was read.", float64(p.Listed))
	one(prometheus.CounterValue, "targets_asked_total", "Targets whose row is complete.", float64(p.Asked))
	one(prometheus.CounterValue, "rows_committed_total", "Rows that are committed.", float64(p.Done))
	one(prometheus.GaugeValue, "in_flight", "Targets under way.", float64(p.Active))
	one(prometheus.GaugeValue, "waiting", "Targets that wait for a turn, a retry, or our line's recovery.", float64(p.Parked))
	one(prometheus.CounterValue, "tries_total", "Tries.", float64(m.c.Tries.Load()))
	one(prometheus.CounterValue, "sent_bytes_total", "Bytes sent to targets.", float64(m.c.Sent.Load()))
	one(prometheus.CounterValue, "received_bytes_total", "Bytes received from targets.", float64(m.c.Received.Load()))
	one(prometheus.CounterValue, "suspect_rows_total", "Rows that may be wrong because of our own line.", float64(p.Suspect))
	one(prometheus.CounterValue, "controls_total", "Known-good targets that were asked.", float64(p.Controls))
	one(prometheus.CounterValue, "controls_failed_total", "Known-good targets that did not answer.", float64(p.ControlsFailed))
	one(prometheus.CounterValue, "ill_seconds_total", "Seconds in which our own line was ill.", float64(p.SecondsOfOwnIllness))
	one(prometheus.GaugeValue, "ill", "Whether our own line is ill now.", truth[p.Ill])
	one(prometheus.CounterValue, "bad_lines_total", "Lines of the list that are no targets.", float64(p.BadLines))
	verdicts := prometheus.NewDesc("penny_sweep_verdicts_total", "Rows, by verdict.", []string{"verdict", "class"}, nil)
	faults := prometheus.NewDesc("penny_sweep_own_faults_total", "Faults of our own, by kind.", []string{"verdict"}, nil)
	for i := range m.c.Verdicts {
		code := verdict.Code(i) //nolint:gosec // 256
		if n := m.c.Verdicts[i].Load(); n > 0 {
			out <- prometheus.MustNewConstMetric(verdicts, prometheus.CounterValue, float64(n), code.String(), code.Class().String())
		}
		if n := m.c.OwnFaults[i].Load(); n > 0 {
			out <- prometheus.MustNewConstMetric(faults, prometheus.CounterValue, float64(n), code.String())
		}
	}
}
