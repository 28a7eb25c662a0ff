//go:build !linux

// Command deploy measures penny deploy beside rsync. It reads CPU time from /proc and therefore runs on Linux only.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench/deploy: runs on Linux only (CPU time from /proc)")
	os.Exit(2)
}
