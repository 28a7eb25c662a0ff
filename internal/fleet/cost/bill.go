package cost

import (
	"fmt"
	"math"
	"math/big"
	"strings"
	"time"
)

// Usage is what a run took, of all its machines together.
type Usage struct {
	Targets  int64         `json:"targets"`
	Wall     time.Duration `json:"wall_ns"` // from its beginning to its end
	CPU      time.Duration `json:"cpu_ns"`  // of the processor, user and system
	Sent     int64         `json:"sent"`    // bytes
	Machines int           `json:"machines"`
}

// A Bill is what a run would cost on machines of one kind.
//
// Compute is what is paid for the machines, and is the sum of four parts: the share
// of the processor that the run used, the time until the machines could work, the
// time that they waited (for answers, and for their turn), and what was added by
// the minimum and by rounding up to whole units.
type Bill struct {
	Key      string        `json:"machine"`
	Name     string        `json:"name"`
	Date     string        `json:"price_date"`
	Source   string        `json:"price_source"`
	Hourly   Money         `json:"hourly_usd"`
	Unit     string        `json:"billed_per"`
	Machines int           `json:"machines"`
	Running  time.Duration `json:"running_ns"` // of each machine, the run alone
	Billed   time.Duration `json:"billed_ns"`  // of each machine

	Compute  Money `json:"compute_usd"`
	CPUShare Money `json:"cpu_share_usd"`
	Startup  Money `json:"startup_usd"`
	Idle     Money `json:"idle_usd"`
	Rounding Money `json:"rounding_usd"`

	EgressBytes int64 `json:"egress_bytes"` // of all machines, beyond the free ones
	Egress      Money `json:"egress_usd"`
	Total       Money `json:"total_usd"`
	// PerMillion is Total for a million targets; 0 without a target.
	PerMillion Money `json:"usd_per_million_targets"`
	// Missing are the parts that the table does not know: start-up, egress.
	Missing []string `json:"not_in_the_table,omitempty"`
	// Unverified are the keys of the table that nobody has looked up.
	Unverified []string `json:"unverified,omitempty"`
	// Stretched says that the run needed more of the processor than these machines have
	// in its time, so that it would take longer on them: Running is that longer time.
	Stretched bool `json:"stretched,omitempty"`
}

// Of is the bill of a run on as many machines of one kind as it had, one at least.
// It does not ask whether that machine's memory or line would do.
func Of(u Usage, m Machine) Bill {
	n := max(1, u.Machines)
	b := Bill{
		Key: m.Key, Name: m.Name, Date: m.Date.Format(time.DateOnly), Source: m.Source, Hourly: m.Hourly, Unit: m.Unit.String(),
		Machines: n, Running: max(0, u.Wall), Unverified: m.Unverified,
	}
	vcpus := max(1, m.VCPUs)
	cpu := max(0, u.CPU)
	// The whole of the processors of all machines is the least that the run takes.
	if least := (cpu + time.Duration(n*vcpus) - 1) / time.Duration(n*vcpus); least > b.Running {
		b.Running, b.Stretched = least, true
	}
	unit := max(time.Duration(m.Unit), time.Nanosecond)
	used := max(b.Running+m.Startup, m.Minimum)
	b.Billed = (used + unit - 1) / unit * unit
	if b.Billed == 0 {
		b.Billed = unit // a machine that was rented is billed once
	}

	b.Compute = m.Hourly.times(int64(n), b.Billed, time.Hour)
	b.CPUShare = min(m.Hourly.times(1, cpu, time.Duration(vcpus)*time.Hour), b.Compute)
	b.Startup = min(m.Hourly.times(int64(n), m.Startup, time.Hour), b.Compute-b.CPUShare)
	b.Idle = min(max(0, m.Hourly.times(int64(n), b.Running, time.Hour)-b.CPUShare), b.Compute-b.CPUShare-b.Startup)
	b.Rounding = b.Compute - b.CPUShare - b.Startup - b.Idle

	if m.HasEgress {
		free := new(big.Int)
		big.NewFloat(m.EgressFree * 1e9 * float64(n)).Int(free)
		over := new(big.Int).Sub(big.NewInt(max(0, u.Sent)), free)
		if over.Sign() > 0 {
			b.EgressBytes = over.Int64()
			over.Mul(over, big.NewInt(int64(m.Egress)))
			over.Div(over.Add(over, big.NewInt(5e8)), big.NewInt(1e9))
			b.Egress = Money(math.MaxInt64)
			if over.IsInt64() {
				b.Egress = Money(over.Int64())
			}
		}
	} else {
		b.Missing = append(b.Missing, "egress")
	}
	if !m.HasStartup {
		b.Missing = append(b.Missing, "start-up")
	}
	b.Total = b.Compute + min(b.Egress, math.MaxInt64-b.Compute)
	if u.Targets > 0 {
		perMillion := new(big.Int).Mul(big.NewInt(int64(b.Total)), big.NewInt(1e6))
		if perMillion.Div(perMillion, big.NewInt(u.Targets)); perMillion.IsInt64() {
			b.PerMillion = Money(perMillion.Int64())
		}
	}
	return b
}

// String is the bill as one sentence.
func (b Bill) String() string {
	var s strings.Builder
	machines := "one " + b.Name
	if b.Machines != 1 {
		machines = fmt.Sprintf("%d × %s", b.Machines, b.Name)
	}
	fmt.Fprintf(&s, "on %s: %s billed, %s, of which your CPU share is %s", machines, Time(b.Billed), b.Total, b.CPUShare)
	if b.Egress > 0 {
		fmt.Fprintf(&s, " and egress %s", b.Egress)
	}
	return s.String()
}

// Time is a time as a bill has it: 1 hour, 90 minutes, 61 seconds.
func Time(d time.Duration) string {
	n, unit := int64(d/time.Second), "second"
	switch {
	case d >= time.Hour && d%time.Hour == 0:
		n, unit = int64(d/time.Hour), "hour"
	case d >= time.Minute && d%time.Minute == 0:
		n, unit = int64(d/time.Minute), "minute"
	}
	if n == 1 {
		return "1 " + unit
	}
	return fmt.Sprintf("%d %ss", n, unit)
}
