// Package chromium runs a real browser, Chromium, without a window, for the tests
// below test/: it opens pages, runs scripts in them, takes pictures and hears what
// pages complain of.
//
// A browser that a test starts has a home of its own and ends with the test; if
// the test failed, what the browser printed is logged. It is used by one goroutine,
// that of the test.
package chromium

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Limit bounds every wait for Chromium. A machine with other work to do has let it
// wait for half a minute.
const Limit = time.Minute

// A Browser is a running Chromium with one page. We speak the DevTools
// protocol with it over two pipes: JSON messages with a NUL behind each.
type Browser struct {
	t       *testing.T
	to      io.WriteCloser
	session string // of the page, "" for the browser itself
	events  chan message
	console []string // what pages have said and what went wrong, in order

	mu      sync.Mutex // guards what follows
	last    int
	answers map[int]chan message
	ended   error
}

// A message is one of the DevTools protocol, in either direction.
type message struct {
	ID      int             `json:"id,omitempty"`
	Session string          `json:"sessionId,omitempty"`
	Method  string          `json:"method,omitempty"`
	Params  any             `json:"params,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`

	raw json.RawMessage // params of an event
}

// Start starts a browser with a home, which [Trust] makes, and opens a page in it.
func Start(t *testing.T, home string, flags ...string) *Browser {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser"} {
		if found, err := exec.LookPath(name); err == nil && path == "" {
			path = found
		}
	}
	if path == "" {
		t.Skip("cannot run: there is no chromium in PATH; scripts/packages names the package")
	}
	ours, theirs := pipe(t)
	theirAnswers, ourEnd := pipe(t)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	cmd := exec.CommandContext(ctx, path, append([]string{
		"--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--hide-scrollbars", "--remote-debugging-pipe",
		"--user-data-dir=" + filepath.Join(home, "profile"), "about:blank",
	}, flags...)...)
	cmd.Env = append(os.Environ(), "HOME="+home)
	cmd.ExtraFiles = []*os.File{ours, ourEnd} // 3: what it reads; 4: where it writes
	log, err := os.Create(filepath.Join(home, "chromium.log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, f := range []*os.File{ours, ourEnd, log} {
		f.Close()
	}
	c := &Browser{t: t, to: theirs, events: make(chan message, 10_000), answers: make(map[int]chan message)}
	var reading sync.WaitGroup
	reading.Go(func() { c.read(theirAnswers) })
	t.Cleanup(func() {
		_ = c.send(message{ID: -1, Method: "Browser.close"}) // it may be gone
		waited := make(chan error, 1)
		go func() { waited <- cmd.Wait() }()
		select {
		case <-waited:
		case <-time.After(Limit):
			cancel()
			<-waited
		}
		cancel()
		c.to.Close()
		reading.Wait()
		if text, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("Chromium wrote:\n%s", text)
		}
	})
	c.open()
	return c
}

// pipe returns the two ends of a pipe: what to read from, and what to write to.
func pipe(t *testing.T) (*os.File, *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	return r, w
}

// read hands on what Chromium says until it ends.
func (c *Browser) read(r io.Reader) {
	in := bufio.NewReader(r)
	for {
		text, err := in.ReadBytes(0)
		var m message
		var event struct {
			Params json.RawMessage `json:"params"`
		}
		if err == nil {
			err = errors.Join(json.Unmarshal(text[:len(text)-1], &m), json.Unmarshal(text[:len(text)-1], &event))
		}
		c.mu.Lock()
		if err != nil {
			c.ended = fmt.Errorf("chromium says nothing more: %w", err)
			for _, answer := range c.answers {
				close(answer)
			}
			c.answers = nil
			c.mu.Unlock()
			return
		}
		if answer := c.answers[m.ID]; answer != nil {
			answer <- m
			delete(c.answers, m.ID)
		}
		c.mu.Unlock()
		if m.Method != "" {
			m.raw = event.Params
			select {
			case c.events <- m:
			default: // nobody has looked for ten thousand events
			}
		}
	}
}

func (c *Browser) send(m message) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	_, err = c.to.Write(append(text, 0))
	return err
}

// call asks Chromium to do something and reads the answer into result, unless
// that is nil.
func (c *Browser) call(method string, params, result any) {
	c.t.Helper()
	answer := make(chan message, 1)
	c.mu.Lock()
	if c.answers == nil {
		c.mu.Unlock()
		c.t.Fatalf("%s: %v", method, c.ended)
	}
	c.last++
	id := c.last
	c.answers[id] = answer
	c.mu.Unlock()
	if err := c.send(message{ID: id, Session: c.session, Method: method, Params: params}); err != nil {
		c.t.Fatalf("%s: %v", method, err)
	}
	select {
	case m, ok := <-answer:
		switch {
		case !ok:
			c.t.Fatalf("%s: Chromium ended", method)
		case m.Error != nil:
			c.t.Fatalf("%s: %s", method, m.Error.Message)
		case result != nil:
			if err := json.Unmarshal(m.Result, result); err != nil {
				c.t.Fatalf("%s: %v in %s", method, err, m.Result)
			}
		}
	case <-time.After(Limit):
		c.t.Fatalf("%s %.100v: no answer", method, params)
	}
}

type object = map[string]any

// open opens a page and listens to it.
func (c *Browser) open() {
	c.t.Helper()
	var target struct {
		ID string `json:"targetId"`
	}
	c.call("Target.createTarget", object{"url": "about:blank"}, &target)
	var attached struct {
		Session string `json:"sessionId"`
	}
	c.call("Target.attachToTarget", object{"targetId": target.ID, "flatten": true}, &attached)
	c.session = attached.Session
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		c.call(domain+".enable", nil, nil)
	}
}

// Navigate loads a page and waits until it and all it names have come.
func (c *Browser) Navigate(url string) {
	c.t.Helper()
	var went struct {
		Error string `json:"errorText"`
	}
	c.call("Page.navigate", object{"url": url}, &went)
	if went.Error != "" {
		c.t.Fatalf("open %s: %s", url, went.Error)
	}
	c.waitFor("Page.loadEventFired")
}

// waitFor waits for an event, and notes what the page complains of meanwhile.
func (c *Browser) waitFor(method string) {
	c.t.Helper()
	late := time.After(Limit)
	for {
		select {
		case m := <-c.events:
			c.note(m)
			if m.Method == method && m.Session == c.session {
				return
			}
		case <-late:
			c.t.Fatalf("no %s", method)
		}
	}
}

// Complaints returns what pages have said and what went wrong until now.
func (c *Browser) Complaints() []string {
	c.Evaluate("0", nil) // what was said before this answer is here now
	for {
		select {
		case m := <-c.events:
			c.note(m)
		default:
			return c.console
		}
	}
}

func (c *Browser) note(m message) {
	switch m.Method {
	case "Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded", "Network.loadingFailed":
		c.console = append(c.console, m.Method+" "+string(m.raw))
	}
}

// Evaluate runs an expression in the page, waits for it if it is a promise, and
// reads its value into result, unless that is nil.
func (c *Browser) Evaluate(expression string, result any) {
	c.t.Helper()
	var got struct {
		Result struct {
			Value json.RawMessage `json:"value"`
		} `json:"result"`
		Exception json.RawMessage `json:"exceptionDetails"`
	}
	c.call("Runtime.evaluate", object{"expression": expression, "awaitPromise": true, "returnByValue": true}, &got)
	if got.Exception != nil {
		c.t.Fatalf("%s: %s", expression, got.Exception)
	}
	if result != nil {
		if err := json.Unmarshal(got.Result.Value, result); err != nil {
			c.t.Fatalf("%s: %v in %s", expression, err, got.Result.Value)
		}
	}
}

// Resize makes the window so wide, in CSS pixels.
func (c *Browser) Resize(width, height int, mobile bool) {
	c.t.Helper()
	c.call("Emulation.setDeviceMetricsOverride", object{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}, nil)
}

// Prefer makes the user one who prefers a colour scheme: light or dark.
func (c *Browser) Prefer(scheme string) {
	c.t.Helper()
	c.call("Emulation.setEmulatedMedia", object{"features": []object{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
}

// Screenshot takes a picture of the whole page, as a PNG file.
func (c *Browser) Screenshot() []byte {
	c.t.Helper()
	var shot struct {
		Data string `json:"data"`
	}
	c.call("Page.captureScreenshot", object{"format": "png", "captureBeyondViewport": true}, &shot)
	data, err := base64.StdEncoding.DecodeString(shot.Data)
	if err != nil {
		c.t.Fatal(err)
	}
	return data
}

// Trust makes a home in which Chromium trusts a CA: it reads the NSS database of
// whoever runs it.
func Trust(t *testing.T, caFile string) string {
	t.Helper()
	certutil, err := exec.LookPath("certutil")
	if err != nil {
		t.Skip("cannot run: there is no certutil in PATH; scripts/packages names the package")
	}
	home := t.TempDir()
	db := filepath.Join(home, ".pki", "nssdb")
	if err := os.MkdirAll(db, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"-N", "--empty-password"}, {"-A", "-t", "C,,", "-n", "penny", "-i", caFile}} {
		cmd := exec.CommandContext(t.Context(), certutil, append([]string{"-d", "sql:" + db}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("certutil %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	return home
}
