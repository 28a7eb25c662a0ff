package resolve

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pennyfarthing/internal/mistake"
)

func TestTheMachinesResolversAreItsNameserverLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	text := "# a comment\nsearch a.example b.example\nnameserver 192.0.2.53\n  nameserver\t2001:db8::53 # another\nnameserver\nnameserver name.example\n;nameserver 192.0.2.1\noptions ndots:5\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := system(path)
	want := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.53:53"), netip.MustParseAddrPort("[2001:db8::53]:53")}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestAMachineWithoutResolversSaysWhatToDo(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(empty, []byte("search example\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{empty, empty + ".gone"} {
		_, err := system(path)
		if m, ok := errors.AsType[*mistake.Error](err); !ok || m.Hint == "" || m.File != path {
			t.Errorf("%s: got %v", path, err)
		}
	}
	if _, err := system(t.TempDir()); err == nil {
		t.Error("a directory was read")
	}
	if list, err := System(); err == nil && len(list) == 0 {
		t.Error("no resolver and no error")
	}
}

func TestPublicResolversAreKnown(t *testing.T) {
	for _, addr := range []string{"8.8.8.8", "8.8.4.4", "1.1.1.1", "1.1.1.3", "1.0.0.1", "9.9.9.9", "149.112.112.112", "2606:4700:4700::1111", "::ffff:8.8.8.8", "208.67.222.222"} {
		if !Public(netip.MustParseAddr(addr)) {
			t.Errorf("%s is not", addr)
		}
	}
	for _, addr := range []string{"127.0.0.1", "192.168.1.1", "8.8.8.9", "1.2.3.4", "::1", "10.0.0.53"} {
		if Public(netip.MustParseAddr(addr)) {
			t.Errorf("%s is", addr)
		}
	}
}

func FuzzResolvConf(f *testing.F) {
	f.Add("nameserver 127.0.0.1\nnameserver fe80::1%eth0\n")
	f.Fuzz(func(t *testing.T, text string) {
		list, _ := parseResolvConf(strings.NewReader(text))
		for _, a := range list {
			if !a.IsValid() || a.Port() != 53 {
				t.Fatalf("got %v", a)
			}
		}
	})
}
