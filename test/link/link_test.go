package link_test

import (
	"encoding/binary"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"pennyfarthing/test/link"
)

const port = 7

// patience is how long something may take that should take no time.
const patience = 10 * time.Second

// What takes its time here takes it on a machine that does other things, too. So
// nothing may be faster than the link allows, ever, and slower only by far.
func TestLinkDelaysAnEchoTwice(t *testing.T) {
	const delay = 30 * time.Millisecond
	l := link.New(t, link.Options{Delay: delay})
	for name, address := range map[string]string{"IPv4": l.Server.At4(port), "IPv6": l.Server.At6(port)} {
		t.Run(name, func(t *testing.T) {
			server := listen(t, l, address)
			go echo(server)
			client := dial(t, l, address)
			var took []time.Duration
			for range 20 {
				start := time.Now()
				if _, err := client.Write([]byte("ping")); err != nil {
					t.Fatal(err)
				}
				if err := client.SetReadDeadline(time.Now().Add(patience)); err != nil {
					t.Fatal(err)
				}
				if _, err := client.Read(make([]byte, 100)); err != nil {
					t.Fatal(err)
				}
				took = append(took, time.Since(start))
			}
			slices.Sort(took)
			least, median := took[0], took[len(took)/2]
			t.Logf("an echo takes %v at least, %v in the middle", least, median)
			if least < 2*delay || median > 3*delay {
				t.Errorf("want no less than %v, and not much more", 2*delay)
			}
		})
	}
}

func echo(server net.PacketConn) {
	buffer := make([]byte, link.MTU)
	for {
		n, from, err := server.ReadFrom(buffer)
		if err != nil {
			return // the test is over
		}
		if _, err := server.WriteTo(buffer[:n], from); err != nil {
			return
		}
	}
}

// Packets are sent in bursts that the buffer of a socket takes, each with its
// number; ten at the end of a burst, one of which will arrive, say that it is over.
func TestLinkLosesPacketsAtRandomAndKeepsTheirOrder(t *testing.T) {
	const (
		n     = 5000
		burst = 50
		share = 0.1
		over  = 1 << 31
	)
	l := link.New(t, link.Options{Loss: share, Seed: 7})
	server := listen(t, l, l.Server.At4(port))
	client := dial(t, l, l.Server.At4(port))
	arrived, next := 0, uint32(0)
	for first := uint32(0); first < n; first += burst {
		for i := range uint32(burst) {
			send(t, client, first+i)
		}
		for range 10 {
			send(t, client, first|over)
		}
		for {
			number := receive(t, server)
			if number == first|over {
				break
			}
			if number&over != 0 {
				continue // of the burst before
			}
			if number < next || number >= first+burst {
				t.Fatalf("packet %d comes where %d might", number, next)
			}
			next = number + 1
			arrived++
		}
	}
	gone, count := n-arrived, l.Up()
	mean, bound := n*share, 5*math.Sqrt(n*share*(1-share))
	t.Logf("of %d packets %d are lost; the link says %+v", n, gone, count)
	if math.Abs(float64(gone)-mean) > bound {
		t.Errorf("of %d packets %d are lost, want %.0f ± %.0f", n, gone, mean, bound)
	}
	if int64(gone) > count.Lost || count.Full > 0 {
		t.Errorf("of %d packets %d are lost, and the link has lost only %+v", n, gone, count)
	}
}

// Some packets come after those that were sent behind them, and all come.
func TestLinkBringsPacketsOutOfOrderAndLosesNone(t *testing.T) {
	const (
		n     = 2000
		burst = 50
		share = 0.1
	)
	l := link.New(t, link.Options{Reorder: share, Detour: 20 * time.Millisecond, Seed: 7})
	server := listen(t, l, l.Server.At4(port))
	client := dial(t, l, l.Server.At4(port))
	overtaken := 0
	for first := uint32(0); first < n; first += burst {
		for i := range uint32(burst) {
			send(t, client, first+i)
		}
		seen, most := make(map[uint32]bool), first
		for range burst {
			number := receive(t, server)
			if number < first || number >= first+burst || seen[number] {
				t.Fatalf("packet %d comes among those from %d", number, first)
			}
			seen[number] = true
			if most = max(most, number); number < most {
				overtaken++
			}
		}
	}
	count := l.Up()
	mean, bound := n*share, 5*math.Sqrt(n*share*(1-share))
	t.Logf("of %d packets %d were overtaken; the link says %+v", n, overtaken, count)
	// Who is the last of a burst is overtaken by nobody, and where the machine is busy
	// a burst may take longer than the detour.
	if overtaken == 0 || float64(overtaken) > mean+bound || int64(overtaken) > count.Late || count.Lost+count.Full > 0 {
		t.Errorf("of %d packets %d were overtaken, want no more than %.0f; the link says %+v", n, overtaken, mean+bound, count)
	}
}

func send(t *testing.T, conn net.Conn, number uint32) {
	t.Helper()
	if _, err := conn.Write(binary.BigEndian.AppendUint32(nil, number)); err != nil {
		t.Fatal(err)
	}
}

func receive(t *testing.T, conn net.PacketConn) uint32 {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 4)
	if n, _, err := conn.ReadFrom(buffer); err != nil || n != len(buffer) {
		t.Fatal(n, err)
	}
	return binary.BigEndian.Uint32(buffer)
}

func TestLinkIsNoFasterThanItsRate(t *testing.T) {
	const (
		rate  = 16_000_000
		size  = 2_000_000 // a second
		queue = 32 << 10
	)
	l := link.New(t, link.Options{Rate: rate, Queue: queue, Delay: 5 * time.Millisecond})
	var listener net.Listener
	var err error
	l.Server.Do(func() { listener, err = net.Listen("tcp", l.Server.At6(port)) })
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return // the test is over
		}
		defer conn.Close()
		_, _ = conn.Write(make([]byte, size)) // the client says how much came
	}()
	client := dialTCP(t, l, l.Server.At6(port))
	start := time.Now()
	if n, err := io.Copy(io.Discard, client); err != nil || n != size {
		t.Fatalf("%d bytes, %v", n, err)
	}
	took := time.Since(start)
	least := time.Duration(float64(size-queue) * 8 / rate * float64(time.Second))
	t.Logf("%d bytes take %v; the link says %+v", size, took, l.Down())
	if took < least || took > 4*least {
		t.Errorf("%d bytes take %v, want no less than %v, and not much more", size, took, least)
	}
}

func TestLinkDropsWhatFindsItsQueueFull(t *testing.T) {
	const (
		n    = 200
		size = 1000 // with its heads
		fit  = 15
	)
	l := link.New(t, link.Options{Rate: 200_000, Queue: fit * size}) // 25 packets a second
	server := listen(t, l, l.Server.At4(port))
	client := dial(t, l, l.Server.At4(port))
	for range n {
		if _, err := client.Write(make([]byte, size-28)); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(patience); l.Up().Packets < n && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	count := l.Up()
	t.Logf("the link says %+v", count)
	if passed := count.Packets - count.Full; count.Packets < n || passed < fit-2 || passed > n/2 {
		t.Errorf("of %d packets %d are dropped; the queue holds %d", count.Packets, count.Full, fit)
	}
	for range fit - 2 { // others of the host may have been in the queue
		if err := server.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := server.ReadFrom(make([]byte, link.MTU)); err != nil {
			t.Fatal(err)
		}
	}
}

// A process that is started in a host has its network and no other.
func TestLinkHasProcessesInItsHosts(t *testing.T) {
	l := link.New(t, link.Options{})
	var out []byte
	var err error
	l.Client.Do(func() { out, err = exec.CommandContext(t.Context(), "ip", "-brief", "addr").CombinedOutput() })
	if err != nil {
		t.Fatal(err, string(out))
	}
	for _, want := range []string{"127.0.0.1/8", l.Client.IPv4.String() + "/24", l.Client.IPv6.String() + "/64"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the client has no %s:\n%s", want, out)
		}
	}
	if n := strings.Count(string(out), "\n"); n != 2 {
		t.Errorf("the client has %d devices, want two:\n%s", n, out)
	}
	if _, err := net.InterfaceByName("line0"); err == nil {
		t.Error("the device of the link is in the network of the test, too")
	}
}

// Two links at once have the same addresses and nothing else in common, and
// nothing remains of them, although a goroutine ends in the middle of Do.
func TestLinksAreApartAndLeaveNothingBehind(t *testing.T) {
	link.New(t, link.Options{}) // skips here, if it must; and what is made once is made
	before := files(t)
	t.Run("two links", func(t *testing.T) {
		one, two := link.New(t, link.Options{}), link.New(t, link.Options{})
		server := listen(t, one, one.Server.At4(port))
		go echo(server)
		client := dial(t, two, two.Server.At4(port))
		_, _ = client.Write([]byte("ping")) // it may be refused
		if err := client.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		if n, err := client.Read(make([]byte, 100)); err == nil {
			t.Errorf("%d bytes came from the other link", n)
		}
		ended := make(chan error)
		go func() {
			defer func() {
				_, err := net.InterfaceByName("line0")
				ended <- err
			}()
			one.Client.Do(runtime.Goexit) // as t.Fatal does
		}()
		if err := <-ended; err == nil {
			t.Error("a goroutine that ended in the network of a host is still there")
		}
	})
	if after := files(t); len(after) != len(before) {
		t.Errorf("files that are open\nbefore: %q\nafter: %q", before, after)
	}
	if _, err := net.InterfaceByName("line0"); err == nil {
		t.Error("this goroutine is in the network of a host")
	}
}

// files returns what this process has open of what links need.
func files(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, entry := range entries {
		name, err := os.Readlink("/proc/self/fd/" + entry.Name())
		if err == nil && (strings.HasPrefix(name, "net:") || strings.HasPrefix(name, "socket:") || strings.Contains(name, "tun")) {
			all = append(all, name)
		}
	}
	return all
}

func listen(t *testing.T, l *link.Link, address string) net.PacketConn {
	t.Helper()
	var conn net.PacketConn
	var err error
	l.Server.Do(func() { conn, err = net.ListenPacket("udp", address) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func dial(t *testing.T, l *link.Link, address string) net.Conn {
	t.Helper()
	return dialNetwork(t, l, "udp", address)
}

func dialTCP(t *testing.T, l *link.Link, address string) net.Conn {
	t.Helper()
	return dialNetwork(t, l, "tcp", address)
}

func dialNetwork(t *testing.T, l *link.Link, network, address string) net.Conn {
	t.Helper()
	var conn net.Conn
	var err error
	l.Client.Do(func() { conn, err = net.Dial(network, address) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}
