package h3

import (
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/quic-go/quic-go/quicvarint"
)

func TestPrioritiesAreRead(t *testing.T) {
	for value, want := range map[string]priority{
		"":                   {3, false, true},
		"u=0":                {0, false, true},
		"u=7, i":             {7, true, true},
		"i;x=1 ,\tu=5;y":     {5, true, true},
		"i=?1":               {3, true, true},
		"i, i=?0":            {3, false, true},
		"u=1, u=2":           {2, false, true},
		"u=8, i=1":           {3, false, true},
		"u=-1":               {3, false, true},
		"u=1.5":              {3, false, true},
		"u":                  {3, false, true},
		"U=1, I":             {3, false, true},
		"a=\"b\", u=4, c=()": {4, false, true},
		"\x00,,=,u=":         {3, false, true},
	} {
		if diff := cmp.Diff(want, parsePriority(value), cmp.AllowUnexported(priority{})); diff != "" {
			t.Errorf("%q (-want +got):\n%s", value, diff)
		}
	}
}

func FuzzParsePriority(f *testing.F) {
	for _, value := range []string{"", "u=1", "u=5, i", "i=?0;a, u=9", "u=1;x=\",u=2\""} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if p := parsePriority(value); p.urgency < 0 || p.urgency > 7 || !p.given {
			t.Errorf("%q is %v", value, p)
		}
		if p := parsePriority(value + ",u=6,i"); p.urgency != 6 || !p.incremental {
			t.Errorf("behind %q what comes last does not count: %v", value, p)
		}
	})
}

// update is PRIORITY_UPDATE of the request with this number.
func update(request uint64, value string) []byte {
	return frame(framePriorityRequest, append(quicvarint.Append(nil, 4*request), value...))
}

// TestAnswersComeInTheOrderOfTheirPriorities has two large answers on their way at
// the same time.
func TestAnswersComeInTheOrderOfTheirPriorities(t *testing.T) {
	for name, c := range map[string]struct {
		before       []byte // on the control stream
		first, other []string
		after        []byte // when the answers have begun
		want         []string
	}{
		"none is given":                         {want: []string{"first", "other"}},
		"the other is more urgent":              {first: []string{"priority", "u=5"}, other: []string{"priority", "u=1"}, want: []string{"other", "first"}},
		"the other is more urgent than usual":   {other: []string{"priority", "u=2"}, want: []string{"other", "first"}},
		"the first is more urgent":              {first: []string{"priority", "u=1"}, other: []string{"priority", "u=5"}, want: []string{"first", "other"}},
		"an update comes before its request":    {before: update(0, "u=7"), want: []string{"other", "first"}},
		"an update goes before the field":       {before: update(1, "u=7"), other: []string{"priority", "u=0"}, want: []string{"first", "other"}},
		"an update comes when answers are sent": {after: update(1, "u=0"), want: []string{"other", "first"}},
		"an update of what will never be asked": {before: update(127, "u=0"), want: []string{"first", "other"}},
	} {
		for _, path := range []string{"/big", "/hit/1048576"} {
			t.Run(name+" for "+path, func(t *testing.T) {
				inBubble(t, talkOptions(), func(cl *client) {
					control := cl.uniStreams[0]
					_, _ = control.Write(c.before)
					synctest.Wait()
					streams := map[string]*clientStream{}
					for _, s := range []struct {
						name   string
						fields []string
					}{{"first", c.first}, {"other", c.other}} {
						streams[s.name] = cl.request(headers("GET", path, s.fields...))
					}
					synctest.Wait() // windows are full
					_, _ = control.Write(c.after)
					synctest.Wait()
					if diff := cmp.Diff(c.want, ends(streams)); diff != "" {
						t.Errorf("(-want +got):\n%s", diff)
					}
				})
			})
		}
	}
}

// ends reads streams, by turns, and returns the order in which they end.
func ends(streams map[string]*clientStream) (order []string) {
	var mu sync.Mutex // guards order
	var reading sync.WaitGroup
	for name, s := range streams {
		reading.Go(func() {
			_, _ = io.Copy(io.Discard, s.in)
			mu.Lock()
			defer mu.Unlock()
			order = append(order, name)
		})
	}
	reading.Wait()
	return slices.Clone(order)
}

func TestPrioritiesAreForgottenWithTheirRequests(t *testing.T) {
	inBubble(t, talkOptions(), func(c *client) {
		for i := range 3 {
			_, _ = c.uniStreams[0].Write(append(update(uint64(2*i), "u=1"), update(uint64(2*i+1), "i")...))
			for _, path := range []string{"/hit/1", "/hit/65536"} {
				c.request(headers("GET", path)).answer()
			}
		}
		synctest.Wait()
		c.server.mu.Lock()
		defer c.server.mu.Unlock()
		for conn := range c.server.conns {
			conn.mu.Lock()
			if len(conn.live) > 0 || len(conn.announced) > 1 {
				t.Errorf("%d streams and %d priorities are kept", len(conn.live), len(conn.announced))
			}
			conn.mu.Unlock()
		}
	})
}
