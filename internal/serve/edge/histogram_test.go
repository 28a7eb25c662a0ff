package edge

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// What our histogram counts, one of Prometheus' library would count as well.
func TestATimeHistogramIsAHistogram(t *testing.T) {
	ours := newTimeHistograms(prometheus.NewDesc("h", "help", []string{"pop"}, nil))
	var bounds []float64
	for _, b := range answerBuckets {
		bounds = append(bounds, b.Seconds())
	}
	theirs := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "h", Help: "help", Buckets: bounds}, []string{"pop"})
	for _, d := range []time.Duration{
		0, 1, time.Microsecond, time.Microsecond + 1, 3 * time.Microsecond, 99 * time.Microsecond, time.Millisecond, 20 * time.Millisecond, time.Second, time.Minute,
	} {
		for n := range 3 {
			for range n {
				theirs.WithLabelValues("au").Observe(d.Seconds())
			}
			if n > 0 {
				ours.with("au").observe(n, time.Duration(n)*d)
			}
		}
	}
	if got, want := ours.with("au").sum.Load(), int64(3*(1+2*time.Microsecond+1+3*time.Microsecond+99*time.Microsecond+21*time.Millisecond+61*time.Second)); got != want {
		t.Errorf("the sum is %d ns, want %d", got, want)
	}
	theirs.WithLabelValues("ny")
	ours.with("ny")
	if got, want := withoutSums(scrape(t, ours)), withoutSums(scrape(t, theirs)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func scrape(t *testing.T, c prometheus.Collector) string {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(c)
	w := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/", nil))
	return w.Body.String()
}

// withoutSums leaves out the sums, which are rounded in other places.
func withoutSums(text string) string {
	var kept []string
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "h_sum") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}
