//go:build linux

package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/andybalholm/brotli"
)

// answers is what one process showed before the measurements.
type answers struct {
	head   string // of the first fixed body over HTTP/1.1, as it came
	fields map[string]string
	paths  int     // how many were asked for, over each protocol
	gzip   int     // how many files of the manual came compressed
	mean   float64 // mean body length of the draw as served
}

// checkServer asks for every path of the site over the protocols of the server's mode and compares each body with the
// file. The first difference is the error.
func checkServer(ctx context.Context, s *server, st *site) (answers, error) {
	var a answers
	var err error
	if a.head, err = rawHead(ctx, s, fixedPath(fixedBodies[0].name)); err != nil {
		return a, err
	}
	a.fields = headFields(a.head)
	protocols := []int{1}
	if s.mode.tls() && !s.fixed {
		protocols = []int{1, 2}
	}
	for _, protocol := range protocols {
		client := newClient(s, protocol)
		sizes := map[string]int{}
		a.gzip = 0
		for path, want := range st.assets {
			if s.fixed && !isFixed(path) {
				continue
			}
			zip := strings.HasPrefix(path, manualPrefix)
			asked := s.asked(path)
			size, coded, err := checkOne(ctx, client, s.url(asked), want, zip, protocol)
			if err != nil {
				return a, fmt.Errorf("HTTP/%d %s: %w", protocol, asked, err)
			}
			sizes[path] = size
			if coded {
				a.gzip++
			}
		}
		sum := 0
		for _, path := range st.draw {
			sum += sizes[path]
		}
		a.mean = float64(sum) / float64(len(st.draw))
		a.paths = len(sizes)
		client.CloseIdleConnections()
	}
	return a, nil
}

func newClient(s *server, protocol int) *http.Client {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(protocol == 1)
	protocols.SetHTTP2(protocol == 2)
	return &http.Client{
		Timeout:       10 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Protocols: protocols, DisableCompression: true,
			TLSClientConfig: &tls.Config{RootCAs: s.cert.pool, ServerName: "localhost", MinVersion: tls.VersionTLS13},
		},
	}
}

func checkOne(ctx context.Context, client *http.Client, url string, want asset, zip bool, protocol int) (size int, coded bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, false, err
	}
	if zip {
		req.Header.Set("Accept-Encoding", "gzip")
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, false, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, false, err
	}
	if resp.StatusCode != http.StatusOK || resp.ProtoMajor != protocol {
		return 0, false, fmt.Errorf("status %d over %s", resp.StatusCode, resp.Proto)
	}
	size = len(body)
	switch coding := resp.Header.Get("Content-Encoding"); {
	case coding == "gzip" && zip:
		coded = true
		if body, err = decode(coding, body); err != nil {
			return 0, false, err
		}
	case coding != "":
		return 0, false, fmt.Errorf("coding %q was not asked for", coding)
	}
	if int64(len(body)) != want.size || sha256.Sum256(body) != want.sum {
		return 0, false, fmt.Errorf("the body (%d bytes) is not the file (%d bytes)", len(body), want.size)
	}
	return size, coded, nil
}

// decode undoes a Content-Encoding.
func decode(coding string, body []byte) ([]byte, error) {
	switch coding {
	case "":
		return body, nil
	case "br":
		return io.ReadAll(brotli.NewReader(bytes.NewReader(body)))
	case "gzip":
		return gunzip(body)
	}
	return nil, fmt.Errorf("coding %q was not asked for", coding)
}

func gunzip(body []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// rawHead is a response's head over HTTP/1.1, as the bytes came, without the last empty line.
func rawHead(ctx context.Context, s *server, path string) (string, error) {
	var conn net.Conn
	var err error
	if s.mode.tls() {
		config := &tls.Config{RootCAs: s.cert.pool, ServerName: "localhost", NextProtos: []string{"http/1.1"}}
		conn, err = (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", s.listen())
	} else {
		conn, err = (&net.Dialer{}).DialContext(ctx, "tcp", s.listen())
	}
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: "+s.listen()+"\r\n\r\n"); err != nil {
		return "", err
	}
	var head strings.Builder
	for r := bufio.NewReader(conn); ; {
		line, err := r.ReadString('\n')
		if err != nil {
			return "", err
		}
		if strings.TrimSpace(line) == "" {
			return head.String(), nil
		}
		head.WriteString(line)
	}
}

// headFields maps lower-case names to values.
func headFields(head string) map[string]string {
	named := map[string]string{}
	for line := range strings.Lines(head) {
		if name, value, ok := strings.Cut(line, ":"); ok {
			named[strings.ToLower(name)] = strings.TrimSpace(value)
		}
	}
	return named
}

// ownValues are fields whose value is each server's own business; only that they are there is compared.
var ownValues = []string{"date", "etag"}

// compareHeads says in which fields each server's head is unlike the first one's. Empty lists: alike.
func compareHeads(names []string, heads []map[string]string) []string {
	var notes []string
	for i := 1; i < len(heads); i++ {
		var unlike []string
		for name, value := range heads[i] {
			first, ok := heads[0][name]
			switch {
			case !ok:
				unlike = append(unlike, "also "+name+": "+value)
			case first != value && !slices.Contains(ownValues, name):
				unlike = append(unlike, fmt.Sprintf("%s: %s (not %s)", name, value, first))
			}
		}
		for name := range heads[0] {
			if _, ok := heads[i][name]; !ok {
				unlike = append(unlike, "no "+name)
			}
		}
		slices.Sort(unlike)
		if len(unlike) > 0 {
			notes = append(notes, names[i]+": "+strings.Join(unlike, "; "))
		}
	}
	return notes
}
