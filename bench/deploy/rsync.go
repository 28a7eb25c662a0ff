//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"time"

	"pennyfarthing/bench/debian"
)

// rsyncSide is rsync over SSH to one sshd of its own, each destination by a port, and so by a proxy, of its own.
type rsyncSide struct {
	spawn   *spawner
	dir     string
	network *network
	sshd    *daemon
	port    string
}

// runtimeDir is what an sshd that root starts must find. Where it is missing, the sshd gets one in a mount namespace of its
// own, and the machine's /run stays as it is.
const runtimeDir = "/run/sshd"

func newRsync(ctx context.Context, spawn *spawner, dir string) (_ *rsyncSide, err error) {
	s := &rsyncSide{spawn: spawn, dir: dir}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	for _, name := range []string{"host", "user"} {
		key := exec.CommandContext(ctx, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f", filepath.Join(dir, name))
		if out, err := key.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("make an SSH key: %w: %s", err, out)
		}
	}
	if err := s.startSSHD(ctx); err != nil {
		return nil, err
	}
	if err := s.weather(ctx, near()); err != nil {
		return nil, err
	}
	return s, s.reset(ctx)
}

// startSSHD starts the server at a free port.
func (s *rsyncSide) startSSHD(ctx context.Context) error {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	_, s.port, err = net.SplitHostPort(l.Addr().String())
	if err = errors.Join(err, l.Close()); err != nil { // nobody else takes it so soon
		return err
	}
	public, err := os.ReadFile(filepath.Join(s.dir, "user.pub"))
	if err == nil {
		err = os.WriteFile(filepath.Join(s.dir, "authorized"), public, 0o600)
	}
	if err != nil {
		return err
	}
	text := fmt.Sprintf("ListenAddress 127.0.0.1:%s\nHostKey %s\nAuthorizedKeysFile %s\nPidFile none\nStrictModes no\nUsePAM no\n"+
		"PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nMaxStartups 100\n",
		s.port, filepath.Join(s.dir, "host"), filepath.Join(s.dir, "authorized"))
	file := filepath.Join(s.dir, "sshd_config")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	program, err := debian.Find("sshd") // it has to be started by its whole path
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, program, "-D", "-e", "-f", file)
	if _, err := os.Stat(runtimeDir); errors.Is(err, fs.ErrNotExist) && os.Geteuid() == 0 {
		script := `mount -t tmpfs none /run && mkdir -m 755 ` + runtimeDir + ` && exec "$@"`
		cmd = exec.CommandContext(ctx, "unshare", append([]string{"--mount", "sh", "-c", script, "sh"}, cmd.Args...)...)
	}
	var said bytes.Buffer
	cmd.Stderr = &said
	if s.sshd, err = s.spawn.daemon(cmd); err != nil {
		return err
	}
	for end := time.Now().Add(stopPatience); ; time.Sleep(10 * time.Millisecond) {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", "127.0.0.1:"+s.port)
		if err == nil {
			return conn.Close()
		}
		if time.Now().After(end) {
			s.sshd.stop()
			return fmt.Errorf("sshd does not answer: %w: %s", err, lastLines(said.String()))
		}
	}
}

func (s *rsyncSide) name() string { return "rsync" }

func (s *rsyncSide) destination(name string) string { return filepath.Join(s.dir, "to", name) }

func (s *rsyncSide) reset(context.Context) error {
	for _, name := range destinations() {
		if err := os.RemoveAll(s.destination(name)); err != nil {
			return err
		}
		if err := os.MkdirAll(s.destination(name), 0o755); err != nil {
			return err
		}
	}
	return nil
}

func (s *rsyncSide) weather(ctx context.Context, w weather) error {
	if s.network != nil {
		s.network.shut()
	}
	s.network = newNetwork(context.WithoutCancel(ctx), w)
	me, err := user.Current()
	if err != nil {
		return err
	}
	host, err := os.ReadFile(filepath.Join(s.dir, "host.pub"))
	if err != nil {
		return err
	}
	known := filepath.Join(s.dir, "known")
	if err := os.WriteFile(known, append([]byte("destination "), host...), 0o600); err != nil {
		return err
	}
	var text strings.Builder
	for _, name := range destinations() {
		at, err := s.network.tcp("127.0.0.1:"+s.port, false)
		if err != nil {
			return err
		}
		_, port, err := net.SplitHostPort(at)
		if err != nil {
			return err
		}
		fmt.Fprintf(&text, "Host %s\n  HostName 127.0.0.1\n  Port %s\n  User %s\n", name, port, me.Username)
	}
	fmt.Fprintf(&text, "Host *\n  HostKeyAlias destination\n  IdentityFile %s\n  IdentitiesOnly yes\n  UserKnownHostsFile %s\n  BatchMode yes\n",
		filepath.Join(s.dir, "user"), known)
	return os.WriteFile(filepath.Join(s.dir, "ssh_config"), []byte(text.String()), 0o600)
}

func (s *rsyncSide) deploy(ctx context.Context, t *tree, c change) (sample, error) {
	cmd := exec.Command("xargs", "-P0", "-I{}", "rsync", "-az", "--delete", //nolint:noctx // the spawner ends it
		"-e", "ssh -F "+filepath.Join(s.dir, "ssh_config"), t.dir+"/", "{}:"+filepath.Join(s.dir, "to")+"/{}/")
	cmd.Stdin = strings.NewReader(strings.Join(destinations(), "\n") + "\n")
	out, err := measure(s.network, []*daemon{s.sshd}, func() (time.Duration, time.Duration, error) {
		_, took, cpu, err := s.spawn.run(ctx, cmd)
		return took, cpu, err
	})
	if err != nil {
		return out, err
	}
	return out, s.check(t, c)
}

// checked is how many files of a first deploy are compared.
const checked = 50

// check compares what arrived.
func (s *rsyncSide) check(t *tree, c change) error {
	names := c.names
	if c.first {
		for i := 0; i < t.files; i += max(t.files/checked, 1) {
			names = append(names, t.path(i))
		}
	}
	for _, name := range names {
		want, err := os.ReadFile(filepath.Join(t.dir, name))
		if err != nil {
			return err
		}
		for _, to := range destinations() {
			got, err := os.ReadFile(filepath.Join(s.destination(to), name))
			if err != nil || !bytes.Equal(got, want) {
				return fmt.Errorf("rsync: %s has not arrived at %s: %w", name, to, errors.Join(err))
			}
		}
	}
	return nil
}

func (s *rsyncSide) pause(paused bool) error { return s.sshd.pause(paused) }

// rest has nothing to wait for: what rsync was given is done when it ends.
func (s *rsyncSide) rest(context.Context) error { return nil }

func (s *rsyncSide) version() string {
	out, err := exec.Command("rsync", "--version").Output() //nolint:noctx // it only prints
	first, _, _ := strings.Cut(string(out), "\n")
	ssh, sshErr := exec.Command("ssh", "-V").CombinedOutput() //nolint:noctx // it only prints
	if err != nil || sshErr != nil {
		return "unknown"
	}
	fields := strings.Fields(first)
	secure, _, _ := strings.Cut(string(ssh), ",")
	return strings.Join(fields[:min(len(fields), 3)], " ") + " over " + secure
}

func (s *rsyncSide) tell(out io.Writer) {
	fmt.Fprintf(out, "rsync: ssh -F %s a; destinations in %s\n", filepath.Join(s.dir, "ssh_config"), filepath.Join(s.dir, "to"))
}

func (s *rsyncSide) close() {
	if s.sshd != nil {
		s.sshd.stop()
	}
	if s.network != nil {
		s.network.shut()
	}
}
