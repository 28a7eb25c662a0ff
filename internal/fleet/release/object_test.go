package release

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestObjectsAreNumberedByTheFilesThatHaveThemFirst(t *testing.T) {
	m := &Manifest{Files: []File{{Path: "a", Hash: Hash{2}, Size: 5}, {Path: "b", Hash: Hash{1}, Size: 6}, {Path: "c", Hash: Hash{2}, Size: 5}, {Path: "d", Hash: Hash{3}}}}
	want := []Object{{Hash{2}, 5}, {Hash{1}, 6}, {Hash{3}, 0}}
	if diff := cmp.Diff(want, m.Objects()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWhatRunsNameIsWhatTheyWereMadeOf(t *testing.T) {
	objects := make([]Object, 50)
	for i := range objects {
		objects[i].Hash = HashOf(fmt.Append(nil, i))
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		chosen, share := make(map[Hash]bool), r.Float64()
		var want []Object
		for _, o := range objects {
			if r.Float64() < share {
				chosen[o.Hash], want = true, append(want, o)
			}
		}
		runs := Runs(objects, func(h Hash) bool { return chosen[h] })
		got, err := Pick(objects, runs)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Fatalf("%v: %v (-want +got):\n%s", runs, err, diff)
		}
	}
}

func TestRunsThatLieOutsideOfTheReleaseAreRefused(t *testing.T) {
	const most = int(^uint(0) >> 1)
	objects := make([]Object, 10)
	for _, runs := range [][]Run{{{0, 11}}, {{10, 1}}, {{-1, 2}}, {{3, 0}}, {{3, -1}}, {{5, 2}, {6, 1}}, {{most, 1}}, {{1, most}}, {{-most, most}}} {
		if got, err := Pick(objects, runs); err == nil {
			t.Errorf("%v: %d objects", runs, len(got))
		}
	}
}
