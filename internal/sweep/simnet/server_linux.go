package simnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// backlog is how many connections of one address may wait. The kernel has a limit
	// of its own, net.core.somaxconn, mostly 4,096.
	backlog = 16 << 10
	// spare descriptors are left to whoever else is in the process.
	spare = 200
	// mostConns bounds the connections that are open at a time, for each of both schemes.
	mostConns = 16_000
	// patience is how long a connection is kept that nothing happens on.
	patience = 20 * time.Second
	// attempts are made to find a free port.
	attempts = 10
)

// A Server is a running World. Its methods may be called by any goroutine.
type Server struct {
	world     *World
	config    Config
	authority *authority
	counters  counters
	throttle  throttle
	losses    losses
	flakes    flakes

	dns         netip.AddrPort
	http, https uint16
	plain       *plainLoop
	hangers     []*hanger
	secure      *secure
	tcp         net.Listener // of the DNS
	conns       *lineConns   // of secure and tcp
	quiet       []int        // listeners that drop everything

	stop chan struct{} // closed by Close
	work sync.WaitGroup
	once sync.Once

	mu    sync.Mutex // guards isCut, and orders those who change it
	isCut atomic.Bool
}

// Start runs a world until it is closed. When it returns everything answers.
func Start(w *World, c Config) (*Server, error) {
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("start the simulated internet: %w", err)
	}
	var err error
	for range attempts {
		var s *Server
		if s, err = start(w, c); err == nil {
			return s, nil
		}
		if !errors.Is(err, unix.EADDRINUSE) || c.DNS.Port() != 0 && c.HTTP != 0 && c.HTTPS != 0 {
			break // another port will not help
		}
	}
	return nil, fmt.Errorf("start the simulated internet: %w", err)
}

func start(w *World, c Config) (_ *Server, err error) {
	if err := enoughDescriptors(w.profile); err != nil {
		return nil, err
	}
	s := &Server{world: w, config: c, stop: make(chan struct{}), losses: losses{share: c.Loss, dice: dice(w.seed)}}
	s.conns = newLineConns()
	defer func() {
		if err != nil {
			s.release()
		}
	}()
	if s.authority, err = newAuthority(time.Now()); err != nil {
		return nil, err
	}
	if s.plain, err = newPlainLoop(s); err != nil {
		return nil, err
	}
	if err := s.openDNS(); err != nil {
		return nil, err
	}
	s.secure = newSecure(s)
	s.http, s.https = c.HTTP, c.HTTPS
	if err := s.listenAll(); err != nil {
		return nil, err
	}
	s.work.Go(s.plain.run)
	s.work.Go(func() { s.runHangers() })
	s.work.Go(s.serveTCP)
	s.secure.start()
	return s, nil
}

// enoughDescriptors says so early where there are not.
func enoughDescriptors(p Profile) error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("ask for the limit on descriptors: %w", err)
	}
	if need := uint64(2*len(p.listening()) + 2*spare); limit.Cur < need {
		return fmt.Errorf("%d descriptors are too few for the profile %s, which needs %d and one for each connection (ulimit -n)", limit.Cur, p, need)
	}
	return nil
}

// openDNS binds the resolver's sockets: the same port for both.
func (s *Server) openDNS() error {
	udp, bound, err := bindUDP(s.config.DNS)
	if err != nil {
		return err
	}
	s.plain.udp, s.dns = udp, bound
	listener, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(bound))
	if err != nil {
		return fmt.Errorf("listen for DNS over TCP on %s: %w", bound, err)
	}
	s.tcp = listener
	return nil
}

// listenAll opens every listening socket that the plan has.
func (s *Server) listenAll() error {
	var all []netip.Addr
	for _, a := range s.world.profile.listening() {
		all = append(all, netip.AddrFrom4(a))
	}
	all = append(all, netip.IPv6Loopback())
	for _, ip := range all {
		for _, scheme := range []Scheme{HTTP, HTTPS} {
			reach := Serves
			if ip.Is4() {
				reach = address(ip.As4()).reach(scheme)
			}
			if err := s.listen(ip, scheme, reach); err != nil {
				switch {
				case !ip.Is6():
					return err
				case s.world.profile == Hostile:
					return fmt.Errorf("%w; the profile hostile has names with an address of IPv6 alone, which must not be switched off here", err)
				}
			}
		}
	}
	return nil
}

// listen opens one, on the scheme's port. The first one chooses it where it is to
// be any.
func (s *Server) listen(ip netip.Addr, scheme Scheme, reach Reach) error {
	port := &s.http
	if scheme == HTTPS {
		port = &s.https
	}
	at := netip.AddrPortFrom(ip, *port)
	switch reach {
	case Refuses, Unreachable:
		return nil
	case Serves:
		fd, bound, err := bindTCP(at, scheme == HTTP)
		if err != nil {
			return err
		}
		*port = bound.Port()
		if scheme == HTTPS {
			return s.secure.take(fd)
		}
		return s.plain.watch(fd, isListener)
	case Slams:
		fd, _, err := bindTCP(at, true)
		if err != nil {
			return err
		}
		return s.plain.watch(fd, isSlammer)
	case Resets:
		fd, _, err := bindTCP(at, false)
		if err != nil {
			return err
		}
		return s.plain.watch(fd, isSlammer)
	case Blackholes:
		fd, _, err := bindTCP(at, false)
		if err != nil {
			return err
		}
		s.quiet = append(s.quiet, fd)
		return dropAll(fd)
	case Hangs:
		fd, _, err := bindTCP(at, false)
		if err != nil {
			return err
		}
		s.hangers = append(s.hangers, &hanger{fd: fd})
	}
	return nil
}

// DNS is where the resolver answers.
func (s *Server) DNS() netip.AddrPort { return s.dns }

// Ports are those that stand for 80 and 443.
func (s *Server) Ports() (http, https uint16) { return s.http, s.https }

// Cut cuts the line, or mends it. While it is cut the DNS is silent, nothing
// accepts, and what is connected hears nothing; what was said meanwhile over TCP
// comes when it is mended, as far as both ends are still there. Addresses where
// nobody listens refuse all the same: the kernel answers for them.
func (s *Server) Cut(cut bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cut == s.isCut.Load() {
		return
	}
	s.isCut.Store(cut)
	do := dropAll
	if !cut {
		do = dropNone
	}
	for _, h := range s.hangers {
		_ = do(h.fd) // a filter of one instruction is never refused; the same below
	}
	s.secure.each(do)
	s.conns.cut(cut, do)
	s.plain.cut()
}

// Close ends everything and waits for it. It is always nil, for io.Closer.
func (s *Server) Close() error {
	s.once.Do(func() {
		s.Cut(false)
		close(s.stop)
		s.plain.wake()
		s.tcp.Close()
		s.secure.close()
		s.conns.close()
		s.work.Wait()
		s.release()
	})
	return nil
}

// release closes descriptors that nobody uses any more.
func (s *Server) release() {
	if s.plain != nil {
		s.plain.release()
	}
	for _, h := range s.hangers {
		_ = unix.Close(h.fd)
	}
	for _, fd := range s.quiet {
		_ = unix.Close(fd)
	}
	if s.tcp != nil {
		s.tcp.Close()
	}
	if s.secure != nil {
		s.secure.close()
	}
}

// wait is a latency of a mean, as the configuration stretches it.
func (s *Server) wait(mean time.Duration, thousandths uint16) time.Duration {
	return time.Duration(float64(mean) * float64(thousandths) / 1000 * s.config.Latency)
}
