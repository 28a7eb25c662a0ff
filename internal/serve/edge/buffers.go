package edge

import (
	"context"
	"log/slog"
	"net"
	"os"
	"sync"
)

// quietVariable keeps quic-go from telling the standard logger that buffers are too
// small. In the environment of penny it means that nobody wants to hear of UDP.
const quietVariable = "QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING"

// udpAdvice returns what says, once, what to do where the kernel gives a socket less
// room than QUIC needs, or does not take several packets at a time. Packets that find
// no room are lost, as if on the line, and each that is handed over by itself is a
// system call. The first server of a process is the one to say it.
func (s *Server) udpAdvice() func(context.Context, net.PacketConn) {
	if os.Getenv(quietVariable) != "" {
		return func(context.Context, net.PacketConn) {}
	}
	_ = os.Setenv(quietVariable, "true") // only a name with NUL or "=" is refused
	var room, offload sync.Once
	return func(ctx context.Context, pc net.PacketConn) {
		if got, known := receiveBuffer(pc); known && got < udpBuffer {
			room.Do(func() {
				s.options.Log.LogAttrs(
					ctx, slog.LevelWarn, "udp receive buffer too small", slog.Int("bytes", got), slog.Int("wanted", udpBuffer), slog.String("hint", bufferHint),
				)
			})
		}
		if why, hint := offloadRefused(pc); why != "" {
			offload.Do(func() {
				s.options.Log.LogAttrs(ctx, slog.LevelWarn, "udp segmentation offload not used", slog.String("why", why), slog.String("hint", hint))
			})
		}
	}
}
