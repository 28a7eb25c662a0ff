//go:build !linux

package control

// lowerPriority does nothing: priorities are a process's here.
func lowerPriority() {}

// loadAverage is not known here.
func loadAverage() float64 { return 0 }
