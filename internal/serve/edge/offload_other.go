//go:build !linux

package edge

import "net"

// offloadRefused returns nothing: quic-go uses segmentation offload on Linux alone.
func offloadRefused(net.PacketConn) (why, hint string) { return "", "" }
