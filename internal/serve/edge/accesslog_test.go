package edge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestARequestIsLoggedWithWhatIsWorthKnowing(t *testing.T) {
	r := start(t, setup{fleet: true, secure: true, log: true})
	c := r.overHTTP2(hostA)
	page := c.do("GET", "A.example:8443", "/?token=secret", "User-Agent", "test/1", "Referer", "https://o.example/page?q=private#x")
	c.do("GET", hostA, "/none")
	c.do("HEAD", hostA, "/style.css")
	c.do("GET", hostB, "/")
	c.do("POST", hostA, "/")
	r.overHTTP3(hostA).do("GET", hostA, "/style.css", "If-None-Match", page.Header.Get("ETag"), "Range", "bytes=0-9")
	r.dialTLS(hostA).send("GET https://a.example/style.css?x HTTP/1.0\r\nHost: a.example\r\n\r\n").receive("GET")
	base := Record{POP: "au", Client: "127.0.0.0/24", Host: hostA, Method: "GET", Path: "/", Status: 200, Protocol: "HTTP/2", Cache: "hit", Agent: "Go-http-client/2.0"}
	with := func(edit func(*Record)) Record {
		rec := base
		edit(&rec)
		return rec
	}
	want := []Record{
		with(func(r *Record) {
			r.Bytes, r.Agent, r.Referrer = int64(len(page.text)), "test/1", "https://o.example/page"
		}),
		with(func(r *Record) { r.Path, r.Status, r.Cache, r.Bytes = "/none", 404, "none", 14 }),
		with(func(r *Record) { r.Method, r.Path = "HEAD", "/style.css" }),
		with(func(r *Record) {
			r.Host, r.Status, r.Cache, r.Refused, r.Bytes = hostB, 421, "none", "host not covered by the certificate", 61
		}),
		with(func(r *Record) {
			r.Method, r.Status, r.Cache, r.Refused, r.Bytes = "POST", 405, "none", "method not allowed", 43
		}),
		with(func(r *Record) {
			r.Path, r.Status, r.Bytes, r.Protocol, r.Agent = "/style.css", 206, 10, "HTTP/3", "quic-go HTTP/3"
		}),
		with(func(r *Record) { r.Path, r.Bytes, r.Protocol, r.Agent = "/style.css", 2100, "HTTP/1.0", "" }),
	}
	if diff := cmp.Diff(want, r.records(), cmp.AllowUnexported(Record{}), cmp.Comparer(sameAddr)); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

// Of ten thousand requests one in ten is written, more or less: the bounds are ten
// standard deviations away.
func TestASampleIsWrittenAndEveryRefusal(t *testing.T) {
	const requests, refusals, sample = 10_000, 7, 10
	r := start(t, setup{secure: true, log: true, sample: sample})
	conn := r.dialTLS("localhost")
	for range requests / 100 {
		conn.send(strings.Repeat("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 100))
		for range 100 {
			conn.receive("GET")
		}
	}
	client := r.overHTTP2("localhost")
	for range refusals {
		client.do("DELETE", "", "/")
	}
	written, refused := 0, 0
	for _, rec := range r.records() {
		switch {
		case rec.Refused != "" && rec.Sample == 0:
			refused++
		case rec.Refused == "" && rec.Sample == sample:
			written++
		default:
			t.Errorf("record %+v", rec)
		}
	}
	if written < 700 || written > 1300 || refused != refusals {
		t.Errorf("%d of %d requests and %d of %d refusals were written", written, requests, refused, refusals)
	}
}

func TestEveryFieldStandsInALine(t *testing.T) {
	l, file := openLog(t, AccessLogOptions{})
	l.write(t.Context(), &Record{Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), POP: "au", Host: "h", Method: "GET", Path: "/", Status: 200, Bytes: 1, Duration: 0.25, Protocol: "HTTP/2", Cache: "hit", Agent: "a", Referrer: "r", client: netip.MustParseAddr("2001:db8:1:2::3")})
	if err := l.finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	const want = `{"time":"2026-01-02T03:04:05Z","pop":"au","client":"2001:db8:1::/48","host":"h","method":"GET","path":"/","status":200,"bytes":1,"ms":0.25,"protocol":"HTTP/2","cache":"hit","user_agent":"a","referrer":"r"}` + "\n"
	if diff := cmp.Diff(want, contentOf(t, file)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestControlsCannotLeaveTheirLineOrObeyATerminal(t *testing.T) {
	l, file := openLog(t, AccessLogOptions{})
	const agent = "a\r\n\"forged\"\x00\x1b[31m\x7f\u0080\u009b31m\u00a0é\u2028\xff<b>"
	l.write(t.Context(), &Record{Agent: agent, Path: "/\u0085"})
	if err := l.finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	text := contentOf(t, file)
	for i, r := range strings.TrimSuffix(text, "\n") {
		if r < ' ' || 0x7f <= r && r < 0xa0 || r == 0x2028 {
			t.Errorf("%U at %d of %q", r, i, text)
		}
	}
	var rec Record
	if err := json.Unmarshal([]byte(text), &rec); err != nil {
		t.Fatal(err)
	}
	if want := strings.ToValidUTF8(agent, "\ufffd"); rec.Agent != want || rec.Path != "/\u0085" {
		t.Errorf("it reads as %q, want %q", rec.Agent, want)
	}
}

func TestLongStringsAreCut(t *testing.T) {
	r := start(t, setup{log: true})
	long := strings.Repeat("x", 6000)
	r.dial().send("GET /" + long + " HTTP/1.1\r\nHost: h\r\nUser-Agent: " + long + "\r\nReferer: " + long + "\r\n\r\n").receive("GET")
	rec := r.records()[0]
	if got := []int{len(rec.Path), len(rec.Agent), len(rec.Referrer)}; !slices.Equal(got, []int{mostPath, mostAgent, mostReferrer}) {
		t.Errorf("path, agent and referrer have %v bytes", got)
	}
	if kept("abc", "abc", 2) != "ab" || kept("abc", "abc?"+long, 9) != "abc" {
		t.Error("kept cuts wrongly")
	}
}

func TestALogThatIsBehindDropsAndCounts(t *testing.T) {
	l, _ := openLog(t, AccessLogOptions{})
	for range recordQueue + 7 {
		l.Add(Record{}) // nobody runs
	}
	if got := l.Dropped(); got != 7 {
		t.Errorf("%d are dropped, want 7", got)
	}
	m := NewMetrics()
	m.WatchAccessLog(l)
	if text := exposition(t, m); !strings.Contains(text, "\npenny_access_log_dropped_total 7\n") {
		t.Error("they are not exported")
	}
}

func TestRunFlushesEverySecondAndWritesTheRestAtItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, file := openLog(t, AccessLogOptions{})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- l.Run(ctx) }()
		l.Add(Record{Path: "/1"})
		time.Sleep(flushEvery + 1)
		synctest.Wait()
		if got := paths(t, file); !slices.Equal(got, []string{"/1"}) {
			t.Errorf("after a second: %q", got)
		}
		l.Add(Record{Path: "/2"})
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if got := paths(t, file); !slices.Equal(got, []string{"/1", "/2"}) {
			t.Errorf("at the end: %q", got)
		}
	})
}

func TestAFullFileIsRotatedAndTheDiskBounded(t *testing.T) {
	const size, total = 4 << 10, 20 << 10
	l, file := openLog(t, AccessLogOptions{MaxSize: size, MaxTotal: total})
	for i := range 1000 {
		l.write(t.Context(), &Record{Path: fmt.Sprintf("/%04d", i)})
	}
	if err := l.finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	var sum int64
	var last string
	files := rotated(t, file)
	for _, name := range append(files, file) {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > size {
			t.Errorf("%s has %d bytes, over %d", name, info.Size(), size)
		}
		sum += info.Size()
		for _, path := range paths(t, name) {
			if path <= last {
				t.Errorf("%s has %s after %s", name, path, last)
			}
			last = path
		}
	}
	if sum > total || len(files) != 4 || last != "/0999" || l.Dropped() != 0 {
		t.Errorf("%d bytes in %d rotated files, the last line %s, %d dropped", sum, len(files), last, l.Dropped())
	}
}

func TestAnOldFileIsRotatedEvenByAnotherProcess(t *testing.T) {
	l, file := openLog(t, AccessLogOptions{MaxAge: time.Hour})
	l.write(t.Context(), &Record{Path: "/1", Time: time.Now().Add(-2 * time.Hour)})
	if err := l.finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	l, err := OpenAccessLog(AccessLogOptions{File: file, MaxAge: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	l.tend(t.Context(), time.Now())
	l.write(t.Context(), &Record{Path: "/2", Time: time.Now()})
	l.tend(t.Context(), time.Now().Add(time.Minute)) // not old yet
	if err := l.finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	if old := rotated(t, file); len(old) != 1 || !slices.Equal(paths(t, old[0]), []string{"/1"}) || !slices.Equal(paths(t, file), []string{"/2"}) {
		t.Errorf("rotated are %q", old)
	}
}

func TestFilesThatAreNotRotatedOnesAreLeftAlone(t *testing.T) {
	l, file := openLog(t, AccessLogOptions{MaxSize: 100, MaxTotal: 1})
	for _, other := range []string{file + ".1", file + ".gz", file + ".20260102T030405", filepath.Join(filepath.Dir(file), "other.20260102T030405.000000000Z")} {
		if err := os.WriteFile(other, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if _, err := os.Stat(other); err != nil {
				t.Error(err)
			}
		}()
	}
	for range 3 {
		l.write(t.Context(), &Record{})
	}
	if err := l.finish(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestSomebodyElsesRotationIsFollowed(t *testing.T) {
	for name, move := range map[string]func(file string) error{
		"moved away": func(file string) error { return os.Rename(file, file+".1") },
		"moved away and made anew": func(file string) error {
			return errors.Join(os.Rename(file, file+".1"), os.WriteFile(file, nil, 0o600))
		},
		"removed": os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			l, file := openLog(t, AccessLogOptions{})
			l.write(t.Context(), &Record{Path: "/1"})
			l.tend(t.Context(), time.Now())
			if err := move(file); err != nil {
				t.Skipf("the system does not let an open file be %s: %v", name, err) // Windows
			}
			l.write(t.Context(), &Record{Path: "/2"}) // still the old file's
			l.tend(t.Context(), time.Now())
			l.write(t.Context(), &Record{Path: "/3"})
			if err := l.finish(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := paths(t, file); !slices.Equal(got, []string{"/3"}) || l.Dropped() != 0 {
				t.Errorf("the new file has %q; %d are dropped", got, l.Dropped())
			}
		})
	}
}

func TestAFileThatIsCutIsNotRotatedEarly(t *testing.T) {
	l, file := openLog(t, AccessLogOptions{MaxSize: 1000})
	for range 4 {
		l.write(t.Context(), &Record{})
	}
	l.tend(t.Context(), time.Now())
	if err := os.Truncate(file, 0); err != nil { // logrotate's copytruncate
		t.Fatal(err)
	}
	l.tend(t.Context(), time.Now())
	for range 4 {
		l.write(t.Context(), &Record{})
	}
	if err := l.finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	if old := rotated(t, file); len(old) != 0 || len(paths(t, file)) != 4 {
		t.Errorf("rotated are %q", old)
	}
}

func TestADirectoryThatIsGoneComesBack(t *testing.T) {
	var told bytes.Buffer
	l, file := openLog(t, AccessLogOptions{Log: slog.New(slog.NewTextHandler(&told, nil))})
	dir := filepath.Dir(file)
	if err := os.RemoveAll(dir); err != nil {
		t.Skipf("the system does not let an open file be removed: %v", err) // Windows
	}
	l.tend(t.Context(), time.Now())
	for range 3 {
		l.write(t.Context(), &Record{Path: "/lost"})
		l.tend(t.Context(), time.Now())
	}
	if got := l.Dropped(); got != 3 {
		t.Errorf("%d are dropped, want 3", got)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	l.tend(t.Context(), time.Now())
	l.write(t.Context(), &Record{Path: "/back"})
	if err := l.finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := paths(t, file); !slices.Equal(got, []string{"/back"}) {
		t.Errorf("the file has %q", got)
	}
	if text := told.String(); strings.Count(text, "access log not written") != 1 || strings.Count(text, "access log written again") != 1 {
		t.Errorf("told was:\n%s", text)
	}
}

func TestAFullDiskLosesOnlyWhatItDidNotTake(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("/dev/full is Linux's")
	}
	l, file := openLog(t, AccessLogOptions{})
	l.write(t.Context(), &Record{Path: "/1"})
	l.tend(t.Context(), time.Now())
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	good := l.file.file
	l.file.file = full
	l.file.out.Reset(full)
	l.write(t.Context(), &Record{Path: "/lost"})
	l.write(t.Context(), &Record{Path: "/lost"})
	l.tend(t.Context(), time.Now())
	if got := l.Dropped(); got != 2 {
		t.Errorf("%d are dropped, want the 2 that were waiting", got)
	}
	if _, err := good.WriteString(`{"path":"/half`); err != nil { // what a disk takes before it is full
		t.Fatal(err)
	}
	good.Close()
	l.tend(t.Context(), time.Now())
	l.write(t.Context(), &Record{Path: "/2"})
	if err := l.finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(contentOf(t, file), "\n")
	if len(lines) != 4 || lines[1] != `{"path":"/half` || !strings.Contains(lines[2], `"/2"`) {
		t.Errorf("the file has %q", lines)
	}
}

func TestAFileThatCannotBeRotatedGrowsNoFurther(t *testing.T) {
	l, file := openLog(t, AccessLogOptions{MaxSize: 500, MaxTotal: 1000})
	l.file.options.File = filepath.Join(filepath.Dir(file), "gone", "access.log") // renaming fails; so does opening it anew
	for range 100 {
		l.write(t.Context(), &Record{})
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > 500 || l.Dropped() < 90 {
		t.Errorf("%d bytes are written and %d dropped", info.Size(), l.Dropped())
	}
	if err := l.finish(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestADeviceIsNeverRotated(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no /dev/null")
	}
	l, err := OpenAccessLog(AccessLogOptions{File: os.DevNull, MaxSize: 10, MaxAge: 1})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		l.write(t.Context(), &Record{})
	}
	l.tend(t.Context(), time.Now())
	if err := l.finish(t.Context()); err != nil || l.Dropped() != 0 {
		t.Errorf("%v, %d dropped", err, l.Dropped())
	}
}

func TestALogThatCannotBeOpenedIsAnError(t *testing.T) {
	if _, err := OpenAccessLog(AccessLogOptions{File: t.TempDir()}); err == nil {
		t.Error("a directory was opened")
	}
}

func openLog(t *testing.T, o AccessLogOptions) (*AccessLog, string) {
	t.Helper()
	o.File = filepath.Join(t.TempDir(), "logs", "access.log")
	if err := os.Mkdir(filepath.Dir(o.File), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := OpenAccessLog(o)
	if err != nil {
		t.Fatal(err)
	}
	return l, o.File
}

func contentOf(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func paths(t *testing.T, file string) (all []string) {
	t.Helper()
	for _, rec := range readRecords(t, file) {
		all = append(all, rec.Path)
	}
	return all
}

func rotated(t *testing.T, file string) []string {
	t.Helper()
	names, err := filepath.Glob(file + ".*Z")
	if err != nil {
		t.Fatal(err)
	}
	return names
}
