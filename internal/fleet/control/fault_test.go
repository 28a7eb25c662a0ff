package control_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pennyfarthing/internal/fleet/agent"
	"pennyfarthing/internal/fleet/control"
	"pennyfarthing/internal/fleet/release"
)

// large is a release of many objects that no coding makes small.
func large(name string) tree {
	tr := pages(name)
	for i := range 60 {
		noise := make([]byte, 20_000)
		_, _ = rand.Read(noise) // never fails
		tr[fmt.Sprintf("noise/%s-%d.bin", name, i)] = string(noise)
	}
	return tr
}

// TestADeployThatIsCutAnywhereGoesOn cuts the connections to one POP after so many
// bytes, again and again, whatever is under way then.
func TestADeployThatIsCutAnywhereGoesOn(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "au", "fr")
	c := f.open()
	f.deploy(c, pages("zero"))
	for i, after := range []int64{200, 40_000, 700_000} {
		name := fmt.Sprintf("cut%d", i)
		dir := large(name).dir(t)
		p := f.pops[i%2].proxy
		p.left.Store(after)
		restore := time.AfterFunc(700*time.Millisecond, func() { p.left.Store(-1) })
		r, err := c.Deploy(t.Context(), control.DeployOptions{Site: site, Dir: dir})
		restore.Stop()
		p.left.Store(-1)
		if err != nil {
			t.Fatalf("cut after %d bytes: %v", after, err)
		}
		if r.Live() < 1 {
			t.Errorf("cut after %d bytes: %+v", after, r)
		}
		again, err := c.Deploy(t.Context(), control.DeployOptions{Site: site, Dir: dir})
		if err != nil || again.Live() != 2 {
			t.Errorf("cut after %d bytes, and once more: %+v, %v", after, again, err)
		}
		f.shows(name)
	}
}

func TestWhatHasArrivedIsNotSentAgain(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "au")
	c := f.open()
	tr := pages("one")
	const objects = 200
	for i := range objects {
		noise := make([]byte, 50_000)
		_, _ = rand.Read(noise) // never fails
		tr[fmt.Sprintf("noise/%d.bin", i)] = string(noise)
	}
	dir := tr.dir(t)
	f.pops[0].proxy.left.Store(8_000_000) // of some 10,000,000; what is in buffers then is lost
	if _, err := c.Deploy(t.Context(), control.DeployOptions{Site: site, Dir: dir}); err == nil {
		t.Fatal("the deploy went through")
	}
	f.pops[0].proxy.left.Store(-1)
	r, err := c.Deploy(t.Context(), control.DeployOptions{Site: site, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if sent := r.POPs[0].Sent.Objects; sent == 0 || sent > objects*3/4 {
		t.Errorf("%d of %d objects were sent after most had arrived", sent, objects)
	}
	f.shows("one")
}

func TestWhatANetworkCorruptsIsSentAgain(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "au")
	c := f.open()
	f.pops[0].proxy.corrupt.Store(300_000)
	if r := f.deploy(c, large("one")); r.Live() != 1 {
		t.Errorf("reported %+v", r)
	}
	f.shows("one")
}

func TestASlowNetworkOnlyTakesLonger(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "au", "fr")
	f.pops[1].proxy.delay.Store(int64(20 * time.Millisecond))
	if r := f.deploy(f.open(), pages("one")); r.Live() != 2 {
		t.Errorf("reported %+v", r)
	}
	f.shows("one")
}

// TestAPOPThatDiesInADeployCatchesUp stops an agent at the beginning of each wave, and
// starts it again afterwards.
func TestAPOPThatDiesInADeployCatchesUp(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "au", "fr", "ny")
	f.deploy(f.open(), pages("start"))
	ny := f.pops[2]
	for _, wave := range []control.WaveName{control.WaveLease, control.WavePrepare, control.WaveActivate, control.WaveFinish} {
		t.Run(string(wave), func(t *testing.T) {
			var once sync.Once
			killing, err := control.Open(control.Options{StateDir: f.state, ID: f.owner.Identity(), POPs: f.where, Events: func(e control.Event) {
				if e.Kind == control.EventWave && e.Wave == wave {
					once.Do(func() {
						ny.proxy.refuse.Store(true)
						ny.proxy.cut()
						ny.stop()
					})
				}
			}})
			if err != nil {
				t.Fatal(err)
			}
			defer killing.Close()
			r, err := killing.Deploy(t.Context(), control.DeployOptions{Site: site, Dir: pages(string(wave)).dir(t)})
			if err != nil {
				t.Fatal(err)
			}
			f.shows(string(wave), f.pops[0], f.pops[1])
			if want := map[bool]int{true: 3, false: 2}[wave == control.WaveFinish]; r.Live() != want {
				t.Errorf("live on %d: %+v", r.Live(), r.POPs)
			}
			ny.proxy.refuse.Store(false)
			ny.start()
			if _, err := f.open().CatchUp(t.Context(), control.RollbackOptions{Site: site}); err != nil {
				t.Fatal(err)
			}
			f.shows(string(wave))
		})
	}
}

// TestCtrlCAnywhereLeavesOneRelease ends a deploy at its first step of each kind.
func TestCtrlCAnywhereLeavesOneRelease(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "au", "fr")
	f.deploy(f.open(), pages("start"))
	before := "start"
	for _, do := range []control.Action{control.ActionLease, control.ActionOffer, control.ActionSend, control.ActionStage, control.ActionKnock, control.ActionActivate, control.ActionVerify} {
		t.Run(string(do), func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			c, err := control.Open(control.Options{StateDir: f.state, ID: f.owner.Identity(), POPs: f.where, Events: func(e control.Event) {
				if e.Kind == control.EventStep && e.Do == do {
					cancel()
				}
			}})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			dir := pages(string(do)).dir(t)
			_, err = c.Deploy(ctx, control.DeployOptions{Site: site, Dir: dir})
			switch {
			case err == nil && do != control.ActionVerify: // which may have been the last step
				t.Error("it went through")
			case err != nil && !errors.Is(err, context.Canceled):
				t.Errorf("got %v", err)
			case err != nil:
				f.shows(before)
			}
			if _, err := f.open().Deploy(t.Context(), control.DeployOptions{Site: site, Dir: dir}); err != nil {
				t.Errorf("once more: %v", err)
			}
			f.shows(string(do))
			before = string(do)
		})
	}
}

// TestAPOPThatServesSomethingElseTakesTheReleaseBack has visitors of one POP reach
// another fleet's: what was activated is not what is served.
func TestAPOPThatServesSomethingElseTakesTheReleaseBack(t *testing.T) {
	t.Parallel()
	other := newFleet(t, "xx")
	other.deploy(other.open(), pages("other"))
	f := newFleet(t, "au", "fr")
	f.where.Roots = both(t, f.where.Roots, other.where.Roots)
	f.deploy(f.open(), pages("one"))
	for _, wrong := range []int{0, 1} {
		right := f.where.POPs[wrong].Edge
		f.where.POPs[wrong].Edge = other.where.POPs[0].Edge
		_, err := f.open().Deploy(t.Context(), control.DeployOptions{Site: site, Dir: pages("two").dir(t)})
		undone, ok := errors.AsType[*control.UndoneError](err)
		differs, differsOK := errors.AsType[*control.DiffersError](err)
		if !ok || !differsOK || undone.Failed != nil || differs.POP != f.pops[wrong].name {
			t.Fatalf("got %v", err)
		}
		f.shows("one")
		f.where.POPs[wrong].Edge = right
		if checked, err := f.open().Verify(t.Context(), site, false); err != nil || !checked.OK() {
			t.Errorf("afterwards: %+v, %v", checked, err)
		}
	}
}

func both(t *testing.T, files ...string) string {
	t.Helper()
	var all []byte
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, data...)
	}
	out := filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(out, all, 0o600); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestAnEdgeThatDidNotAnswerBeforeIsNotTheReleasesFault(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "au", "fr")
	l, err := net.Listen("tcp", "127.0.0.1:0") // answers nothing
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close() // or nobody at all
	right := f.where.POPs[1].Edge
	f.where.POPs[1].Edge = l.Addr().String()
	r := f.deploy(f.open(), pages("one"))
	if r.Live() != 2 || len(r.POPs[1].Verified.Unasked) != 3 || len(r.POPs[0].Verified.Unasked) != 0 {
		t.Errorf("reported %+v, %+v", r, r.POPs[1].Verified)
	}
	checked, err := f.open().Verify(t.Context(), site, false)
	if err != nil || checked.OK() {
		t.Errorf("verify says nothing of it: %+v, %v", checked, err)
	}
	f.where.POPs[1].Edge = right
	f.shows("one")
}

func TestAFullDiskIsSeenBeforeAnythingIsSent(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "au", "fr")
	c := f.open()
	f.deploy(c, pages("one"))
	fr := f.pops[1]
	fr.stop()
	fr.start(func(o *agent.Options) { o.Disk = 200_000 })
	_, err := f.open().Deploy(t.Context(), control.DeployOptions{Site: site, Dir: large("two").dir(t)})
	if err == nil || !strings.Contains(err.Error(), "fr has no room") {
		t.Errorf("got %v", err)
	}
	f.shows("one")
}

func TestAFileThatChangesMeanwhileEndsTheDeploy(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "au")
	dir := large("one").dir(t)
	c, err := control.Open(control.Options{StateDir: f.state, ID: f.owner.Identity(), POPs: f.where, Events: func(e control.Event) {
		if e.Kind == control.EventStep && e.Do == control.ActionOffer {
			tree{"noise/one-59.bin": "another", "style.css": strings.Repeat("another", 1000)}.write(t, dir)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = c.Deploy(t.Context(), control.DeployOptions{Site: site, Dir: dir})
	if _, changed := errors.AsType[*control.ChangedError](err); !changed {
		t.Fatalf("got %v", err)
	}
	if r, err := f.open().Deploy(t.Context(), control.DeployOptions{Site: site, Dir: dir}); err != nil || r.Live() != 1 {
		t.Errorf("once more: %+v, %v", r, err)
	}
}

// TestNobodySeesHalfARelease has visitors fetch pages throughout deploys and rollbacks:
// every answer is whole, of one release, and never an error.
func TestNobodySeesHalfARelease(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "au", "fr")
	c := f.open()
	f.deploy(c, pages("r0"))
	ctx, stop := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	asked := make([]int, len(f.pops))
	for i, p := range f.pops {
		wait.Go(func() {
			for ctx.Err() == nil {
				status, content := p.get("/about")
				if status != 200 || !strings.HasPrefix(content, "about r") {
					t.Errorf("%s answers %d %q", p.name, status, content)
				}
				asked[i]++
			}
		})
	}
	for i := range 3 {
		f.deploy(c, pages(fmt.Sprintf("r%d", i+1)))
		if _, err := c.Rollback(t.Context(), control.RollbackOptions{Site: site}); err != nil {
			t.Error(err)
		}
	}
	stop()
	wait.Wait()
	for i, n := range asked {
		if n == 0 {
			t.Errorf("nobody asked %s", f.pops[i].name)
		}
	}
}

// TestAPOPThatHasLostWhatAnObjectRefersToIsSentAllOfIt removes the old version of a file
// behind an agent's back.
func TestAPOPThatHasLostWhatAnObjectRefersToIsSentAllOfIt(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "au", "fr")
	c := f.open()
	tr := pages("one")
	noise := make([]byte, 100_000)
	_, _ = rand.Read(noise) // never fails
	tr["large.bin"] = string(noise)
	f.deploy(c, tr)
	old := release.HashOf(noise).String()
	lost := filepath.Join(f.pops[0].dir, "store", "objects", old[:2], old)
	if err := os.Remove(lost); err != nil {
		t.Fatal(err)
	}
	tr["large.bin"] = string(noise[:50_000]) + "changed" + string(noise[50_000:])
	r := f.deploy(c, tr)
	if r.Live() != 2 || r.POPs[0].Wire < 100_000 || r.POPs[1].Wire > 50_000 {
		t.Errorf("reported %+v", r.POPs)
	}
	if _, content := f.pops[0].get("/large.bin"); content != tr["large.bin"] {
		t.Errorf("it serves %d bytes", len(content))
	}
}
