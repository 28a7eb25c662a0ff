package simnet

import (
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// datagrams answers DNS over UDP, many at a time.
type datagrams struct {
	l        *plainLoop
	resolver resolver
	in, out  [batch]mmsghdr
	inVec    [batch]unix.Iovec
	outVec   [batch]unix.Iovec
	peers    [batch][unix.SizeofSockaddrAny]byte
	queries  [batch][maxQuery]byte
	answers  [batch][maxDNSAnswer]byte
}

// batch is how many datagrams are read and sent at a time.
const batch = 64

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
	_   [4]byte
}

func newDatagrams(l *plainLoop) *datagrams {
	d := &datagrams{l: l, resolver: resolver{world: l.s.world, failsNow: l.s.flakes.failsNow}}
	for i := range d.in {
		d.inVec[i].Base = &d.queries[i][0]
		d.inVec[i].SetLen(maxQuery)
		d.in[i].hdr.Iov = &d.inVec[i]
		d.in[i].hdr.SetIovlen(1)
		d.in[i].hdr.Name = &d.peers[i][0]
		d.outVec[i].Base = &d.answers[i][0]
		d.out[i].hdr.Iov = &d.outVec[i]
		d.out[i].hdr.SetIovlen(1)
	}
	return d
}

// read answers what there is, for some rounds.
func (d *datagrams) read() {
	for range 8 {
		for i := range d.in {
			d.in[i].hdr.Namelen = unix.SizeofSockaddrAny
		}
		r, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(d.l.udp), uintptr(unsafe.Pointer(&d.in)), batch, 0, 0, 0) //nolint:gosec // the call's argument
		if errno != 0 {
			return
		}
		n := int(r)
		d.send(d.answer(n))
		if n < batch {
			return
		}
	}
}

// answer answers the first n queries, and returns how many answers are to be sent now.
func (d *datagrams) answer(n int) (ready int) {
	s, now := d.l.s, time.Now()
	s.counters.dns.Add(int64(n))
	for i := range n {
		if !s.throttle.allows(now) || s.losses.loses() {
			s.counters.lost.Add(1)
			continue
		}
		a := d.resolver.answer(d.queries[i][:d.in[i].n], false)
		peer := &d.in[i].hdr
		if a.before != nil {
			d.sendTo(a.before, d.peers[i][:peer.Namelen])
		}
		if a.packet == nil {
			continue
		}
		if s.losses.loses() {
			s.counters.lost.Add(1)
			continue
		}
		wait := s.wait(dnsLatency, a.delay)
		if a.late {
			wait += lateDNS
		}
		if wait >= time.Millisecond {
			d.l.timers.add(d.l.now+wait.Milliseconds(), timer{packet: slices.Clone(a.packet), to: d.peers[i], toSize: peer.Namelen})
			continue
		}
		d.outVec[ready].SetLen(copy(d.answers[ready][:], a.packet))
		d.out[ready].hdr.Name, d.out[ready].hdr.Namelen = peer.Name, peer.Namelen
		ready++
	}
	return ready
}

// send sends the first n answers. One that cannot be sent is lost, as anywhere.
func (d *datagrams) send(n int) {
	for at := 0; at < n; {
		sent, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(d.l.udp), uintptr(unsafe.Pointer(&d.out[at])), uintptr(n-at), 0, 0, 0) //nolint:gosec // the call's argument
		if errno != 0 {
			sent = 1
		}
		at += int(sent)
	}
}

func (d *datagrams) sendLate(t timer) {
	if d.l.s.isCut.Load() {
		return
	}
	d.sendTo(t.packet, t.to[:t.toSize])
}

func (d *datagrams) sendTo(packet, to []byte) {
	_, _, _ = unix.RawSyscall6(unix.SYS_SENDTO, uintptr(d.l.udp), uintptr(unsafe.Pointer(&packet[0])), uintptr(len(packet)), 0, uintptr(unsafe.Pointer(&to[0])), uintptr(len(to))) //nolint:gosec // the call's arguments
}
