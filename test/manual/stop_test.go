package manual_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"pennyfarthing/test/program"
)

// says is what penny tells somebody who waits for its end.
const says = "finishing what is on its way hint=\"Ctrl-C or another signal stops at once\""

func waitUntilSaid(t *testing.T, p *program.Process, text string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !strings.Contains(p.Stderr(), text); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("penny does not say %q, but %q", text, p.Stderr())
		}
	}
}

// A download that is on its way when penny is told to stop is finished; nobody
// new is let in meanwhile.
func TestPennyFinishesADownloadBeforeItStops(t *testing.T) {
	skipWithoutSignals(t)
	p, address, content := servesOneLargeFile(t)
	d := begin(t, address, content)

	p.Signal(syscall.SIGTERM)
	waitUntilRefused(t, d.host)
	select {
	case <-p.Ended():
		t.Fatal("penny ended in the middle of a download")
	default:
	}
	waitUntilSaid(t, p, says)
	d.finish(t)
	if err := p.Wait(10 * time.Second); err != nil {
		t.Errorf("penny ended with %v, want exit code 0", err)
	}
	if text := p.Stderr(); strings.Count(text, "\n") != 1 || !strings.Contains(text, says) {
		t.Errorf("penny said\n%s\nwant why it does not stop at once, and nothing else", text)
	}
}

func TestASecondSignalStopsPennyAtOnce(t *testing.T) {
	skipWithoutSignals(t)
	p, address, content := servesOneLargeFile(t)
	d := begin(t, address, content)

	p.Signal(syscall.SIGTERM)
	waitUntilSaid(t, p, says)
	p.Signal(syscall.SIGTERM)
	exit, ok := errors.AsType[*exec.ExitError](p.Wait(10 * time.Second))
	if !ok {
		t.Fatal("penny ended as if nothing had been on its way")
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); !ok || !status.Signaled() || status.Signal() != syscall.SIGTERM {
		t.Errorf("penny ended with %v, want the signal", exit)
	}
	if n, err := io.Copy(io.Discard, d.body); err == nil {
		t.Errorf("the download seems whole after %d more bytes", n)
	}
}

// Without anything on its way, an interrupt ends penny at once and well.
func TestAnInterruptStopsAnIdlePenny(t *testing.T) {
	skipWithoutSignals(t)
	p, address, _ := servesOneLargeFile(t)
	client := program.Client(t, "HTTP/1.1", "")
	resp, err := client.Head(address + "large.bin") // the connection stays open
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp, err)
	}
	resp.Body.Close()
	start := time.Now()
	p.Signal(os.Interrupt)
	if err := p.Wait(10 * time.Second); err != nil {
		t.Errorf("penny ended with %v, want exit code 0", err)
	}
	t.Logf("stopped in %v", time.Since(start).Round(time.Millisecond))
}

func skipWithoutSignals(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("cannot run: Windows has no signals to send to another process")
	}
}

// servesOneLargeFile starts penny with a file larger than what the sockets of a
// connection take.
func servesOneLargeFile(t *testing.T) (*program.Process, string, []byte) {
	t.Helper()
	content := make([]byte, 48<<20)
	seed := [32]byte{1}
	_, _ = rand.NewChaCha8(seed).Read(content) // never fails
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "large.bin"), content, 0o644); err != nil {
		t.Fatal(err)
	}
	p := program.Start(t, penny, "serve", dir, "--listen", "127.0.0.1:0")
	_, address, ok := strings.Cut(p.Line(), " at ")
	if !ok {
		t.Fatal("penny does not say where it serves")
	}
	return p, address, content
}

// A partial is a download of which only the beginning has been read.
type partial struct {
	host string
	body io.Reader
	got  []byte
	want [sha256.Size]byte
}

func begin(t *testing.T, base string, content []byte) *partial {
	t.Helper()
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := fmt.Fprintf(conn, "GET /large.bin HTTP/1.1\r\nHost: %s\r\n\r\n", u.Host); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	d := &partial{host: u.Host, body: resp.Body, got: make([]byte, 64<<10), want: sha256.Sum256(content)}
	if _, err := io.ReadFull(resp.Body, d.got); err != nil {
		t.Fatal(err)
	}
	return d
}

// finish reads on to the end.
func (d *partial) finish(t *testing.T) {
	t.Helper()
	rest, err := io.ReadAll(d.body)
	if err != nil {
		t.Fatalf("the download broke after %d bytes: %v", len(d.got)+len(rest), err)
	}
	if sha256.Sum256(bytes.Join([][]byte{d.got, rest}, nil)) != d.want {
		t.Errorf("%d bytes came, and are not those on disk", len(d.got)+len(rest))
	}
}

func waitUntilRefused(t *testing.T, host string) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		conn, err := net.DialTimeout("tcp", host, time.Second)
		if errors.Is(err, syscall.ECONNREFUSED) {
			return
		}
		if err == nil {
			conn.Close()
		}
		if time.Now().After(deadline) {
			t.Fatalf("penny still takes connections (%v)", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
