package edge

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/quic-go/quic-go"

	"pennyfarthing/internal/serve/h3"
)

func TestSegmentationOffloadIsRefusedForAReason(t *testing.T) {
	type verdict struct{ Why, Hint string }
	for name, c := range map[string]struct {
		release, disabled string
		refused           error
		want              verdict
	}{
		"a kernel of today":                   {release: "6.18.44-generic"},
		"the first kernel":                    {release: "5.0.0"},
		"a variable that says no":             {release: "6.1.0", disabled: "false"},
		"a variable that quic-go cannot read": {release: "6.1.0", disabled: "yes"},
		"a kernel that is too old":            {release: "4.18.0-553.el8", want: verdict{"the kernel is Linux 4.18.0-553.el8", "upgrade to Linux 5 or newer"}},
		"a kernel that says nothing":          {want: verdict{"the kernel is Linux ", "upgrade to Linux 5 or newer"}},
		"a variable that says yes":            {release: "6.1.0", disabled: "1", want: verdict{"QUIC_GO_DISABLE_GSO=1", "unset QUIC_GO_DISABLE_GSO"}},
		"a socket that has no such option": {release: "6.1.0", refused: syscall.ENOPROTOOPT, want: verdict{
			"getsockopt UDP_SEGMENT: protocol not available", "let the sandbox or container pass the socket option UDP_SEGMENT on to a kernel that has it",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var got verdict
			got.Why, got.Hint = judgeOffload(c.release, c.disabled, c.refused)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestThatOffloadIsNotUsedIsToldOnce(t *testing.T) {
	var told bytes.Buffer
	s := &Server{options: Options{Log: slog.New(slog.NewTextHandler(&told, nil))}}
	t.Setenv(quietVariable, "")
	t.Setenv(offloadVariable, "true")
	advise := s.udpAdvice()
	for range 2 {
		advise(t.Context(), listenUDP(t))
		s.udpAdvice()(t.Context(), listenUDP(t)) // another server of the process
	}
	if got := told.String(); strings.Count(got, "udp segmentation offload not used") != 1 || !strings.Contains(got, `hint="unset QUIC_GO_DISABLE_GSO"`) {
		t.Errorf("it was told:\n%s", got)
	}
	told.Reset()
	t.Setenv(quietVariable, "")
	s.udpAdvice()(t.Context(), struct{ net.PacketConn }{listenUDP(t)}) // of which nothing is known
	if told.Len() > 0 {
		t.Errorf("it was told:\n%s", told.String())
	}
}

// TestOffloadIsUsedWhereNothingIsSaidAgainstIt compares with what quic-go does.
func TestOffloadIsUsedWhereNothingIsSaidAgainstIt(t *testing.T) {
	r := start(t, setup{secure: true})
	for _, disabled := range []string{"", "true"} {
		t.Setenv(offloadVariable, disabled)
		pc := listenUDP(t)
		why, _ := offloadRefused(pc)
		addr, err := net.ResolveUDPAddr("udp", r.secure)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		conn, err := quic.Dial(ctx, pc, addr, clientTLS("localhost", h3.NextProto), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := conn.ConnectionState().GSO; got != (why == "") {
			t.Errorf("%s=%q: quic-go uses it: %v; we say %q", offloadVariable, disabled, got, why)
		}
		_ = conn.CloseWithError(quic.ApplicationErrorCode(h3.NoError), "")
	}
}
