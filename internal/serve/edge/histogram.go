package edge

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// answerBuckets are the upper bounds: answers from memory take microseconds.
var answerBuckets = [...]time.Duration{
	time.Microsecond, 2 * time.Microsecond, 5 * time.Microsecond, 10 * time.Microsecond, 20 * time.Microsecond, 50 * time.Microsecond,
	100 * time.Microsecond, 250 * time.Microsecond, time.Millisecond, 5 * time.Millisecond, 25 * time.Millisecond, 100 * time.Millisecond, time.Second,
}

// A timeHistogram counts durations. Many that are equal cost no more than one,
// which those of Prometheus' library cannot do.
type timeHistogram struct {
	counts [len(answerBuckets) + 1]atomic.Uint64
	sum    atomic.Int64 // nanoseconds
}

// observe counts n durations that make up this sum, as if they were equal.
func (h *timeHistogram) observe(n int, sum time.Duration) {
	each, i := sum/time.Duration(n), 0
	for i < len(answerBuckets) && each > answerBuckets[i] {
		i++
	}
	h.counts[i].Add(uint64(n))
	h.sum.Add(int64(sum))
}

// timeHistograms are histograms by one label, for Prometheus.
type timeHistograms struct {
	desc *prometheus.Desc

	mu  sync.Mutex // guards all
	all map[string]*timeHistogram
}

var _ prometheus.Collector = (*timeHistograms)(nil)

func newTimeHistograms(desc *prometheus.Desc) *timeHistograms {
	return &timeHistograms{desc: desc, all: make(map[string]*timeHistogram)}
}

// with returns the histogram with this label.
func (h *timeHistograms) with(label string) *timeHistogram {
	h.mu.Lock()
	defer h.mu.Unlock()
	one := h.all[label]
	if one == nil {
		one = new(timeHistogram)
		h.all[label] = one
	}
	return one
}

// Describe is for [prometheus.Collector].
func (h *timeHistograms) Describe(to chan<- *prometheus.Desc) { to <- h.desc }

// Collect is for [prometheus.Collector].
func (h *timeHistograms) Collect(to chan<- prometheus.Metric) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for label, one := range h.all {
		var total uint64
		buckets := make(map[float64]uint64, len(answerBuckets))
		for i, bound := range answerBuckets {
			total += one.counts[i].Load()
			buckets[bound.Seconds()] = total
		}
		total += one.counts[len(answerBuckets)].Load()
		to <- prometheus.MustNewConstHistogram(h.desc, total, time.Duration(one.sum.Load()).Seconds(), buckets, label)
	}
}
