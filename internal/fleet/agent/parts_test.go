package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/keys"
)

func TestAFileThatWasHalfWrittenIsSweptAway(t *testing.T) {
	d, err := openDirectory(filepath.Join(t.TempDir(), "state"))
	if err != nil {
		t.Fatal(err)
	}
	if err := d.makeDir("a", "b"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.in("a", "b", "x.tmp"), []byte("half"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := d.write([]byte("whole"), "a", "b", "x"); err != nil { // over it
		t.Fatal(err)
	}
	if err := os.WriteFile(d.in("a", "b", "y.tmp"), []byte("half"), 0o644); err != nil {
		t.Fatal(err)
	}
	names, err := d.list("a", "b")
	if err != nil || len(names) != 1 || names[0] != "x" {
		t.Errorf("the directory has %q, %v", names, err)
	}
	if _, err := os.Stat(d.in("a", "b", "y.tmp")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("half a file is there still: %v", err)
	}
	if data, err := d.read(5, "a", "b", "x"); err != nil || string(data) != "whole" {
		t.Errorf("read %q, %v", data, err)
	}
	if _, err := d.read(4, "a", "b", "x"); err == nil {
		t.Error("a file that is too large was read")
	}
	if names, err := d.list("nothing"); err != nil || len(names) != 0 {
		t.Errorf("a directory that is not there has %q, %v", names, err)
	}
	if err := d.remove("nothing"); err != nil {
		t.Error(err)
	}
}

func TestTheDisksRoomIsTheLesserOfBudgetAndWhatIsFree(t *testing.T) {
	const gib = 1 << 30
	for _, c := range []struct {
		name                           string
		budget, used, size, free, want int64
	}{
		{"the budget", 10 * gib, 4 * gib, 100 * gib, 50 * gib, 6 * gib},
		{"what is free, but for a reserve", 10 * gib, 4 * gib, 100 * gib, gib, gib - diskReserve},
		{"a small disk's reserve is small", gib, 0, 10 << 20, 5 << 20, 4 << 20},
		{"nothing", gib, 2 * gib, 100 * gib, 50 * gib, 0},
		{"a full disk", gib, 0, 100 * gib, 0, 0},
		{"a system that does not tell", gib, gib / 2, 0, 0, gib / 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := &disk{budget: c.budget, used: func() (int64, error) { return c.used, nil }, fileSystem: func(string) (int64, int64, error) { return c.size, c.free, nil }}
			room, _, err := d.room()
			if err != nil || room != c.want {
				t.Errorf("room is %d, %v; want %d", room, err, c.want)
			}
			if err := d.check(c.want); err != nil {
				t.Errorf("what fits is refused: %v", err)
			}
			told, ok := errors.AsType[*api.Error](d.check(c.want + 1))
			if !ok || told.Code != api.CodeDiskFull || told.Disk.Free != c.want || told.Disk.Need != c.want+1 {
				t.Errorf("what does not fit is told %+v", told)
			}
		})
	}
}

func TestADiskThatIsFullIsToldAsSuch(t *testing.T) {
	d := &disk{budget: 100, used: func() (int64, error) { return 40, nil }, fileSystem: func(string) (int64, int64, error) { return 0, 0, nil }}
	for _, err := range []error{syscall.ENOSPC, &fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}, fmt.Errorf("store: %w", syscall.EDQUOT)} {
		if told, ok := errors.AsType[*api.Error](d.diskError(err)); !ok || told.Status != 507 || told.Disk.Budget != 100 {
			t.Errorf("%v is told as %v", err, d.diskError(err))
		}
	}
	if err := d.diskError(syscall.EIO); !errors.Is(err, syscall.EIO) {
		t.Errorf("another error became %v", err)
	}
}

func TestAStreamEndsWhenTheDiskHasBecomeFull(t *testing.T) {
	used := int64(0)
	d := &disk{budget: 100, used: func() (int64, error) { return used, nil }, fileSystem: func(string) (int64, int64, error) { return 0, 0, nil }}
	m := d.meter(strings.NewReader(strings.Repeat("x", 3*checkEvery)))
	buf := make([]byte, checkEvery)
	if _, err := io.ReadFull(m, buf); err != nil {
		t.Fatal(err)
	}
	used = 100
	if _, err := io.ReadFull(m, buf); err == nil {
		t.Fatal("it goes on")
	}
	if told, ok := errors.AsType[*api.Error](m.full); !ok || told.Code != api.CodeDiskFull {
		t.Errorf("it ends with %v", m.full)
	}
}

func TestTheRingForgetsTheOldestLines(t *testing.T) {
	r := newLogRing("au")
	_, next, more := r.since(0)
	log := slog.New(&ringHandler{ring: r}).With(slog.String("site", "a.org"))
	log.LogAttrs(t.Context(), slog.LevelDebug, "in passing")
	log.LogAttrs(t.Context(), slog.LevelWarn, "it broke", slog.Any("err", errors.New("why")), slog.Duration("dur", time.Second), slog.Int("n", 3), slog.String("long", strings.Repeat("x", 10_000)))
	select {
	case <-more:
	default:
		t.Error("nobody is told of a new line")
	}
	lines, next, _ := r.since(next)
	if len(lines) != 1 || lines[0].Level != "WARN" || lines[0].Message != "it broke" || lines[0].POP != "au" {
		t.Fatalf("lines: %+v", lines)
	}
	facts := lines[0].Facts
	if facts["err"] != "why" || facts["dur"] != "1s" || facts["n"] != int64(3) || facts["site"] != "a.org" || len(facts["long"].(string)) > factBytes+100 {
		t.Errorf("facts: %.300v", facts)
	}
	if _, err := json.Marshal(lines[0]); err != nil {
		t.Error(err)
	}
	for range ringLines + 5 {
		log.LogAttrs(t.Context(), slog.LevelInfo, "again")
	}
	lines, after, _ := r.since(next)
	if len(lines) > ringLines || len(lines) < ringLines/2 || after != next+ringLines+5 {
		t.Errorf("%d lines are there, and the next is %d", len(lines), after)
	}
	if lines, _, _ := r.since(after); len(lines) != 0 {
		t.Errorf("after the last there are %d", len(lines))
	}
}

func TestTheAccessLogIsFollowedOverRotations(t *testing.T) {
	file := filepath.Join(t.TempDir(), "access.log")
	tail := newAccessTail(file, "au")
	t.Cleanup(func() {
		if err := tail.close(); err != nil {
			t.Error(err)
		}
	})
	write := func(text string) {
		t.Helper()
		f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	line := func(pop string, n int) string {
		return fmt.Sprintf(`{"time":"2026-11-29T07:00:%02dZ","pop":%q,"path":"/%d"}`, n, pop, n)
	}
	want := func(paths ...string) {
		t.Helper()
		lines, err := tail.next()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, l := range lines {
			var at struct{ Path string }
			if err := json.Unmarshal(l.Access, &at); err != nil || l.Kind != "access" || l.Time.IsZero() {
				t.Fatalf("line %+v: %v", l, err)
			}
			got = append(got, at.Path)
		}
		if strings.Join(got, " ") != strings.Join(paths, " ") {
			t.Errorf("got %q, want %q", got, paths)
		}
	}
	want() // no file is no lines
	write(line("au", 1) + "\n" + line("fr", 2) + "\nnonsense\n" + line("", 3) + "\n" + line("au", 4)[:20])
	want("/1", "/3") // another POP's line, nonsense and half a line are none
	write(line("au", 4)[20:] + "\n")
	want("/4")
	write(strings.Repeat("x", 2*tailLine) + "\n" + line("au", 5) + "\n")
	want("/5")
	if err := os.Rename(file, file+".1"); err != nil {
		t.Fatal(err)
	}
	want()
	write(line("au", 6) + "\n")
	want("/6")
	big := line("au", 7) + "\n"
	fresh := newAccessTail(file, "au")
	write(strings.Repeat(big, tailBytes/len(big)+10))
	lines, err := fresh.next()
	if err != nil || len(lines) == 0 || len(lines) > tailBytes/len(big) {
		t.Errorf("who asks first gets %d lines, %v", len(lines), err)
	}
	if err := fresh.close(); err != nil {
		t.Error(err)
	}
}

func TestASitesNameIsAHostName(t *testing.T) {
	for name, want := range map[string]bool{
		"example.org": true, "localhost": true, "a-b.example.org": true, "_x.example.org": true, "xn--bcher-kva.example": true,
		"": false, ".": false, "..": false, "a..b": false, "Example.org": false, "a/b": false, `a\b`: false, "-a.org": false, "a-.org": false,
		"example.org.": false, "a b": false, "ä.org": false, strings.Repeat("a.", 127) + "a": false, strings.Repeat("a", 64): false,
	} {
		if got := isSiteName(name); got != want {
			t.Errorf("%q: %v, want %v", name, got, want)
		}
	}
}

func FuzzPaths(f *testing.F) {
	for _, path := range []string{"/v1/status", "/v1/sites/example.org/head", "/v1/sites/%2e%2e/head", "/v1//", "/", "", "/v1/sites/a%zz/head"} {
		f.Add(path)
	}
	all := routes()
	f.Fuzz(func(t *testing.T, path string) {
		elements, ok := elementsOf(path)
		if !ok {
			return
		}
		for i := range all {
			values, ok := all[i].match(elements)
			if !ok {
				continue
			}
			for name, value := range values {
				if value == "" {
					t.Errorf("%q: %s is empty", path, name)
				}
			}
			if site, ok := values["site"]; ok && isSiteName(site) && filepath.Base(site) != site {
				t.Errorf("%q: the site %q is no file name", path, site)
			}
		}
	})
}

func FuzzHeadsAndConfigurations(f *testing.F) {
	key, err := keys.GenerateKey(strings.NewReader(strings.Repeat("k", 32)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"site":"a.org","generation":1,"release":"` + strings.Repeat("0", 64) + `","time":"2026-11-29T07:00:00Z"}`))
	f.Add([]byte(`{"number":1,"sites":[{"name":"a.org","hosts":["www.a.org"],"dialect":"netlify","hsts":5}],"retention":{"releases":3}}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		if st, err := key.Sign(api.KindHead, "tests", payload); err == nil {
			if h, err := readHead(st, nil, "tests", "a.org"); err == nil && (h.Site != "a.org" || h.Generation == 0 || h.release.String() != h.Release) {
				t.Errorf("took the head %+v", h)
			}
		}
		if st, err := key.Sign(api.KindConfig, "tests", payload); err == nil {
			c, err := readConfig(st, nil, "tests")
			if err != nil {
				return
			}
			if _, err := c.edgeOptions(); err != nil || c.Number == 0 {
				t.Errorf("took the configuration %+v: %v", c.Config, err)
			}
		}
	})
}
