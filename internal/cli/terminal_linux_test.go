package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/control"
)

// A screen is what somebody sees on a terminal: a real one, by the kernel, of so many
// columns, whose other end knows as much of it as a printer uses.
type screen struct {
	t       *testing.T
	tty     *os.File // what programs write to
	columns int

	marks int

	mu   sync.Mutex // guards what follows
	text strings.Builder
	more chan struct{} // closed, and replaced, when there is more
}

func newScreen(t *testing.T, columns uint16) *screen {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := master.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var number int
	ioctlErr := errors.New("it was not asked")
	err = raw.Control(func(fd uintptr) {
		ioctlErr = errors.Join(unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0), unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}))
		if ioctlErr == nil {
			number, ioctlErr = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	})
	if err := errors.Join(err, ioctlErr); err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := &screen{t: t, tty: tty, columns: int(columns), more: make(chan struct{})}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			if err != nil { // the last program has closed it
				return
			}
			s.mu.Lock()
			s.text.Write(buf[:n])
			close(s.more)
			s.more = make(chan struct{})
			s.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		_ = tty.Close() // the reader ends
		<-ended
		_ = master.Close()
	})
	return s
}

// raw waits until everything that was written has come, and returns it.
func (s *screen) raw() string {
	s.t.Helper()
	const mark = "\a" // the bell; nobody rings it but we
	if _, err := io.WriteString(s.tty, mark); err != nil {
		s.t.Fatal(err)
	}
	s.marks++
	limit := time.After(time.Minute)
	for {
		s.mu.Lock()
		text, more := s.text.String(), s.more
		s.mu.Unlock()
		if strings.Count(text, mark) == s.marks {
			return strings.ReplaceAll(text, mark, "")
		}
		select {
		case <-more:
		case <-limit:
			s.t.Fatalf("it does not come: %q", text)
		}
	}
}

// lines are what is to be seen.
func (s *screen) lines() []string {
	s.t.Helper()
	rows, row, column := [][]rune{{}}, 0, 0
	put := func(r rune) {
		if column == s.columns { // a line that is too long goes on in the next one
			row, column = row+1, 0
		}
		for row >= len(rows) {
			rows = append(rows, nil)
		}
		for len(rows[row]) <= column {
			rows[row] = append(rows[row], ' ')
		}
		rows[row][column] = r
		column++
	}
	text := []rune(s.raw())
	for i := 0; i < len(text); i++ {
		switch r := text[i]; r {
		case '\r':
			column = 0
		case '\n':
			if row++; row == len(rows) {
				rows = append(rows, nil)
			}
		case '\x1b':
			i += 2 // the bracket
			n := 0
			for ; text[i] >= '0' && text[i] <= '9'; i++ {
				n = n*10 + int(text[i]-'0')
			}
			switch text[i] {
			case 'A':
				row -= n
			case 'K':
				rows[row] = rows[row][:min(column, len(rows[row]))]
			case 'J':
				rows[row] = rows[row][:min(column, len(rows[row]))]
				rows = rows[:row+1]
			case 'm':
			default:
				s.t.Fatalf("what does %q mean?", string(text[i-3:i+1]))
			}
		default:
			put(r)
		}
	}
	var lines []string
	for _, runes := range rows {
		lines = append(lines, strings.TrimRight(string(runes), " "))
	}
	for len(lines) > 0 && lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	return lines
}

func (s *screen) shows(what string, want ...string) {
	s.t.Helper()
	if diff := cmp.Diff(want, s.lines()); diff != "" {
		s.t.Errorf("%s the terminal shows (-want +got):\n%s", what, diff)
	}
}

func TestATerminalShowsHowFarEachPOPIs(t *testing.T) {
	s := newScreen(t, 60)
	p := newEventPrinter(&globals{}, Env{Stderr: s.tty})
	now := time.Unix(1_800_000_000, 0)
	tell := func(e control.Event) {
		e.Time = now
		p.show(e)
	}
	tell(control.Event{Kind: control.EventWave, Wave: control.WaveLease})
	s.shows("at first", "taking the lease")
	tell(control.Event{Kind: control.EventStep, POP: "sydney", Do: control.ActionLease})
	tell(control.Event{Kind: control.EventStep, POP: "fr", Do: control.ActionLease})
	s.shows("then", "taking the lease", "  fr      lease taken", "  sydney  lease taken")

	tell(control.Event{Kind: control.EventWave, Wave: control.WavePrepare})
	s.shows("in the next wave", "sending and staging")
	now = now.Add(10 * time.Second)
	tell(control.Event{Kind: control.EventProgress, POP: "fr", Do: control.ActionSend, Done: 20_000_000, Total: 100_000_000})
	tell(control.Event{Kind: control.EventProgress, POP: "sydney", Do: control.ActionSend, Done: 5_000_000, Total: 100_000_000})
	s.shows("while it sends",
		"sending to 2 POPs: 25 MB of 200 MB, 2.5 MB/s, 2 min left",
		"  fr      20 MB of 100 MB, 2 MB/s, 41 s left",
		"  sydney  5 MB of 100 MB, 500 kB/s, 4 min left")

	note := "a note that has to stay, and is longer than the terminal is wide"
	tell(control.Event{Kind: control.EventNote, POP: "fr", Text: note})
	tell(control.Event{Kind: control.EventStep, POP: "fr", Do: control.ActionSend})
	whole := "note: fr: " + note
	s.shows("after a note", whole[:60], whole[60:],
		"sending to 2 POPs: 25 MB of 200 MB, 2.5 MB/s, 2 min left",
		"  fr      has all files",
		"  sydney  5 MB of 100 MB, 500 kB/s, 4 min left")
	tell(control.Event{Kind: control.EventBehind, POP: "sydney", Text: "it is gone"})
	p.end()
	s.shows("in the end", whole[:60], whole[60:], "note: sydney is left behind: it is gone")
}

func TestALineIsNoLongerThanATerminalIsWide(t *testing.T) {
	s := newScreen(t, 30)
	p := newEventPrinter(&globals{}, Env{Stderr: s.tty})
	name := strings.Repeat("ä", 40)
	for i := range 5 {
		p.show(control.Event{Kind: control.EventProgress, POP: name, Do: control.ActionSend, Done: int64(i), Total: 10})
		p.show(control.Event{Kind: control.EventProgress, POP: "b", Do: control.ActionSend, Done: int64(i), Total: 10})
	}
	cutName := "  " + strings.Repeat("ä", 26) + "…"
	s.shows("with a long name", "sending to 2 POPs: 8 B of 20…", "  b"+strings.Repeat(" ", 25)+"…", cutName)
	many := newScreen(t, 80)
	p = newEventPrinter(&globals{}, Env{Stderr: many.tty})
	for i := range maxRows + 1 {
		p.show(control.Event{Kind: control.EventProgress, POP: fmt.Sprint(i), Do: control.ActionVerify, Done: 1, Total: 2})
	}
	many.shows("with many POPs", fmt.Sprintf("verifying at %d POPs: %d of %d URLs", maxRows+1, maxRows+1, 2*(maxRows+1)))
}

func TestWhatIsWrongIsRedOnATerminal(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	status := &control.Status{
		Fleet: "demo", Time: now,
		POPs: []control.POPStatus{
			{POP: "au", Error: "it is gone"},
			{POP: "fr", Says: &api.Status{ControlSeen: now.Add(-3 * time.Hour)}, Warnings: []string{"its clock is wrong by 7s"}},
			{POP: "ny", Says: &api.Status{ControlSeen: now.Add(-3 * time.Minute)}},
		},
		Sites: []control.SiteStatus{{Site: "example.org", Behind: []control.Behind{{POP: "ny", Why: "it serves nothing"}}}},
	}
	s := newScreen(t, 200)
	if !isTerminal(s.tty) {
		t.Fatal("the terminal is taken for something else")
	}
	if err := printFleetStatus(s.tty, status, isTerminal(s.tty)); err != nil {
		t.Fatal(err)
	}
	raw := s.raw()
	for _, want := range []string{"au does not answer: it is gone", "fr: its clock is wrong by 7s", "ny is behind with example.org: it serves nothing", "3 h ago"} {
		if !strings.Contains(raw, "\x1b[31m"+want+"\x1b[0m") {
			t.Errorf("%q is not red in %q", want, raw)
		}
	}
	if strings.Contains(raw, "\x1b[31m3 min ago") {
		t.Errorf("what is young is red in %q", raw)
	}
	var plain strings.Builder
	if err := printFleetStatus(&plain, status, isTerminal(&plain)); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(plain.String(), "\x1b") {
		t.Errorf("without a terminal it is %q", plain.String())
	}
	if diff := cmp.Diff(strings.Split(strings.TrimRight(plain.String(), "\n"), "\n"), s.lines(), cmp.Transformer("trim", func(l string) string { return strings.TrimRight(l, " ") })); diff != "" {
		t.Errorf("colours move what is shown (-without +with):\n%s", diff)
	}
}
