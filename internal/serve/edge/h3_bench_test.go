package edge

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/quic-go/quic-go/http3"
)

// h3LoadVariable makes this binary a client: its value is a URL, and how many
// requests there are to be at once and in all.
const h3LoadVariable = "PENNY_TEST_H3_LOAD"

// BenchmarkH3Hit measures what the server's process alone spends on a hit; the
// client, quic-go's own, is another process.
//
//	go test -run '^$' -bench H3Hit -benchtime 20000x ./internal/serve/edge
func BenchmarkH3Hit(b *testing.B) {
	noise := make([]byte, 16<<10)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise) // never fails
	for _, engine := range []Engine{Plain, Fast} {
		r := start(b, setup{secure: true, files: map[string]string{
			"index.html": "x", "1k.bin": string(noise[:1<<10]), "16k.bin": string(noise),
		}, edit: func(o *Options) { o.Engine = engine }})
		for _, size := range []int{1, 16} {
			for _, streams := range []int{1, 10, 100} {
				b.Run(fmt.Sprintf("%s/%dKiB/%dStreams", engine, size, streams), func(b *testing.B) {
					r.loadH3(b, fmt.Sprintf("/%dk.bin", size), streams)
				})
			}
		}
	}
}

func (r *running) loadH3(b *testing.B, path string, streams int) {
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.CommandContext(b.Context(), self)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=https://%s%s %d %d", h3LoadVariable, r.secure, path, streams, b.N))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	lines := bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); line != "warm\n" {
		b.Fatalf("the client says %q, %v", line, err)
	}
	b.ResetTimer()
	before := ownTime()
	_, _ = io.WriteString(in, "go\n") // or else the client does not say that it is done
	if line, err := lines.ReadString('\n'); line != "done\n" {
		b.Fatalf("the client says %q, %v", line, err)
	}
	b.ReportMetric(float64(ownTime()-before)/1e3/float64(b.N), "cpu-µs/op")
	if err := cmd.Wait(); err != nil {
		b.Fatal(err)
	}
}

// loadHTTP3 is the client of [BenchmarkH3Hit].
func loadHTTP3(spec string) error {
	var url string
	var streams, n int
	if _, err := fmt.Sscan(spec, &url, &streams, &n); err != nil {
		return err
	}
	t := &http3.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"}, DisableCompression: true}
	defer t.Close()
	if err := fetchAll(t, url, streams, 200); err != nil {
		return err
	}
	fmt.Println("warm")
	if line, err := bufio.NewReader(os.Stdin).ReadString('\n'); !strings.HasPrefix(line, "go") {
		return err
	}
	if err := fetchAll(t, url, streams, n); err != nil {
		return err
	}
	fmt.Println("done")
	return nil
}

// fetchAll makes n requests, some at once.
func fetchAll(t *http3.Transport, url string, streams, n int) error {
	var fetching sync.WaitGroup
	errs := make([]error, streams)
	for i := range streams {
		fetching.Go(func() {
			for range (n + streams - 1 - i) / streams {
				if err := fetch(t, url); err != nil {
					errs[i] = err
					return
				}
			}
		})
	}
	fetching.Wait()
	return errors.Join(errs...)
}

func fetch(t *http3.Transport, url string) error {
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := t.RoundTrip(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return errors.New(res.Status)
	}
	return nil
}
