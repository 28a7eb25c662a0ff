//go:build !linux

package main

// watchPeak does not know the memory of processes here.
func watchPeak(int, <-chan struct{}) <-chan float64 {
	peak := make(chan float64, 1)
	peak <- 0
	return peak
}
