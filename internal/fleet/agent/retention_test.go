package agent

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/release"
)

func TestWhichReleasesAreKept(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	ago := func(days int) time.Time { return now.AddDate(0, 0, -days) }
	active := func(days int) *record { return &record{Here: ago(days), Staged: ago(days), Active: ago(days)} }
	staged := func(days int) *record { return &record{Here: ago(days), Staged: ago(days)} }
	incoming := func(days int) *record { return &record{Here: ago(days)} }
	id := func(n byte) release.Hash { return release.Hash{n} }
	many := map[release.Hash]*record{}
	for i := range byte(20) {
		many[id(i)] = active(10 + int(i))
	}
	for _, c := range []struct {
		name    string
		records map[release.Hash]*record
		serving []release.Hash
		rule    api.Retention
		want    []byte
	}{
		{"nothing", nil, nil, api.Retention{}, nil},
		{"the last ten", many, []release.Hash{id(0)}, api.Retention{}, []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}},
		{"as many as are asked for", many, []release.Hash{id(0)}, api.Retention{Releases: 2}, []byte{0, 1}},
		{"as long as is asked for", many, []release.Hash{id(0)}, api.Retention{Releases: 1, Age: 13 * 24 * 3600}, []byte{0, 1, 2}},
		{"what is served, however old", many, []release.Hash{id(19)}, api.Retention{Releases: 1}, []byte{0, 19}},
		{"what is served beside its head", many, []release.Hash{id(18), id(19)}, api.Retention{Releases: 1}, []byte{0, 18, 19}},
		{
			"all of the last week, incoming ones too",
			map[release.Hash]*record{id(1): active(1), id(2): staged(6), id(3): incoming(6), id(4): incoming(8), id(5): staged(8)},
			[]release.Hash{id(1)},
			api.Retention{},
			[]byte{1, 2, 3},
		},
		{
			"what was staged since the last activation",
			map[release.Hash]*record{id(1): active(30), id(2): staged(20), id(3): staged(40), id(4): incoming(20)},
			[]release.Hash{id(1)},
			api.Retention{},
			[]byte{1, 2},
		},
		{
			"rollback targets, however much was staged in vain",
			map[release.Hash]*record{id(1): active(30), id(2): active(40), id(3): staged(41), id(4): staged(42)},
			[]release.Hash{id(1)},
			api.Retention{Releases: 2},
			[]byte{1, 2},
		},
		{
			"a release of last year that was rolled back to yesterday",
			map[release.Hash]*record{id(1): {Here: ago(365), Staged: ago(365), Active: ago(1)}, id(2): active(3)},
			[]release.Hash{id(2)},
			api.Retention{Releases: 1},
			[]byte{1, 2},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []byte
			for kept := range keepers(c.records, c.serving, c.rule, now) {
				got = append(got, kept[0])
			}
			slices.Sort(got)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}
