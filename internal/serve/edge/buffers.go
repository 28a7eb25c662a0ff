package edge

import (
	"context"
	"log/slog"
	"net"
)

// silenceQUIC keeps quic-go from telling the standard logger what adviseBuffers
// tells ours.
const silenceQUIC = "QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING"

// adviseBuffers says what to do where the kernel gives a socket less room than
// QUIC needs: packets that find none are lost, and each is as a lost packet on the
// line.
func (s *Server) adviseBuffers(ctx context.Context, pc net.PacketConn) {
	got, known := receiveBuffer(pc)
	if !known || got >= udpBuffer {
		return
	}
	s.advised.Do(func() {
		s.options.Log.LogAttrs(
			ctx, slog.LevelWarn, "udp receive buffer too small", slog.String("pop", s.options.Name),
			slog.Int("bytes", got), slog.Int("wanted", udpBuffer), slog.String("hint", bufferHint),
		)
	})
}
