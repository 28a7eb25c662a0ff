package h1

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAPanicEndsItsConnectionOnly(t *testing.T) {
	bad := get("/panic")
	large := headOf(20_000, "/panic")
	tests := []struct {
		name   string
		before string
		in     string
		want   []string
	}{
		{"in the first request", "", bad + good, []string{fmt.Sprintf("/panic: %q", bad+good)}},
		{"behind answers", good + get("/page"), bad + good, []string{fmt.Sprintf("/panic: %q", bad+good)}},
		{"behind a large answer", get("/huge"), bad, []string{fmt.Sprintf("/panic: %q", bad)}},
		{"with a borrowed buffer", good, large, []string{fmt.Sprintf("/panic: %q", large)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := &wire{script: script{data: []byte(tt.before + tt.in)}}
			rest, e := listen(w)
			if rest != nil || !w.closed {
				t.Errorf("handed over: %v; closed: %v", rest != nil, w.closed)
			}
			if diff := cmp.Diff(tt.want, e.panics); diff != "" {
				t.Errorf("what was told (-want +got):\n%s", diff)
			}
			if got := undated(w.out.String()); got != answerTo(tt.before) {
				t.Errorf("answered %.300q before", got)
			}
			checkPools(t)
		})
	}
}

// A trap is a connection that panics in one of its methods.
type trap struct {
	wire
	in    string
	after int // so many calls are fine
}

func (c *trap) spring(in string) {
	if in != c.in {
		return
	}
	if c.after--; c.after < 0 {
		panic(in)
	}
}

func (c *trap) Read(p []byte) (int, error)       { c.spring("read"); return c.wire.Read(p) }
func (c *trap) Write(p []byte) (int, error)      { c.spring("write"); return c.wire.Write(p) }
func (c *trap) SetReadDeadline(time.Time) error  { c.spring("read deadline"); return nil }
func (c *trap) SetWriteDeadline(time.Time) error { c.spring("write deadline"); return nil }
func (c *trap) CloseWrite() error                { c.spring("close write"); return nil }
func (c *trap) WriteBuffers(buffers ...[]byte) error {
	c.spring("write buffers")
	for _, b := range buffers {
		c.out.Write(b)
	}
	return nil
}

func TestAPanicAnywhereIsContained(t *testing.T) {
	in := good + headOf(3000, "/large") + get("/page", "Connection: close")
	all := answerTo(in)
	for _, method := range []string{"read", "write", "read deadline", "write deadline", "close write", "write buffers"} {
		for after := range 3 {
			t.Run(fmt.Sprintf("%s, after %d", method, after), func(t *testing.T) {
				// Nobody reads the last one.
				c := &trap{in: method, after: after, wire: wire{script: script{data: []byte(in + good)}}}
				rest, e := listen(c)
				if rest != nil || !c.closed {
					t.Errorf("handed over: %v; closed: %v", rest != nil, c.closed)
				}
				if sprung := c.after < 0; sprung != (len(e.panics) > 0) {
					t.Errorf("panics %q", e.panics)
				}
				if got := undated(c.out.String()); !strings.HasPrefix(all, got) {
					t.Errorf("answered %.300q", got)
				}
				checkPools(t)
			})
		}
	}
}

func TestWithoutAHookAPanicPasses(t *testing.T) {
	defer func() {
		if v := recover(); v != "/panic" {
			t.Errorf("recovered %v", v)
		}
	}()
	Loop(&wire{script: script{data: []byte(get("/panic"))}}, LoopOptions{Hit: new(edge).hit})
}

// TestAPanicDisturbsNobodyElse has many connections borrow buffers while others panic.
func TestAPanicDisturbsNobodyElse(t *testing.T) {
	in := headOf(3000, "/page") + get("/") + get("/brim") + headOf(9000, "/") + get("/large") + get("/page")
	want := answerTo(in)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 20 {
				w := &wire{script: script{data: []byte(in), sizes: []byte(strings.Repeat("\xff", i))}}
				if listen(w); undated(w.out.String()) != want {
					t.Error("an answer was disturbed")
				}
			}
		})
		wg.Go(func() {
			for range 20 {
				listen(&wire{script: script{data: []byte(get("/page") + headOf(9000, "/panic"))}})
				listen(&wire{script: script{data: []byte(in)}, room: 70_000})
			}
		})
	}
	wg.Wait()
	checkPools(t)
}
