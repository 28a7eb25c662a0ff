package cli

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/control"
)

var noon = time.Date(2026, 11, 29, 12, 0, 0, 5e6, time.Local)

func accessLine(pop, path string, status int, more string) api.LogLine {
	return api.LogLine{Time: noon, POP: pop, Kind: "access", Access: json.RawMessage(fmt.Sprintf(
		`{"client":"192.0.2.0/24","host":"example.org","method":"GET","path":%q,"status":%d,"bytes":1000,"ms":0.25,"protocol":"HTTP/2"%s}`, path, status, more))}
}

func TestALineOfALogIsOneLineForPeople(t *testing.T) {
	for name, tc := range map[string]struct {
		line api.LogLine
		want string
	}{
		"of a request":           {accessLine("au", "/about", 200, ""), "2026-11-29 12:00:00.005 au 200 GET example.org/about HTTP/2 1 kB 0.25 ms 192.0.2.0/24"},
		"of one that is refused": {accessLine("au", "/", 400, `,"refused":"bare LF"`), "2026-11-29 12:00:00.005 au 400 GET example.org/ HTTP/2 1 kB 0.25 ms 192.0.2.0/24 refused: bare LF"},
		"of an agent": {
			api.LogLine{Time: noon, POP: "ny", Kind: "agent", Level: "INFO", Message: "release staged", Facts: map[string]any{"site": "example.org", "bytes": 1.5e9, "by": "a b"}},
			`2026-11-29 12:00:00.005 ny release staged by="a b" bytes=1500000000 site=example.org`,
		},
		"of a warning": {api.LogLine{Time: noon, POP: "ny", Kind: "agent", Level: "WARN", Message: "disk full"}, "2026-11-29 12:00:00.005 ny warn: disk full"},
		"with what terminals obey": {
			api.LogLine{Time: noon, POP: "ny", Kind: "agent", Message: "a\x1b[2J\r\nb\u009b1m\u202ec"}, "2026-11-29 12:00:00.005 ny a\ufffd[2J\ufffd\ufffdb\ufffd1m\ufffdc",
		},
	} {
		if diff := cmp.Diff(tc.want, logLine(&tc.line)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestSinceIsATimeOrHowLongAgo(t *testing.T) {
	for text, want := range map[string]time.Time{
		"": {}, "90s": noon.Add(-90 * time.Second), "2d": noon.Add(-48 * time.Hour), "2026-11-29T07:00:00Z": time.Date(2026, 11, 29, 7, 0, 0, 0, time.UTC),
	} {
		o := logsOptions{since: text}
		if got, err := o.from(noon); err != nil || !got.Equal(want) {
			t.Errorf("%q is %v, %v, want %v", text, got, err, want)
		}
	}
	o := logsOptions{since: "yesterday"}
	if _, err := o.from(noon); exitCode(err) != exitUsage {
		t.Errorf("yesterday: %v", err)
	}
}

func TestTopCountsByPOPAndByWhatIsAskedFor(t *testing.T) {
	c := newCounter()
	for _, l := range []api.LogLine{
		accessLine("au", "/a", 200, ""), accessLine("au", "/a", 200, ""), accessLine("au", "/b", 404, ""),
		accessLine("ny", "/a", 200, `,"sample":10`), accessLine("ny", "/c", 503, ""),
		{POP: "ny", Kind: "access", Access: json.RawMessage(`[]`)},
	} {
		if err := c.add(l); err != nil {
			t.Fatal(err)
		}
	}
	pops := []control.POPStatus{{POP: "ny"}, {POP: "au"}, {POP: "fr"}}
	all, most := c.take(pops)
	if diff := cmp.Diff([]traffic{
		{POP: "ny", Requests: 11, Bytes: 11_000, Errors: 1, Slowest: 0.25}, {POP: "au", Requests: 3, Bytes: 3000, Missing: 1, Slowest: 0.25}, {POP: "fr"},
	}, all); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]requested{{200, "example.org", "/a", 12}, {404, "example.org", "/b", 1}, {503, "example.org", "/c", 1}}, most); diff != "" {
		t.Error(diff)
	}
	if all, most = c.take(pops); all[0].Requests != 0 || len(most) != 0 {
		t.Errorf("what was taken is counted again: %+v, %+v", all, most)
	}
}

// A visitor can ask for any number of paths.
func TestTopRemembersAsManyPathsAsItHasRoomFor(t *testing.T) {
	c := newCounter()
	for i := range maxCounted + 100 {
		if err := c.add(accessLine("au", fmt.Sprintf("/%d", i), 200, "")); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(c.paths); n != maxCounted {
		t.Errorf("%d paths are counted, want %d", n, maxCounted)
	}
	all, most := c.take([]control.POPStatus{{POP: "au"}})
	if all[0].Requests != maxCounted+100 || len(most) != busiest {
		t.Errorf("%+v and %d paths", all, len(most))
	}
}

func TestAMomentForPeople(t *testing.T) {
	m := moment{
		Status: &control.Status{
			Fleet: "linkedlist", Time: noon, POPs: []control.POPStatus{{POP: "au", Says: &api.Status{Uptime: 90, Load: [3]float64{0.5}}, Warnings: []string{"its clock is wrong"}}, {POP: "ny", Error: "gone\x1b[1m"}},
			Sites: []control.SiteStatus{{Site: "example.org", Release: "c97207073c00", Live: []string{"au"}, Behind: []control.Behind{{POP: "ny"}}}},
		},
		Seconds: 2, Traffic: []traffic{{POP: "au", Requests: 5, Bytes: 3000, Missing: 1, Slowest: 1.5}, {POP: "ny"}}, Busiest: []requested{{200, "example.org", "/a", 4}},
	}
	var out strings.Builder
	if err := m.print(&out, false); err != nil {
		t.Fatal(err)
	}
	want := `fleet linkedlist at 12:00:00

POP  UP     LOAD  MEMORY  REQUESTS/S  OUT/S   404  5XX  SLOWEST
au   1 min  0.50  0 B     2.5         1.5 kB  1    0    1.5 ms
ny   -      -     -       0.0         0 B     0    0    0 ms

SITE         RELEASE     LIVE ON  BEHIND
example.org  c97207073c  au       ny

REQUESTS  STATUS  ASKED FOR
4         200     example.org/a
au: its clock is wrong
ny does not answer: gone` + "\ufffd[1m\n\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
	out.Reset()
	if err := m.print(&out, true); err != nil || !strings.HasPrefix(out.String(), "\x1b[H\x1b[J") {
		t.Errorf("on a terminal it begins with %.10q, %v", out.String(), err)
	}
}
