//go:build !linux

// Command edge measures penny beside nginx, H2O and Caddy. It reads CPU time from /proc and therefore runs on Linux only.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench/edge: runs on Linux only (CPU time from /proc, taskset)")
	os.Exit(2)
}
