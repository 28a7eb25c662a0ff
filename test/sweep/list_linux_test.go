package sweep_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// A list that comes from a pipe has no end that could be waited for. The first
// request must go out while most of it has not been written.
func TestTheFirstRequestGoesOutBeforeTheListEnds(t *testing.T) {
	t.Parallel()
	resolver, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer resolver.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := exec.CommandContext(ctx, penny, "sweep", "-", "-o", filepath.Join(t.TempDir(), "run"), "--quiet",
		"--resolver", resolver.LocalAddr().String(), "--contact", "mailto:tests@example.org", "--allow-private", "--no-pacing")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	list, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	writeNames(list, 10_000) // and then nothing, for now
	if err := resolver.SetReadDeadline(began.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := resolver.ReadFromUDPAddrPort(make([]byte, 1500)); err != nil {
		t.Fatalf("nothing is asked while the list goes on: %v", err)
	}
	t.Logf("the first query came after %v", time.Since(began))
	cancel()
	list.Close()
	_ = cmd.Wait() // it was interrupted
}

func writeNames(w io.Writer, n int) {
	out := bufio.NewWriterSize(w, 1<<16)
	for i := range n {
		fmt.Fprintf(out, "name%d.example\n", i)
	}
	_ = out.Flush() // who does not read it will be missed
}

// A list of ten million lines, of which the resolver knows nothing: how long until
// the first query, until all is read, and how much memory that takes.
func BenchmarkTenMillionLines(b *testing.B) {
	const lines = 10_000_000
	for b.Loop() {
		resolver, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			b.Fatal(err)
		}
		cmd := exec.CommandContext(b.Context(), penny, "sweep", "-", "-o", filepath.Join(b.TempDir(), "run"), "--quiet",
			"--resolver", resolver.LocalAddr().String(), "--contact", "mailto:tests@example.org", "--allow-private", "--no-pacing")
		list, err := cmd.StdinPipe()
		if err != nil {
			b.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		began := time.Now()
		first := make(chan time.Duration, 1)
		go func() {
			if _, _, err := resolver.ReadFromUDPAddrPort(make([]byte, 1500)); err == nil {
				first <- time.Since(began)
			}
		}()
		writeNames(list, lines)
		list.Close()
		b.ReportMetric(time.Since(began).Seconds(), "s/list")
		b.ReportMetric((<-first).Seconds(), "s/first")
		time.Sleep(time.Second)
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			b.Fatal(err)
		}
		_ = cmd.Wait() // it was interrupted
		b.ReportMetric(float64(peak(cmd))/1e6, "MB/rss")
		resolver.Close()
	}
}

// peak is the most memory that a process that has ended had, in bytes.
func peak(cmd *exec.Cmd) int64 {
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0
	}
	return usage.Maxrss << 10
}
