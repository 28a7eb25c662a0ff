package edge_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// An h3Row is one thing that a client may do and what must become of it.
type h3Row struct {
	name string
	rfc  string                    // the paragraph
	send func(*h3Client) h3Outcome // what is sent on a fresh connection
	want []h3Outcome               // one of these is demanded
}

func h3Rows() []h3Row {
	return slices.Concat(h3StreamRows(), h3ControlRows(), h3SettingsRows(), h3RequestRows(), h3BodyRows(), h3FieldRows(), h3LimitRows(), h3QPACKRows())
}

func TestH3Conformance(t *testing.T) {
	e := h3Serve(t)
	rows := h3Rows()
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) { row.check(t, e) })
	}
	t.Logf("%d rows", len(rows))
}

func (r h3Row) check(t *testing.T, e *h3Edge) {
	c := h3Dial(t, e, nil)
	c.ends = !slices.ContainsFunc(r.want, func(o h3Outcome) bool { return !strings.HasPrefix(string(o), "connection error") })
	if got := r.send(c); !slices.Contains(r.want, got) {
		t.Errorf("%s: got %s, want %s", r.rfc, got, h3Join(r.want))
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
// given, and something is demanded.
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
	}
}

// TestH3TheRowsAreCountedInTheDocs keeps docs/http3.md from claiming more than is
// tested.
func TestH3TheRowsAreCountedInTheDocs(t *testing.T) {
	const file = "../../../docs/http3.md"
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("All %d rows conform", len(h3Rows())); !strings.Contains(string(page), want) {
		t.Errorf("%s does not say %q", file, want)
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
		s := c.openUni(kind)
		if got := c.hasBeenRead(); got != h3Ignored {
			return got
		}
		end(s)
		return c.survives()
	}
}

// hasBeenRead waits until the server must have read what was sent before: of a
// stream that is reset QUIC throws away what was not read.
func (c *h3Client) hasBeenRead() h3Outcome {
	c.t.Helper()
	for range 30 {
		if got := c.usable(); got != h3Ignored {
			return got
		}
	}
	return h3Ignored
}

// survives says whether the connection goes on.
func (c *h3Client) survives() h3Outcome {
	c.t.Helper()
	if c.ends {
		return c.end()
	}
	return c.usable()
}
