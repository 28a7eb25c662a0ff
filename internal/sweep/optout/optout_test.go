package optout_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/mistake"
	"pennyfarthing/internal/sweep/block"
	"pennyfarthing/internal/sweep/optout"
)

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), optout.FileName)
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestAnEntryHasOneNormalForm(t *testing.T) {
	for text, want := range map[string]string{
		"example.com": "example.com", " Example.COM. ": "example.com", "*.example.com": "example.com", "bücher.example": "xn--bcher-kva.example",
		"https://www.example.com/a?b": "www.example.com", "example.com:8080": "example.com",
		"192.0.2.7": "192.0.2.7", "192.0.2.7/24": "192.0.2.0/24", "192.0.2.7/32": "192.0.2.7", "::ffff:192.0.2.7/120": "192.0.2.0/24", "2001:DB8::/32": "2001:db8::/32", "http://[2001:db8::1]/": "2001:db8::1",
	} {
		if got, err := optout.Normal(text); err != nil || got != want {
			t.Errorf("Normal(%q) = %q, %v; want %q", text, got, err, want)
		}
	}
}

func TestWhatIsNoEntrySaysWhatToWrite(t *testing.T) {
	for text, hint := range map[string]string{
		"me@example.com": `write "example.com" if all of its domain is meant`, "0.0.0.0/0": "name the networks of who opts out",
		"": "write example.com, ", "com": "write example.com, ", "192.0.2.0/33": "write example.com, ", "ftp://example.com/": "write example.com, ", "a b": "write example.com, ",
	} {
		_, err := optout.Normal(text)
		if list := mistake.Of(err); len(list) != 1 || !strings.HasPrefix(list[0].Hint, hint) {
			t.Errorf("Normal(%q): %v, want the hint %s", text, err, hint)
		}
	}
}

func TestEditingKeepsWhatPeopleWrote(t *testing.T) {
	const before = "\ufeff# asked by mail\r\nExample.com # a mail of 3 May\n\n192.0.2.0/24\n  example.org\ncom"
	path := write(t, before)
	err := optout.Edit(t.Context(), path, func(l *optout.List) error {
		if diff := cmp.Diff([]string{"example.com", "192.0.2.0/24", "example.org", "com"}, l.Entries()); diff != "" {
			t.Errorf("entries (-want +got):\n%s", diff)
		}
		l.Add("example.net", "by phone")
		l.Add("192.0.2.7", "")
		l.Remove("example.org")
		l.Remove("nobody.example")
		if !l.Has("example.com") || l.Has("example.org") {
			t.Error("it has what was removed, or lacks what was there")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := "\ufeff# asked by mail\nExample.com # a mail of 3 May\n\n192.0.2.0/24\ncom\nexample.net # by phone\n192.0.2.7\n"
	if diff := cmp.Diff(want, read(t, path)); diff != "" {
		t.Errorf("the file (-want +got):\n%s", diff)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the mode changed: %v, %v", info.Mode(), err)
	}
}

func TestAListThatIsNotThereIsMade(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "penny", optout.FileName)
	if _, err := optout.Read(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Read: %v, want fs.ErrNotExist", err)
	}
	if err := optout.Edit(t.Context(), path, func(*optout.List) error { return nil }); err != nil {
		t.Error(err)
	}
	if _, err := optout.Read(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a change of nothing makes a list: %v", err)
	}
	err := optout.Edit(t.Context(), path, func(l *optout.List) error {
		l.Add("example.com", "")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var l block.List
	if err := l.Read(strings.NewReader(read(t, path)), path); err != nil || !l.Name("www.example.com") {
		t.Errorf("a run would not honour it: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others can read who opted out: %v, %v", info.Mode(), err)
	}
}

func TestAnEditThatFailsChangesNothing(t *testing.T) {
	path := write(t, "example.com\n")
	no := errors.New("no")
	if err := optout.Edit(t.Context(), path, func(l *optout.List) error { l.Add("example.org", ""); return no }); !errors.Is(err, no) {
		t.Errorf("Edit: %v", err)
	}
	if got := read(t, path); got != "example.com\n" {
		t.Errorf("the list is %q", got)
	}
	if files, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*")); len(files) != 1 {
		t.Errorf("there is left: %v", files)
	}
}

func TestAListWithAMistakeIsNotEdited(t *testing.T) {
	path := write(t, "example.com\nhttp://example.org/\n")
	err := optout.Edit(t.Context(), path, func(*optout.List) error { t.Error("it is edited"); return nil })
	if list := mistake.Of(err); len(list) != 1 || !strings.Contains(list[0].What, "optout.txt:2: ") {
		t.Errorf("Edit: %v", err)
	}
}

func TestAListThatIsTooLargeSaysSo(t *testing.T) {
	path := write(t, "")
	if err := os.Truncate(path, 1<<40); err != nil {
		t.Fatal(err)
	}
	if _, err := optout.Read(path); len(mistake.Of(err)) != 1 || !strings.Contains(err.Error(), "larger than 32 MiB") {
		t.Errorf("Read: %v", err)
	}
}

func TestWhatAKilledProcessLeftSaysWhatToDo(t *testing.T) {
	path := write(t, "example.com\n")
	if err := os.WriteFile(path+".new", []byte("exam"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := optout.Edit(ctx, path, func(*optout.List) error { return nil })
	if list := mistake.Of(err); len(list) != 1 || list[0].File != path+".new" || list[0].Hint != "if none runs, delete this file: the list itself is whole" {
		t.Errorf("Edit: %v", err)
	}
	if got := read(t, path); got != "example.com\n" {
		t.Errorf("the list is %q", got)
	}
}

func TestEditsAtOnceLoseNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), optout.FileName)
	const n = 8
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			if err := optout.Edit(t.Context(), path, func(l *optout.List) error { l.Add(fmt.Sprintf("n%d.example", i), ""); return nil }); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	l, err := optout.Read(path)
	if err != nil || len(l.Entries()) != n {
		t.Errorf("%d entries of %d, %v", len(l.Entries()), n, err)
	}
}

// FuzzNormal: an entry in normal form is its own normal form, and a run that reads
// it does not ask what was meant.
func FuzzNormal(f *testing.F) {
	for _, text := range []string{"example.com", "*.Example.com.", "bücher.example", "https://example.com:8080/a", "192.0.2.7/24", "::ffff:192.0.2.1", "2001:db8::1/48", "0x7f.1", "a@b.example", "*.1.2"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		entry, err := optout.Normal(text)
		if err != nil {
			if len(mistake.Of(err)) != 1 || strings.ContainsAny(err.Error(), "\n\x00") {
				t.Errorf("Normal(%q): %q is no mistake of one line", text, err)
			}
			return
		}
		again, err := optout.Normal(entry)
		if err != nil || again != entry {
			t.Errorf("Normal(%q) = %q, and of that %q, %v", text, entry, again, err)
		}
		var l block.List
		if err := l.Read(bytes.NewReader([]byte(entry+"\n")), "list"); err != nil || l.Len() != 1 {
			t.Fatalf("Normal(%q) = %q, which no run reads: %v", text, entry, err)
		}
		if p, err := netip.ParsePrefix(entry); err == nil {
			entry = p.Addr().String()
		}
		addr, err := netip.ParseAddr(entry)
		if on := err == nil && l.Address(addr) || err != nil && l.Name(entry); !on {
			t.Errorf("%q is asked all the same", entry)
		}
	})
}
