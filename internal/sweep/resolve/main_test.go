package resolve

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"testing"
)

// serveEnv has the test binary be a server, so that its CPU is not counted as ours.
const serveEnv = "PENNY_TEST_RESOLVE_SERVE"

func TestMain(m *testing.M) {
	if os.Getenv(serveEnv) != "" {
		serveForever()
		return
	}
	os.Exit(m.Run())
}

// serveForever answers every question with one address, until its standard input ends.
func serveForever() {
	u, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	_ = u.SetReadBuffer(8 << 20)
	fmt.Println(u.LocalAddr())
	go func() {
		_, _ = bufio.NewReader(os.Stdin).ReadByte()
		os.Exit(0)
	}()
	var b [512]byte
	for {
		n, from, err := u.ReadFromUDPAddrPort(b[:])
		if err != nil {
			return
		}
		end, ok := skipName(b[:n], headerSize)
		if !ok || end+4 > n {
			continue
		}
		b[2], b[3], b[7], b[11] = flagResponse|flagRecursion, 0x80, 1, 0
		answer := append(b[:end+4], 0xc0, headerSize, 0, typeA, 0, classIN, 0, 0, 1, 0, 0, 4, 192, 0, 2, 1)
		_, _ = u.WriteToUDPAddrPort(answer, from)
	}
}

// startServer starts such a process and returns where it listens.
func startServer(t testing.TB) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), serveEnv+"=1")
	cmd.Stderr = t.Output()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait() // it was told to end, or killed
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return line[:len(line)-1]
}
