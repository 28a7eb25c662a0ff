package report

import (
	"encoding/json"
	"fmt"
	"math/bits"
	"time"
)

// A Histogram counts times in microseconds, in buckets that are at most 1/32 of
// their value wide, so that a quantile is right to about three percent (the layout
// of HdrHistogram with five bits). Merging is exact. The zero value is empty.
type Histogram struct {
	counts []int64
	n      int64
}

// subBuckets is into how many buckets each power of two is cut.
const subBuckets = 32

// maxBucket is that of the largest int64.
const maxBucket = (63-6)*subBuckets + 2*subBuckets - 1

// bucketOf is the bucket of a time.
func bucketOf(us int64) int {
	if us < 2*subBuckets {
		return int(max(us, 0))
	}
	exp := bits.Len64(uint64(us)) - 6
	return exp*subBuckets + int(us>>exp)
}

// lowerBound is the least time of a bucket.
func lowerBound(bucket int) int64 {
	if bucket < 2*subBuckets {
		return int64(bucket)
	}
	exp := bucket/subBuckets - 1
	return int64(bucket-exp*subBuckets) << exp
}

// Add counts one time, in microseconds.
func (h *Histogram) Add(us int64) { h.add(bucketOf(us), 1) }

func (h *Histogram) add(bucket int, n int64) {
	if bucket >= len(h.counts) {
		h.counts = append(h.counts, make([]int64, bucket+1-len(h.counts))...)
	}
	h.counts[bucket] += n
	h.n += n
}

// Merge adds all of another one.
func (h *Histogram) Merge(o *Histogram) {
	for i, n := range o.counts {
		if n > 0 {
			h.add(i, n)
		}
	}
}

// N is how many times were counted.
func (h *Histogram) N() int64 { return h.n }

// Quantile is the time that a share q of the times, from 0 to 1, do not exceed; 0
// without any. It is the middle of a bucket.
func (h *Histogram) Quantile(q float64) time.Duration {
	rank := max(1, int64(q*float64(h.n)+0.5))
	for i, n := range h.counts {
		if rank -= n; rank <= 0 && n > 0 {
			low := lowerBound(i)
			high := low
			if i < maxBucket {
				high = lowerBound(i+1) - 1
			}
			return time.Duration(low+(high-low)/2) * time.Microsecond
		}
	}
	return 0
}

// MarshalJSON writes the number, three quantiles for people in microseconds, and
// the buckets that are not empty as pairs of number and count.
func (h Histogram) MarshalJSON() ([]byte, error) {
	out := histogramJSON{
		N: h.n, P50: h.Quantile(.5).Microseconds(), P95: h.Quantile(.95).Microseconds(), P99: h.Quantile(.99).Microseconds(), Buckets: [][2]int64{},
	}
	for i, n := range h.counts {
		if n > 0 {
			out.Buckets = append(out.Buckets, [2]int64{int64(i), n})
		}
	}
	return json.Marshal(out)
}

type histogramJSON struct {
	N       int64      `json:"n"`
	P50     int64      `json:"p50_us"`
	P95     int64      `json:"p95_us"`
	P99     int64      `json:"p99_us"`
	Buckets [][2]int64 `json:"buckets"`
}

// UnmarshalJSON reads the buckets back.
func (h *Histogram) UnmarshalJSON(data []byte) error {
	var in histogramJSON
	if err := json.Unmarshal(data, &in); err != nil {
		return err
	}
	*h = Histogram{}
	for _, b := range in.Buckets {
		if b[0] < 0 || b[0] > maxBucket || b[1] < 0 {
			return fmt.Errorf("read a histogram: there is no bucket %d with %d", b[0], b[1])
		}
		h.add(int(b[0]), b[1])
	}
	return nil
}
