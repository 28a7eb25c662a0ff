package resolve

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/miekg/dns"

	"pennyfarthing/internal/verdict"
)

// unbound starts one that asks stub for everything below example, and has some names
// of its own.
func unbound(t *testing.T, stub netip.AddrPort) netip.AddrPort {
	t.Helper()
	path, err := exec.LookPath("unbound")
	if err != nil {
		if path = "/usr/sbin/unbound"; !exists(path) {
			t.Skip("unbound is not installed")
		}
	}
	dir := t.TempDir()
	addr := closedPort(t)
	conf := filepath.Join(dir, "unbound.conf")
	text := fmt.Sprintf(`server:
  interface: 127.0.0.1
  port: %d
  do-daemonize: no
  username: ""
  chroot: ""
  directory: "%s"
  pidfile: ""
  use-syslog: no
  module-config: "iterator"
  do-not-query-localhost: no
  use-caps-for-id: no
  ede: yes
  local-zone: "local.test." static
  local-data: "here.local.test. 300 IN A 192.0.2.10"
  local-data: "six.local.test. 300 IN AAAA 2001:db8::10"
  local-data: "text.local.test. 300 IN TXT x"
  local-zone: "refused.test." refuse
stub-zone:
  name: "example."
  stub-addr: 127.0.0.1@%d
remote-control:
  control-enable: no
`, addr.Port(), dir, stub.Port())
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, "-d", "-c", conf)
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for range 200 {
		m := new(dns.Msg)
		m.SetQuestion("here.local.test.", dns.TypeA)
		if _, err := dns.Exchange(m, addr.String()); err == nil {
			return addr
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("unbound does not answer")
	return addr
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func TestUnboundIsUnderstood(t *testing.T) {
	authority := newStub(t, func(q *query) []reply {
		soa := func(rcode int, records ...string) []reply {
			m := q.says(rcode, records...)
			m.Authoritative, m.RecursionAvailable = true, false
			if len(records) == 0 && rcode != dns.RcodeRefused && rcode != dns.RcodeServerFailure {
				rr, _ := dns.NewRR("example. 60 IN SOA ns.example. x.example. 1 60 60 60 60")
				m.Ns = append(m.Ns, rr)
			}
			if !q.tcp && len(pack(m)) > 1232 {
				m.Answer, m.Truncated = nil, true
			}
			return one(m)
		}
		switch {
		case q.name == "chain.example":
			return soa(0, "@ 60 IN CNAME middle.example.")
		case q.name == "middle.example":
			return soa(0, "@ 60 IN CNAME here.example.")
		case q.name == "here.example" && q.kind == dns.TypeA:
			return soa(0, "@ 60 IN A 192.0.2.20")
		case q.name == "six.example" && q.kind == dns.TypeAAAA:
			return soa(0, "@ 60 IN AAAA 2001:db8::20")
		case q.name == "many.example" && q.kind == dns.TypeA:
			var records []string
			for i := range 120 {
				records = append(records, fmt.Sprintf("@ 60 IN A 192.0.2.%d", i+1))
			}
			return soa(0, records...)
		case q.name == "gone.example":
			return soa(dns.RcodeNameError)
		case q.name == "lame.example":
			return soa(dns.RcodeRefused)
		case q.name == "loop.example":
			return soa(0, "@ 60 IN CNAME loop.example.")
		}
		return soa(0)
	})
	addr := unbound(t, authority.addr)
	onEachEngine(t, func(t *testing.T, fast bool) {
		r := newRig(t, Config{Fast: fast, Timeouts: Timeouts{First: 300 * time.Millisecond, Max: 3 * time.Second}, Servers: []Server{{Addr: addr}}})
		for _, test := range []struct {
			name  string
			want  []verdict.Code // any of them
			addrs int
		}{
			{"here.local.test", []verdict.Code{verdict.OK}, 1},
			{"six.local.test", []verdict.Code{verdict.OK}, 1},
			{"text.local.test", []verdict.Code{verdict.DNSNoData}, 0},
			{"gone.local.test", []verdict.Code{verdict.DNSNXDomain}, 0},
			{"refused.test", []verdict.Code{verdict.DNSLame}, 0},
			{"here.example", []verdict.Code{verdict.OK}, 1},
			{"six.example", []verdict.Code{verdict.OK}, 1},
			{"chain.example", []verdict.Code{verdict.OK}, 1},
			{"many.example", []verdict.Code{verdict.OK}, mostAddresses},
			{"gone.example", []verdict.Code{verdict.DNSNXDomain}, 0},
			{"nothing.example", []verdict.Code{verdict.DNSNoData}, 0},
			// Whether it says what was wrong depends on its version.
			{"lame.example", []verdict.Code{verdict.DNSServFail, verdict.DNSLame}, 0},
			{"loop.example", []verdict.Code{verdict.DNSServFail, verdict.DNSLoop}, 0},
		} {
			q := r.name(test.name)
			ok := false
			for _, v := range test.want {
				ok = ok || v == q.Verdict
			}
			if !ok || len(q.Addrs) != test.addrs {
				t.Errorf("%s: got %v (%s) %v %+v, want %v and %d addresses", test.name, q.Verdict, q.Rcode, q.Addrs, q.Failures, test.want, test.addrs)
			}
		}
		if st := r.stats(); st.Servers[0].TCP == 0 {
			t.Error("nothing was asked over TCP")
		}
	})
}
