package manual_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pennyfarthing/test/program"
)

// serving is the line that penny serve --json prints.
type serving struct {
	URL    string `json:"url"`
	Files  int    `json:"files"`
	Bytes  int64  `json:"bytes"`
	Memory int64  `json:"memory"`
	CA     string `json:"ca"`
	Admin  string `json:"admin"`
}

const gib = 1 << 30

// A large file is read from disk while it is sent: it must not come to lie in
// memory, over no version of HTTP.
func TestALargeFileIsServedWithoutTakingMemory(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("cannot run: there is no /proc to ask how much memory a process has")
	}
	if testing.Short() {
		t.Skip("takes long: it moves six gigabytes; make test runs it")
	}
	const size = 4 * gib
	const mayGrow = 16 << 20
	dir := t.TempDir()
	marks := sparse(t, filepath.Join(dir, "disk.img"), size)

	for _, fetch := range []struct {
		protocol   string
		tls        bool
		start, end int64
	}{
		{"HTTP/1.1", false, 0, size},
		{"HTTP/2.0", true, gib / 2, gib/2 + gib},
		{"HTTP/3.0", true, 3 * gib, 3*gib + gib},
	} {
		t.Run(fetch.protocol, func(t *testing.T) {
			p := program.Start(t, penny, "serve", dir, "--json", fmt.Sprintf("--tls=%v", fetch.tls), "--listen", "localhost:0")
			var s serving
			p.JSON(&s)
			if s.Files != 1 || s.Bytes != size || s.Memory != 0 {
				t.Errorf("penny says %+v, want one file of %d bytes, none of them in memory", s, int64(size))
			}
			client := program.Client(t, fetch.protocol, s.CA)
			warm(t, client, s.URL+"disk.img")
			before := residentBytes(t, p.PID)
			most, stop := watchResident(t, p.PID)
			start := time.Now()
			download(t, client, s.URL+"disk.img", fetch.start, fetch.end, size, marks)
			took := time.Since(start)
			stop()
			t.Logf("%d MiB in %v; the server's memory was %d KiB before and at most %d KiB", (fetch.end-fetch.start)>>20,
				took.Round(time.Millisecond), before>>10, *most>>10)
			if *most-before > mayGrow {
				t.Errorf("the server's memory rose by %d KiB, more than %d", (*most-before)>>10, mayGrow>>10)
			}
		})
	}
}

// sparse makes a file that takes next to no room on disk, and returns what
// stands in it where.
func sparse(t *testing.T, name string, size int64) map[int64]string {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Skipf("cannot run: this disk does not take a sparse file of %d bytes: %v", size, err)
	}
	marks := make(map[int64]string)
	for _, at := range []int64{0, gib - 5, 2*gib + 12345, 3*gib + 1, size - 10} {
		marks[at] = fmt.Sprintf("%010d", at)
		if _, err := f.WriteAt([]byte(marks[at]), at); err != nil {
			t.Fatal(err)
		}
	}
	return marks
}

// warm makes the connection and what the server keeps for it.
func warm(t *testing.T, client *http.Client, url string) {
	t.Helper()
	for range 5 {
		req := request(t, url)
		req.Header.Set("Range", "bytes=0-4194303")
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
}

func request(t *testing.T, url string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// download fetches the bytes from start to end of a sparse file and compares
// them with what stands there.
func download(t *testing.T, client *http.Client, url string, start, end, size int64, marks map[int64]string) {
	t.Helper()
	req := request(t, url)
	want := http.StatusOK
	if start > 0 || end < size {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", start, end-1))
		want = http.StatusPartialContent
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != want || resp.ContentLength != end-start {
		t.Fatalf("%s with %d bytes, want %d with %d", resp.Status, resp.ContentLength, want, end-start)
	}
	const block = 1 << 20
	got, expected := make([]byte, block), make([]byte, block)
	for at := start; at < end; at += block {
		n := min(block, end-at)
		if _, err := io.ReadFull(resp.Body, got[:n]); err != nil {
			t.Fatalf("at %d: %v", at, err)
		}
		if !bytes.Equal(got[:n], expectedBlock(expected[:n], at, marks)) {
			t.Fatalf("the bytes from %d to %d differ from those on disk", at, at+n)
		}
	}
	if n, err := resp.Body.Read(got); n != 0 || err != io.EOF {
		t.Fatalf("behind the last byte came %d more, %v", n, err)
	}
}

// expectedBlock fills a block that stands at an offset of a sparse file.
func expectedBlock(block []byte, at int64, marks map[int64]string) []byte {
	clear(block)
	for mark, text := range marks {
		for i := range len(text) {
			if offset := mark + int64(i) - at; offset >= 0 && offset < int64(len(block)) {
				block[offset] = text[i]
			}
		}
	}
	return block
}

// watchResident looks at a process until stop is called, and keeps the most
// memory that it has seen.
func watchResident(t *testing.T, pid int) (most *int64, stop func()) {
	t.Helper()
	most = new(int64)
	ctx, cancel := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	watching.Go(func() {
		for ctx.Err() == nil {
			*most = max(*most, residentBytes(t, pid))
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	return most, func() {
		cancel()
		watching.Wait()
		*most = max(*most, residentBytes(t, pid))
	}
}

// residentBytes returns VmRSS of a process.
func residentBytes(t *testing.T, pid int) int64 {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		t.Errorf("ask for the server's memory: %v", err)
		return 0
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				t.Errorf("read %q: %v", line, err)
			}
			return kib << 10
		}
	}
	t.Error("the process has no VmRSS")
	return 0
}

func TestTenThousandFilesAreServed(t *testing.T) {
	const files = 10_000
	dir := t.TempDir()
	for i := range files {
		sub := filepath.Join(dir, fmt.Sprintf("d%02d", i%100))
		if i < 100 {
			if err := os.Mkdir(sub, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		text := strings.Repeat(fmt.Sprintf("file number %d\n", i), i%50+1)
		if err := os.WriteFile(filepath.Join(sub, fmt.Sprintf("f%05d.txt", i)), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	start := time.Now()
	p := program.Start(t, penny, "serve", dir, "--json", "--listen", "127.0.0.1:0")
	var s serving
	p.JSON(&s)
	t.Logf("%d files, %d bytes: the line came after %v", s.Files, s.Bytes, time.Since(start).Round(time.Millisecond))
	if s.Files != files {
		t.Errorf("%d files, want %d", s.Files, files)
	}
	client := program.Client(t, "HTTP/1.1", "")
	resp, err := client.Do(request(t, s.URL+"d99/f09999.txt")) // the URL counts as soon as it is printed
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if want := strings.Repeat("file number 9999\n", 50); err != nil || string(body) != want {
		t.Errorf("%s: %q, %v", resp.Status, body, err)
	}
}
