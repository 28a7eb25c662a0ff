//go:build !linux

// Command accept measures two ways to accept TCP connections. SO_REUSEPORT spreads connections on Linux only.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench/accept: runs on Linux only (SO_REUSEPORT, taskset)")
	os.Exit(2)
}
