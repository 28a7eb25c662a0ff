package control_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"pennyfarthing/internal/fleet/agent"
	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/control"
)

// many is a site of so many small files that objects go together. Most are pictures, so
// that POPs have little to code behind.
func many(name string) tree {
	tr := pages(name)
	r := rand.New(rand.NewPCG(1, 2))
	words := strings.Fields("the wheel is small and the other one is large both of them turn and nobody asks why")
	for i := range 40 {
		var b strings.Builder
		for b.Len() < 15_000 {
			fmt.Fprintf(&b, "%s %x ", words[r.IntN(len(words))], r.Uint32N(1<<16))
		}
		tr[fmt.Sprintf("many/%03d.txt", i)] = name + b.String()
	}
	for i := range 250 {
		noise := make([]byte, 20_000)
		_, _ = rand.NewChaCha8([32]byte{byte(i), byte(len(name))}).Read(noise) // never fails
		tr[fmt.Sprintf("many/%03d.png", i)] = name + string(noise)
	}
	return tr
}

// holds fails unless a POP has the files of a tree.
func (p *testPOP) holds(tr tree) {
	p.fleet.t.Helper()
	for _, name := range []string{"many/000.txt", "many/039.txt", "many/000.png", "many/125.png", "many/249.png"} {
		if _, content := p.get("/" + name); content != tr[name] {
			p.fleet.t.Errorf("%s serves %d bytes of %s", p.name, len(content), name)
		}
	}
}

func TestManySmallFilesReachPOPsOfBothVersions(t *testing.T) {
	f := newFleet(t, "old", "new", "newer")
	f.pops[0].stop()
	f.pops[0].start(func(o *agent.Options) { o.Versions = api.Versions{Min: 1, Max: 1} })
	f.pops[2].stop()
	f.pops[2].start(func(o *agent.Options) { o.Versions = api.Versions{Min: 1, Max: 3} })
	c := f.open()
	one := many("one")
	r := f.deploy(c, one)
	if r.Live() != 3 {
		t.Fatalf("reported %+v", r)
	}
	for i, p := range f.pops {
		p.holds(one)
		if sent := r.POPs[i].Sent; sent != r.POPs[0].Sent {
			t.Errorf("%s was sent %+v, and old %+v", p.name, sent, r.POPs[0].Sent)
		}
	}
	// Only what is new goes, and what has changed as its difference.
	two := many("one")
	for i := range 40 {
		two[fmt.Sprintf("many/%03d.txt", i)] += "a word more"
	}
	if r = f.deploy(c, two); r.Live() != 3 || r.POPs[1].Sent.Objects != 40 || r.POPs[1].Wire > 200_000 {
		t.Errorf("reported %+v", r.POPs)
	}
	for _, p := range f.pops {
		p.holds(two)
	}
}

// TestAStreamOfManySmallFilesThatIsCutGoesOn cuts it in its middle: what had come whole
// is there.
func TestAStreamOfManySmallFilesThatIsCutGoesOn(t *testing.T) {
	f := newFleet(t, "au")
	one := many("one")
	dir := one.dir(t)
	f.pops[0].proxy.left.Store(2_500_000)
	if _, err := f.open().Deploy(t.Context(), control.DeployOptions{Site: site, Dir: dir}); err == nil {
		t.Fatal("the deploy went through")
	}
	f.pops[0].proxy.left.Store(-1)
	r, err := f.open().Deploy(t.Context(), control.DeployOptions{Site: site, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if sent := r.POPs[0].Sent.Objects; sent == 0 || sent > len(one)*3/4 {
		t.Errorf("%d of %d objects were sent after half had arrived", sent, len(one))
	}
	f.pops[0].holds(one)
}

func TestAStreamOfManySmallFilesThatIsCorruptedIsSentAgain(t *testing.T) {
	f := newFleet(t, "au")
	one := many("one")
	f.pops[0].proxy.corrupt.Store(1_500_000)
	if r := f.deploy(f.open(), one); r.Live() != 1 {
		t.Errorf("reported %+v", r)
	}
	f.pops[0].holds(one)
}
