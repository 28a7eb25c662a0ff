package sweep_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pennyfarthing/internal/sweep/simnet"
	"pennyfarthing/test/program"
)

func TestARunThatIsKilledTwentyTimesHasEveryRowOnce(t *testing.T) {
	t.Parallel()
	const kills = 20
	i := startInternet(t, 30_000, simnet.ChildConfig{Profile: simnet.Quick})
	dir := filepath.Join(t.TempDir(), "run")
	// A part is written when its slowest target has its row. So these are quick.
	policy := simnet.Policy{HTTPS: simnet.Never}
	again := i.sweep("-o", dir, "--quiet", "--https", "never", "--www=false", "--follow", "0", "--retries", "0", "--timeout", "1s")
	args, random := again, rand.New(rand.NewPCG(4, 2))
	for kill := 0; kill < kills; {
		p := program.Start(t, penny, args...)
		// The first ones hit the beginning, the others any moment of some shards.
		limit := time.Duration(50*(kill+1)) * time.Millisecond
		if kill > 5 {
			limit = 6 * time.Second
		}
		select {
		case <-time.After(time.Duration(random.Int64N(int64(limit)))):
			p.Signal(syscall.SIGKILL)
			kill++
		case <-p.Ended(): // it was quicker: the next one is another run's
			i.mustBeTrue(t, dir, policy)
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			args = again
			continue
		}
		<-p.Ended()
		c := i.compare(t, dir, policy) // every part that is there is whole
		t.Logf("after kill %d: %d rows", kill, c.rows)
		if c.double+c.wrong > 0 {
			t.Fatalf("after kill %d: %d double rows, %d wrong\n%s", kill, c.double, c.wrong, strings.Join(c.examples, "\n"))
		}
		if args = again; kill%2 == 1 && c.rows > 0 { // by either command
			args = i.resume(dir)
		}
	}
	if s := program.Start(t, penny, again...); s.Wait(runLimit) != nil && !strings.Contains(s.Stderr(), "finished run") {
		t.Fatalf("it does not go on: %s", s.Stderr())
	}
	i.mustBeTrue(t, dir, policy)
}

func TestCtrlCEndsARunThatResumeGoesOnWith(t *testing.T) {
	t.Parallel()
	for _, engine := range engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			// With real latency many are under way when it comes, and many hang.
			i := startInternet(t, 1500, simnet.ChildConfig{Profile: simnet.Hostile, Latency: 1})
			dir := filepath.Join(t.TempDir(), "run")
			p := program.Start(t, penny, i.sweep("-o", dir, "--engine", engine, "--https", "never")...)
			time.Sleep(3 * time.Second)
			p.Signal(syscall.SIGINT)
			began := time.Now()
			err := p.Wait(15 * time.Second)
			t.Logf("it took %v", time.Since(began))
			exit, ok := errors.AsType[*exec.ExitError](err)
			if !ok || exit.ExitCode() != 1 {
				t.Errorf("it ended with %v, want exit code 1", err)
			}
			if want := "hint: penny sweep resume " + dir + " goes on"; !strings.Contains(p.Stderr(), want) {
				t.Errorf("%q is not said: %s", want, p.Stderr())
			}
			if err := os.Remove(i.path("names.txt")); err != nil { // it was read to its end
				t.Fatal(err)
			}
			finish(t, append(i.resume(dir), "--quiet"))
			i.mustBeTrue(t, dir, plainHTTP())
			if s := report(t, dir); s.Run.Sessions != 2 {
				t.Errorf("%d sessions are reported, want 2", s.Run.Sessions)
			}
		})
	}
}
