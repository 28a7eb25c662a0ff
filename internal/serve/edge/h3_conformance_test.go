package edge_test

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// An h3Row is one thing that a client may do and what must become of it.
type h3Row struct {
	name     string
	rfc      string                    // the paragraph
	send     func(*h3Client) h3Outcome // what is sent on a fresh connection
	want     []h3Outcome               // one of these is demanded
	deviates *h3Deviation              // nil: the demand is met
}

// An h3Deviation is what happens instead of what an RFC demands. The suite
// demands exactly this, so that a change of quic-go is noticed.
type h3Deviation struct {
	got h3Outcome
	why string // it does no harm here
}

// Why deviations do no harm.
const (
	h3Unread   = "the answer does not depend on the rest of the stream, which is stopped unread with H3_NO_ERROR (RFC 9114 §4.1)"
	h3NotWhole = "the request is refused"
	h3NoPush   = "nothing is ever pushed, so that no push identifier means anything"
	h3NoTable  = "there is no dynamic table: a field section leaves nothing behind that others could get wrong, so its own stream is enough"
	h3NoRead   = "there is no dynamic table: the stream is left alone, and flow control stops it after 64 KiB"
	h3NoSetup  = "a setting that means nothing changes nothing"
	h3JustCode = "the connection ends all the same; only the code is another"
	h3NoSplit  = "a request that did not come whole is not answered; the other streams are not at fault"
	h3NoGoAway = "a client's GOAWAY is about pushes, and there are none"
)

func h3Rows() []h3Row {
	return slices.Concat(h3StreamRows(), h3ControlRows(), h3SettingsRows(), h3RequestRows(), h3BodyRows(), h3FieldRows(), h3LimitRows(), h3QPACKRows())
}

func TestH3Conformance(t *testing.T) {
	e := h3Serve(t)
	var conforming, deviating int
	for _, row := range h3Rows() {
		if row.deviates == nil {
			conforming++
		} else {
			deviating++
		}
		t.Run(row.name, func(t *testing.T) { row.check(t, e) })
	}
	t.Logf("%d rows conform to RFC 9114 and RFC 9204, %d deviate as written down", conforming, deviating)
}

func (r h3Row) check(t *testing.T, e *h3Edge) {
	c := h3Dial(t, e, nil)
	expected := r.want
	if r.deviates != nil {
		expected = []h3Outcome{r.deviates.got}
	}
	c.ends = !slices.ContainsFunc(expected, func(o h3Outcome) bool { return !strings.HasPrefix(string(o), "connection error") })
	got := r.send(c)
	switch {
	case slices.Contains(expected, got):
	case r.deviates != nil && slices.Contains(r.want, got):
		t.Errorf("%s: got %s, which conforms: the deviation (%s) is gone, delete it", r.rfc, got, r.deviates.got)
	default:
		t.Errorf("%s: got %s, want %s", r.rfc, got, h3Join(expected))
	}
}

func h3Join(outcomes []h3Outcome) string {
	var words []string
	for _, o := range outcomes {
		words = append(words, string(o))
	}
	return strings.Join(words, " or ")
}

// TestH3EveryRowIsSound keeps the table honest: names are unique, paragraphs are
// given, and a deviation is one.
func TestH3EveryRowIsSound(t *testing.T) {
	seen := make(map[string]bool)
	for _, row := range h3Rows() {
		if seen[row.name] {
			t.Errorf("two rows are called %q", row.name)
		}
		seen[row.name] = true
		if !strings.HasPrefix(row.rfc, "RFC ") || !strings.Contains(row.rfc, "§") || len(row.want) == 0 || row.send == nil {
			t.Errorf("row %q lacks its paragraph, its demand or what is sent", row.name)
		}
		if d := row.deviates; d != nil && (d.why == "" || slices.Contains(row.want, d.got)) {
			t.Errorf("row %q: its deviation lacks a reason, or is none", row.name)
		}
	}
}

// TestH3DeviationsAreDocumented compares the table of docs/http3.md.
func TestH3DeviationsAreDocumented(t *testing.T) {
	const file = "../../../docs/http3.md"
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	want.WriteString("| what a client does | paragraph | demanded | what happens | why it does no harm |\n|---|---|---|---|---|\n")
	for _, row := range h3Rows() {
		if d := row.deviates; d != nil {
			want.WriteString("| " + strings.Join([]string{row.name, row.rfc, h3Join(row.want), string(d.got), d.why}, " | ") + " |\n")
		}
	}
	if !strings.Contains(string(page), "\n"+want.String()+"\n") {
		t.Errorf("the table in %s should be:\n%s", file, want.String())
	}
}

// h3On sends a whole request stream, on a connection that has a control stream.
func h3On(wire ...[]byte) func(*h3Client) h3Outcome {
	return func(c *h3Client) h3Outcome {
		c.openControl(h3Settings())
		return c.outcome(c.request(wire...))
	}
}

// h3Control sends frames on the control stream behind SETTINGS.
func h3Control(frames ...[]byte) func(*h3Client) h3Outcome {
	return h3WholeControl(append([][]byte{h3Settings()}, frames...)...)
}

// h3WholeControl sends a control stream. That the server has read it to its end
// without complaint shows when the stream is closed then: this error is the last
// it can have.
func h3WholeControl(wire ...[]byte) func(*h3Client) h3Outcome {
	return func(c *h3Client) h3Outcome {
		c.openControl(wire...)
		if !c.ends {
			if got := c.usable(); got != h3Ignored {
				return got
			}
		}
		_ = c.control.Close()
		if got := c.end(); got != h3Connection(h3ClosedCriticalStream) {
			return got
		}
		return h3Ignored
	}
}

// h3OpenControl sends a control stream and leaves it open.
func h3OpenControl(wire ...[]byte) func(*h3Client) h3Outcome {
	return func(c *h3Client) h3Outcome {
		c.openControl(wire...)
		return c.survives()
	}
}

// h3Uni opens a control stream and then another one, and leaves both open.
func h3Uni(kind uint64, wire ...[]byte) func(*h3Client) h3Outcome {
	return func(c *h3Client) h3Outcome {
		c.openControl(h3Settings())
		c.openUni(kind, wire...)
		return c.survives()
	}
}

// h3Ended opens a control stream and then another one, and ends the latter.
func h3Ended(kind uint64, end func(h3Ender)) func(*h3Client) h3Outcome {
	return func(c *h3Client) h3Outcome {
		c.openControl(h3Settings())
		end(c.openUni(kind))
		return c.survives()
	}
}

// survives says whether the connection goes on.
func (c *h3Client) survives() h3Outcome {
	c.t.Helper()
	if c.ends {
		return c.end()
	}
	return c.usable()
}
