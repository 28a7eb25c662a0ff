package verdict

import (
	"strings"
	"testing"
)

func TestEveryCodeHasANameOfItsOwnThatReadsBack(t *testing.T) {
	seen := map[string]bool{}
	for c := OK; c < numCodes; c++ {
		name := c.String()
		if name == "" || seen[name] || c.Text() == "" || c.Class() == Unknown {
			t.Errorf("code %d: name %q, text %q, class %v", c, name, c.Text(), c.Class())
		}
		seen[name] = true
		var back Code
		if err := back.UnmarshalText([]byte(name)); err != nil || back != c {
			t.Errorf("%s reads back as %v, %v", name, back, err)
		}
		prefix, _, dotted := strings.Cut(name, ".")
		if dotted && c.Class() != Answered && prefix != c.Class().String() {
			t.Errorf("%s is of the class %v", name, c.Class())
		}
	}
	if len(Names()) != len(seen) {
		t.Errorf("%d names for %d codes", len(Names()), len(seen))
	}
	if _, err := Parse("dns.nothing"); err == nil || !strings.Contains(err.Error(), "dns.nxdomain") {
		t.Errorf("an unknown name: %v", err)
	}
}

func TestWhatIsSaidPlainlyIsNotAskedAgain(t *testing.T) {
	for c, want := range map[Code]bool{
		OK: false, HTTPStatus: false, DNSNXDomain: false, DNSNoData: false, TCPRefused: false, TLSExpired: false, SkipPrivate: false, HTTPMalformed: false,
		DNSTimeout: true, DNSServFail: true, TCPTimeout: true, TLSClosed: true, HTTPClosed: true, SelfDescriptors: true,
	} {
		if got := c.Passing(); got != want {
			t.Errorf("%v may pass: %v", c, got)
		}
	}
}

func TestStatuses(t *testing.T) {
	for status, want := range map[int]Code{
		200: OK, 204: OK, 299: OK, 301: HTTPRedirect, 302: HTTPRedirect, 303: HTTPRedirect, 307: HTTPRedirect, 308: HTTPRedirect,
		101: HTTPStatus, 300: HTTPStatus, 304: HTTPStatus, 305: HTTPStatus, 404: HTTPStatus, 521: HTTPStatus, 999: HTTPStatus,
	} {
		if got := OfStatus(status); got != want {
			t.Errorf("%d is %v, want %v", status, got, want)
		}
	}
}
