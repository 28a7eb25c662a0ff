package edge

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// offloadVariable keeps quic-go from handing several packets to the kernel at a time.
const offloadVariable = "QUIC_GO_DISABLE_GSO"

// offloadKernel is the first major version of Linux on which quic-go does so.
const offloadKernel = 5

// offloadRefused returns why QUIC hands each packet of a socket to the kernel by
// itself, and what to do about that; "" if it does not, as far as a socket tells. It
// looks where quic-go looks. That a network device cannot do it (EIO) shows when
// something is sent, and quic-go then does without.
func offloadRefused(pc net.PacketConn) (why, hint string) {
	udp, ok := pc.(syscall.Conn)
	if !ok {
		return "", "" // quic-go has its own way with what is no socket
	}
	raw, err := udp.SyscallConn()
	if err != nil {
		return "", ""
	}
	var refused error
	if err := raw.Control(func(fd uintptr) {
		_, refused = unix.GetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT)
	}); err != nil {
		return "", ""
	}
	var system unix.Utsname
	_ = unix.Uname(&system) // an empty release is told as it is
	return judgeOffload(unix.ByteSliceToString(system.Release[:]), os.Getenv(offloadVariable), refused)
}

// judgeOffload is offloadRefused for a kernel's release, the variable's value, and
// what the kernel says of the option UDP_SEGMENT.
func judgeOffload(release, disabled string, refused error) (why, hint string) {
	text, _, _ := strings.Cut(release, ".")
	if major, err := strconv.Atoi(text); err != nil || major < offloadKernel {
		return "the kernel is Linux " + release, fmt.Sprintf("upgrade to Linux %d or newer", offloadKernel)
	}
	if off, err := strconv.ParseBool(disabled); err == nil && off {
		return offloadVariable + "=" + disabled, "unset " + offloadVariable
	}
	if refused != nil {
		return "getsockopt UDP_SEGMENT: " + refused.Error(), "let the sandbox or container pass the socket option UDP_SEGMENT on to a kernel that has it"
	}
	return "", ""
}
