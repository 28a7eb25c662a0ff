package clients_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pennyfarthing/test/program"
)

// A client sends requests, so many at once.
type client struct {
	protocol string
	ask      func(t *testing.T, s *served, requests []request, atOnce int) report
	oneShot  bool // it makes a connection for each request
	oneByOne bool // it has one request at a time
}

// clients returns all that are tried, by their names.
func clients(t *testing.T) map[string]client {
	t.Helper()
	all := map[string]client{
		"curl h1":    {protocol: "HTTP/1.1", ask: curl("--http1.1")},
		"curl h2":    {protocol: "HTTP/2.0", ask: curl("--http2")},
		"nghttp":     {protocol: "HTTP/2.0", ask: nghttp, oneShot: true},
		"Node https": {protocol: "HTTP/1.1", ask: script("node", "node_https.mjs")},
		"Node http2": {protocol: "HTTP/2.0", ask: script("node", "node_http2.mjs")},
		"Python":     {protocol: "HTTP/1.1", ask: script("python3", "httpclient.py"), oneByOne: true},
		"Go h1":      {protocol: "HTTP/1.1", ask: goClient("HTTP/1.1")},
		"Go h2":      {protocol: "HTTP/2.0", ask: goClient("HTTP/2.0")},
		"Go h3":      {protocol: "HTTP/3.0", ask: goClient("HTTP/3.0")},
	}
	if bytes.Contains(run(t, "curl", nil, "--version"), []byte("HTTP3")) {
		all["curl h3"] = client{protocol: "HTTP/3.0", ask: curl("--http3-only")}
	}
	return all
}

// run runs a program and returns what it prints.
func run(t *testing.T, name string, stdin []byte, args ...string) []byte {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("cannot run: there is no %s in PATH; scripts/packages names the package", name)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, stderr.Bytes())
	}
	return stdout.Bytes()
}

// script asks with a program in testdata.
func script(interpreter, name string) func(*testing.T, *served, []request, int) report {
	return func(t *testing.T, s *served, requests []request, atOnce int) (r report) {
		t.Helper()
		out := run(t, interpreter, asJSON(t, s, requests, atOnce), filepath.Join("testdata", name))
		if err := json.Unmarshal(out, &r); err != nil {
			t.Fatalf("%s: %v in %.200q", name, err, out)
		}
		return r
	}
}

// curl asks with one process of curl, which is told of all requests.
func curl(version string) func(*testing.T, *served, []request, int) report {
	return func(t *testing.T, s *served, requests []request, atOnce int) (r report) {
		t.Helper()
		dir := t.TempDir()
		body := func(i int) string { return filepath.Join(dir, fmt.Sprintf("%d.body", i)) }
		head := func(i int) string { return filepath.Join(dir, fmt.Sprintf("%d.head", i)) }
		var config strings.Builder // the same as arguments, without a limit to their length
		for i, request := range requests {
			if i > 0 {
				config.WriteString("next\n")
			}
			option := func(name, value string) { fmt.Fprintf(&config, "%s = %s\n", name, strconv.Quote(value)) }
			fmt.Fprintf(&config, "%s\npath-as-is\n", strings.TrimPrefix(version, "--"))
			option("url", s.url+request.Path)
			option("cacert", s.ca)
			option("output", body(i))
			option("dump-header", head(i))
			option("write-out", "%{num_connects} %{http_version}\n")
			for name, value := range request.Header {
				option("header", name+": "+value)
			}
			switch {
			case request.Method == http.MethodHead:
				config.WriteString("head\n")
			case request.Body != "":
				option("request", request.Method)
				option("data-binary", request.Body)
			}
		}
		args := []string{"--silent", "--show-error", "--config", "-"}
		if atOnce > 1 {
			args = append(args, "--parallel", "--parallel-max", strconv.Itoa(atOnce))
		}
		for line := range strings.Lines(string(run(t, "curl", []byte(config.String()), args...))) {
			made, protocol, _ := strings.Cut(strings.TrimSpace(line), " ")
			n, err := strconv.Atoi(made)
			if err != nil {
				t.Fatalf("curl says %q: %v", line, err)
			}
			r.Connections += n
			r.Protocol = "HTTP/" + protocol
			if !strings.Contains(protocol, ".") {
				r.Protocol += ".0"
			}
		}
		for i, request := range requests {
			r.Answers = append(r.Answers, readCurl(t, head(i), body(i), request.Method))
		}
		return r
	}
}

// readCurl reads what curl has stored of an answer.
func readCurl(t *testing.T, headFile, bodyFile, method string) answer {
	t.Helper()
	text, err := os.ReadFile(headFile)
	if err != nil {
		t.Fatal(err)
	}
	in := textproto.NewReader(bufio.NewReader(bytes.NewReader(text)))
	line, err := in.ReadLine()
	if err != nil {
		t.Fatal(err)
	}
	var a answer
	if _, err := fmt.Sscanf(line, "HTTP/%s %d", new(string), &a.Status); err != nil {
		t.Fatalf("%v in %q", err, line)
	}
	fields, err := in.ReadMIMEHeader()
	if err != nil {
		t.Fatal(err)
	}
	a.Header = lower(http.Header(fields))
	if a.Body, err = os.ReadFile(bodyFile); err != nil && !os.IsNotExist(err) { // no body, no file
		t.Fatal(err)
	}
	if method == http.MethodHead {
		a.Body = bytes.TrimPrefix(a.Body, text) // curl prints the head of a HEAD as its body
	}
	return a
}

func lower(header http.Header) map[string][]string {
	fields := make(map[string][]string)
	for name, values := range header {
		fields[strings.ToLower(name)] = values
	}
	return fields
}

// nghttp asks with two processes for each request: one prints the body, and one
// the head.
func nghttp(t *testing.T, s *served, requests []request, _ int) report {
	t.Helper()
	r := report{Protocol: "HTTP/2.0", Connections: len(requests)} // it speaks no other
	for _, request := range requests {
		args := []string{"-H", ":method: " + request.Method}
		for name, value := range request.Header {
			args = append(args, "-H", name+": "+value)
		}
		if request.Body != "" {
			file := filepath.Join(t.TempDir(), "body")
			if err := os.WriteFile(file, []byte(request.Body), 0o644); err != nil {
				t.Fatal(err)
			}
			args = append(args, "--data", file)
		}
		args = append(args, s.url+request.Path)
		a := readNghttp(t, run(t, "nghttp", nil, append([]string{"-v", "-n"}, args...)...))
		a.Body = run(t, "nghttp", nil, args...)
		if first, _, ok := bytes.Cut(a.Body, []byte("\r\n")); ok && a.Status == http.StatusPartialContent && bytes.HasPrefix(first, []byte("--")) {
			// A boundary is another one in each answer, and this is that of the second.
			kind, _, _ := strings.Cut(a.field("content-type"), ";")
			a.Header["content-type"] = []string{mime.FormatMediaType(kind, map[string]string{"boundary": string(first[2:])})}
		}
		r.Answers = append(r.Answers, a)
	}
	return r
}

// readNghttp finds the head of an answer among the frames that nghttp prints.
func readNghttp(t *testing.T, out []byte) answer {
	t.Helper()
	a := answer{Header: make(map[string][]string)}
	for line := range strings.Lines(string(out)) {
		_, field, ok := strings.Cut(strings.TrimSpace(line), "recv (stream_id=13) ")
		if !ok {
			continue
		}
		name, value, _ := strings.Cut(strings.TrimPrefix(field, ":"), ": ")
		if name != "status" {
			a.Header[name] = append(a.Header[name], value)
			continue
		}
		var err error
		if a.Status, err = strconv.Atoi(value); err != nil {
			t.Fatalf("nghttp prints %q: %v", line, err)
		}
	}
	if a.Status == 0 {
		t.Fatalf("nghttp prints no status:\n%s", out)
	}
	return a
}

// goClient asks with a client of Go.
func goClient(protocol string) func(*testing.T, *served, []request, int) report {
	return func(t *testing.T, s *served, requests []request, atOnce int) report {
		t.Helper()
		c := program.Client(t, protocol, s.ca)
		r := report{Protocol: protocol, Answers: make([]answer, len(requests))}
		if protocol != "HTTP/1.1" {
			r.Connections = 1 // net/http and quic-go have no more for one host
		}
		var made atomic.Int64
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) {
			if !c.Reused {
				made.Add(1)
			}
		}})
		next := make(chan int)
		var workers sync.WaitGroup
		for range atOnce {
			workers.Go(func() {
				for i := range next {
					a, err := askGo(ctx, c, s.url, protocol, requests[i])
					if err != nil {
						t.Errorf("%s: %v", requests[i].Path, err)
					}
					r.Answers[i] = a
				}
			})
		}
		for i := range requests {
			next <- i
		}
		close(next)
		workers.Wait()
		if protocol == "HTTP/1.1" {
			r.Connections = int(made.Load())
		}
		return r
	}
}

func askGo(ctx context.Context, c *http.Client, url, protocol string, r request) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, r.Method, url+r.Path, strings.NewReader(r.Body))
	if err != nil {
		return answer{}, err
	}
	for name, value := range r.Header {
		req.Header.Set(name, value)
	}
	resp, err := c.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	if resp.Proto != protocol {
		return answer{}, fmt.Errorf("answered over %s", resp.Proto)
	}
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, lower(resp.Header), body}, err
}
