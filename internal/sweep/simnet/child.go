package simnet

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// Ready is what a simulated internet of its own process says of itself, as a line of
// JSON, as soon as it answers.
type Ready struct {
	DNS      string   `json:"dns"`   // address and port of the resolver
	HTTP     uint16   `json:"http"`  // the port that stands for 80
	HTTPS    uint16   `json:"https"` // the port that stands for 443
	Admin    string   `json:"admin"` // address and port of the faults' switches; empty for none
	Profile  string   `json:"profile"`
	Seed     uint64   `json:"seed"`
	CA       string   `json:"ca"`       // PEM, of the root
	Controls []string `json:"controls"` // names that always answer
}

// Final is what it says when it ends.
type Final struct {
	Stats
	UserSeconds   float64 `json:"cpu_user_s"` // of its own process
	SystemSeconds float64 `json:"cpu_system_s"`
}

// ChildConfig says which simulated internet to start, and how.
type ChildConfig struct {
	Penny   string // the program
	Profile Profile
	Seed    uint64
	Latency float64   // as in [Config]
	Loss    float64   // as in [Config]
	Admin   bool      // with switches, on a free port
	Stderr  io.Writer // of the child; nil for nowhere
}

// A Child is a simulated internet in a process of its own, on free ports. It ends
// when [Child.Stop] is called and when this process does, however that ends: its
// standard input is a pipe from here, and it ends when that does.
type Child struct {
	Ready Ready

	process *exec.Cmd
	input   io.WriteCloser
	output  *bufio.Reader
}

const (
	childPatience = 30 * time.Second // for it to start, and to end
	lineMost      = 64 << 10         // bytes of a line that it prints
)

// StartChild starts one and waits until it answers.
func StartChild(ctx context.Context, c ChildConfig) (*Child, error) {
	args := []string{
		"simnet", "--json", "--until-eof", "--dns", "127.0.0.1:0", "--http", "0", "--https", "0",
		"--profile", c.Profile.String(), "--seed", strconv.FormatUint(c.Seed, 10),
		"--latency", strconv.FormatFloat(c.Latency, 'f', -1, 64), "--loss", strconv.FormatFloat(c.Loss*100, 'f', -1, 64),
	}
	if c.Admin {
		args = append(args, "--admin", "127.0.0.1:0")
	}
	child := &Child{process: exec.Command(c.Penny, args...)} //nolint:noctx // it ends by its input, and says then what it did
	child.process.Stderr = c.Stderr
	child.process.Env = append(os.Environ(), "GOGC=400") // it has little, and collects it often
	separate(child.process)
	var err error
	if child.input, err = child.process.StdinPipe(); err != nil {
		return nil, fmt.Errorf("start the simulated internet: %w", err)
	}
	output, err := child.process.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start the simulated internet: %w", err)
	}
	child.output = bufio.NewReaderSize(output, lineMost)
	if err := child.process.Start(); err != nil {
		return nil, fmt.Errorf("start the simulated internet: %w", err)
	}
	if err := child.next(ctx, &child.Ready); err != nil {
		child.input.Close()
		_ = child.process.Process.Kill()
		return nil, fmt.Errorf("start the simulated internet: %w", errors.Join(err, child.process.Wait()))
	}
	return child, nil
}

// next reads the next line that the child prints.
func (c *Child) next(ctx context.Context, into any) error {
	ctx, cancel := context.WithTimeoutCause(ctx, childPatience, errors.New("it says nothing"))
	defer cancel()
	read := make(chan error, 1) // so that nobody waits where nobody listens
	go func() {
		line, err := c.output.ReadSlice('\n')
		if err == nil {
			err = json.Unmarshal(line, into)
		}
		read <- err
	}()
	select {
	case err := <-read:
		if errors.Is(err, io.EOF) {
			return errors.New("it ended")
		}
		return err
	case <-ctx.Done():
		_ = c.process.Process.Kill() // which ends the reading
		<-read
		return context.Cause(ctx)
	}
}

// Stop ends the child and returns what it did.
func (c *Child) Stop(ctx context.Context) (Final, error) {
	c.input.Close()
	var f Final
	if err := errors.Join(c.next(ctx, &f), c.process.Wait()); err != nil {
		return f, fmt.Errorf("end the simulated internet: %w", err)
	}
	return f, nil
}

// Cut does what [Server.Cut] does, by the switch that ChildConfig.Admin asked for.
func (c *Child) Cut(ctx context.Context, cut bool) error {
	return c.put(ctx, "cut", map[bool]string{true: "on", false: "off"}[cut])
}

// ThrottleDNS does what [Server.ThrottleDNS] does, by the switch that
// ChildConfig.Admin asked for.
func (c *Child) ThrottleDNS(ctx context.Context, perSecond int) error {
	return c.put(ctx, "throttle", strconv.Itoa(perSecond))
}

func (c *Child) put(ctx context.Context, what, text string) error {
	if c.Ready.Admin == "" {
		return fmt.Errorf("switch %s of the simulated internet: it was started without switches", what)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://"+c.Ready.Admin+"/"+what, strings.NewReader(text))
	if err != nil {
		return fmt.Errorf("switch %s of the simulated internet: %w", what, err)
	}
	request.Close = true // it may have closed a connection that was idle
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("switch %s of the simulated internet: %w", what, err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusNoContent {
		return fmt.Errorf("switch %s of the simulated internet: it says %s", what, answer.Status)
	}
	return nil
}
