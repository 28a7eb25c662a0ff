package result_test

import (
	"syscall"
	"testing"

	"pennyfarthing/internal/sweep/evidence"
	"pennyfarthing/internal/sweep/result"
)

const shard = 2048

// BenchmarkPart is everything that is done to a row, from Add to the synced file.
func BenchmarkPart(b *testing.B) {
	for _, format := range formats {
		b.Run(format.String(), func(b *testing.B) {
			_, parts := open(b, format)
			rows := make([]*evidence.Row, shard)
			for i := range rows {
				rows[i] = sample(i)
			}
			var info result.Info
			b.ReportAllocs()
			n, cpu := 0, cpuTime()
			for b.Loop() {
				info = commit(b, parts, 0, rows)
				n += shard
			}
			b.ReportMetric(float64(cpuTime()-cpu)/float64(n), "cpu-ns/row")
			b.ReportMetric(float64(info.Bytes)/shard, "file-B/row")
		})
	}
}

// cpuTime is what the process has used, in user and kernel, in nanoseconds: time on
// the clock says little beside a disk that syncs.
func cpuTime() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
