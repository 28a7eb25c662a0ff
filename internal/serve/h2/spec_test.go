package h2

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"os/exec"
	"testing"
)

// TestH2Spec runs the conformance suite of https://github.com/summerwind/h2spec.
func TestH2Spec(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	hit := hits(letters(1 << 20))
	accept(t, ln, NewServer(Options{
		Hit: func(c *ConnInfo, r *Request, h *Hit) bool {
			if r.Method == http.MethodGet {
				r.Path = "/hit/1000000"
			}
			return hit(c, r, h)
		},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = w.Write([]byte("hello\n"))
		}),
	}), func(net.Conn) error { return nil })
	host, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "tool", "h2spec", "--strict", "-h", host, "-p", port)
	cmd.Dir = "../../../tools" // a module of its own
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("146 tests, 146 passed, 0 skipped, 0 failed")) {
		t.Errorf("h2spec: %v\n%s", err, out)
	}
}
