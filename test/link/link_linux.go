package link

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	tunFile    = "/dev/net/tun"
	device     = "line0" // not tun0: Chromium takes a device of that name for a VPN that leads nowhere
	deviceRoom = "10000" // packets that a device holds until we read them: what is dropped is ours to drop
)

func newLink(t testing.TB, o Options) *Link {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("cannot run: only root may make network namespaces")
	}
	if _, err := os.Stat(tunFile); err != nil {
		t.Skipf("cannot run: this kernel, or container, has no %s: %v", tunFile, err)
	}
	ip, err := exec.LookPath("ip")
	if err != nil {
		t.Skip("cannot run: there is no ip in PATH; scripts/packages names the package")
	}
	l := new(Link)
	var client, server *os.File
	// The addresses are those that are reserved for examples (RFC 5737, RFC 3849).
	l.Server, server = newHost(t, ip, netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"))
	l.Client, client = newHost(t, ip, netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("2001:db8::2"))
	carry(t, client, server, newLine(o, 1), &l.up)
	carry(t, server, client, newLine(o, 2), &l.down)
	return l
}

// newHost makes one end of a link and returns its device, too.
func newHost(t testing.TB, ip string, v4, v6 netip.Addr) (*Host, *os.File) {
	t.Helper()
	ns, err := newNamespace()
	if errors.Is(err, syscall.EPERM) {
		t.Skipf("cannot run: this root may not make network namespaces, as that of a container without CAP_SYS_ADMIN: %v", err)
	}
	if err != nil {
		t.Fatalf("make a network namespace: %v", err)
	}
	t.Cleanup(func() { ns.file.Close() })
	h := &Host{IPv4: v4, IPv6: v6, namespace: ns}
	var tun *os.File
	h.Do(func() {
		if tun, err = openTUN(device); err != nil {
			return
		}
		for _, args := range [][]string{
			{"link", "set", "lo", "up"},
			{"addr", "add", v4.String() + "/24", "dev", device},
			{"addr", "add", v6.String() + "/64", "dev", device, "nodad"},
			{"link", "set", device, "mtu", fmt.Sprint(MTU), "txqueuelen", deviceRoom, "up"},
		} {
			if out, runErr := exec.CommandContext(t.Context(), ip, args...).CombinedOutput(); runErr != nil {
				err = errors.Join(err, fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), runErr, out))
			}
		}
	})
	if err != nil {
		t.Fatalf("make a host: %v", err)
	}
	return h, tun
}

// A namespace is a network of Linux. It lasts as long as its file is open or a
// process is in it.
type namespace struct{ file *os.File }

const ownNamespace = "/proc/thread-self/ns/net"

func newNamespace() (namespace, error) {
	runtime.LockOSThread()
	own, err := os.Open(ownNamespace)
	if err != nil {
		return namespace{}, errors.Join(err, unlock(nil))
	}
	defer own.Close()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return namespace{}, errors.Join(err, unlock(nil))
	}
	file, err := os.Open(ownNamespace)
	return namespace{file}, errors.Join(err, unlock(own))
}

// unlock sends the thread back to a namespace, if one is given, and then lets
// other goroutines have it. A thread that does not find back stays locked: Go
// ends it with its goroutine.
func unlock(own *os.File) error {
	if own != nil {
		if err := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("return to the former network namespace: %w", err)
		}
	}
	runtime.UnlockOSThread()
	return nil
}

// Do runs f in the network of the host: sockets that it opens are the host's, and
// so are processes that it starts. That holds for the goroutine of f and for no
// other that it may start. f may end the test.
func (n namespace) Do(f func()) {
	runtime.LockOSThread()
	own, err := os.Open(ownNamespace)
	if err == nil {
		defer own.Close()
		err = unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET)
	}
	if err != nil {
		panic(fmt.Sprintf("link: enter a network namespace: %v", err)) // the test has closed it
	}
	defer func() {
		if err := unlock(own); err != nil {
			panic("link: " + err.Error())
		}
	}()
	f()
}

// openTUN makes a TUN device in the namespace of this thread: what the kernel
// sends to it can be read here, and what is written has come in there.
func openTUN(name string) (*os.File, error) {
	fd, err := unix.Open(tunFile, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", tunFile, err)
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make the device %s: %w", name, err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), tunFile), nil // only now: epoll takes no descriptor without a device
}

// onTheWay is how many packets a direction holds at most. What the rate and the
// delay let in is far less; a line without a rate that is flooded drops them.
const onTheWay = 1 << 16

// A packet is on its way.
type packet struct {
	data []byte
	due  time.Time
}

// carry carries what is read from one device into another until the test ends.
func carry(t testing.TB, from, to *os.File, l *line, count *counters) {
	// Each way keeps the order of its own packets, and takes the same time for all.
	straight, detour := make(chan packet, onTheWay), make(chan packet, onTheWay)
	stop := make(chan struct{})
	var working sync.WaitGroup
	working.Go(func() {
		if err := receive(from, straight, detour, l, count); err != nil {
			t.Errorf("read from a device of the link: %v", err)
		}
	})
	for _, way := range []chan packet{straight, detour} {
		working.Go(func() {
			if err := deliver(to, way, stop); err != nil {
				t.Errorf("write to a device of the link: %v", err)
			}
		})
	}
	t.Cleanup(func() {
		close(stop)
		from.Close() // ends its reader
		working.Wait()
	})
}

// receive reads packets until the device is closed.
func receive(from *os.File, straight, detour chan<- packet, l *line, count *counters) error {
	buffer := make([]byte, MTU)
	for {
		n, err := from.Read(buffer)
		switch {
		case errors.Is(err, os.ErrClosed):
			return nil
		case err != nil:
			return err
		}
		f, due := l.send(time.Now(), n)
		if f == arrives || f == late {
			way := straight
			if f == late {
				way = detour
			}
			select {
			case way <- packet{append([]byte(nil), buffer[:n]...), due}:
			default:
				f = full
			}
		}
		count.add(n, f)
	}
}

// deliver writes packets, each at its time, until it is to stop.
func deliver(to *os.File, packets <-chan packet, stop <-chan struct{}) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var p packet
		select {
		case p = <-packets:
		case <-stop:
			return nil
		}
		timer.Reset(time.Until(p.due))
		select {
		case <-timer.C:
		case <-stop:
			return nil
		}
		_, err := to.Write(p.data)
		switch {
		case err == nil, errors.Is(err, os.ErrClosed): // closed: the test has ended, and the host is going
		case errors.Is(err, syscall.EINVAL): // neither IPv4 nor IPv6: no host would take it
		default:
			return err
		}
	}
}
