package simnet

import (
	"time"

	"golang.org/x/sys/unix"
)

// A hanger is a listening socket where connections are made and nobody ever
// answers. The kernel completes them and takes what the client says; accepting is
// put off until a connection has waited for some sixteen seconds, so that those who
// hang cost no descriptor.
type hanger struct {
	fd       int
	accepted int
	seen     [hangSeconds]int // connections there have ever been, at each of the last seconds
}

// hangSeconds is how long a connection hangs, at the least.
const hangSeconds = 16

// runHangers ends connections that have hung for long enough.
func (s *Server) runHangers() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for second := 0; ; second++ {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		for _, h := range s.hangers {
			h.end(&s.counters, second%hangSeconds)
		}
	}
}

func (h *hanger) end(c *counters, slot int) {
	info, err := unix.GetsockoptTCPInfo(h.fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return // the socket is being closed
	}
	old := h.seen[slot]
	h.seen[slot] = h.accepted + int(info.Unacked) // of a listening socket: the connections that wait
	for h.accepted < old {
		fd, _, err := unix.Accept4(h.fd, unix.SOCK_CLOEXEC)
		if err != nil {
			return
		}
		h.accepted++
		c.connections.Add(1)
		_ = unix.Close(fd)
	}
}
