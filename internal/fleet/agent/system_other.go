//go:build !linux

package agent

// residentMemory returns 0: only Linux tells a process without cgo.
func residentMemory() int64 { return 0 }

// loadAverage returns zeros, as residentMemory does.
func loadAverage() [3]float64 { return [3]float64{} }
