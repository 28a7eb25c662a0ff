//go:build !linux

package edge

import "net"

const bufferHint = ""

// receiveBuffer is not known here: systems count in ways of their own.
func receiveBuffer(net.PacketConn) (size int, known bool) { return 0, false }
