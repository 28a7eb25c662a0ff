package edge

import (
	"bytes"
	"log/slog"
	"net"
	"strings"
	"testing"
)

func TestABufferThatIsTooSmallIsToldOnceWithWhatToType(t *testing.T) {
	var told bytes.Buffer
	s := &Server{options: Options{Log: slog.New(slog.NewTextHandler(&told, nil))}}
	pc, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	if err := pc.SetReadBuffer(64 << 10); err != nil {
		t.Fatal(err)
	}
	t.Setenv(quietVariable, "")
	advise := s.udpAdvice()
	for range 2 {
		advise(t.Context(), pc)
		s.udpAdvice()(t.Context(), pc) // another server of the process
	}
	if got := told.String(); strings.Count(got, "udp receive buffer too small") != 1 || !strings.Contains(got, "bytes=65536") || !strings.Contains(got, `hint="sysctl -w net.core.rmem_max=7340032`) {
		t.Errorf("it was told:\n%s", got)
	}
	told.Reset()
	t.Setenv(quietVariable, "")
	s.udpAdvice()(t.Context(), struct{ net.PacketConn }{pc}) // of which nothing is known
	if told.Len() > 0 {
		t.Errorf("it was told:\n%s", told.String())
	}
}
