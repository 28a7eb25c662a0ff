package api_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/fleet/api"
)

func TestTwoSidesOneVersionApartSpeakTheOlder(t *testing.T) {
	for _, c := range []struct {
		name     string
		mine     api.Versions
		theirs   api.Versions
		want     int
		together bool
	}{
		{"the same", api.Versions{Min: 1, Max: 1}, api.Versions{Min: 1, Max: 1}, 1, true},
		{"a newer agent", api.Versions{Min: 1, Max: 2}, api.Versions{Min: 2, Max: 3}, 2, true},
		{"a newer client", api.Versions{Min: 2, Max: 3}, api.Versions{Min: 1, Max: 2}, 2, true},
		{"two versions apart", api.Versions{Min: 1, Max: 1}, api.Versions{Min: 2, Max: 3}, 0, false},
		{"nothing", api.Versions{}, api.Versions{}, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ok := c.mine.Common(c.theirs)
			if ok != c.together || ok && got != c.want {
				t.Errorf("got version %d, %v; want %d, %v", got, ok, c.want, c.together)
			}
			if ok && (!c.mine.Has(got) || !c.theirs.Has(got)) {
				t.Errorf("version %d is not one of both", got)
			}
		})
	}
}

func TestAPathIsEscapedAndHasItsVersion(t *testing.T) {
	if got, want := api.Path(1, "sites", "a/b?c", "head"), "/v1/sites/a%2Fb%3Fc/head"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for path, want := range map[string]int{"/v1/status": 1, "/v12": 12, "/v0/x": 0, "/v01/x": 0, "/v/x": 0, "/status": 0, "/v-1/x": 0, "/v99999999999999999999/x": 0} {
		got, ok := api.PathVersion(path)
		if ok != (want > 0) || got != want {
			t.Errorf("%s: got version %d, %v; want %d", path, got, ok, want)
		}
	}
}

func TestAnErrorKeepsWhatAClientBranchesOn(t *testing.T) {
	in := &api.Error{
		Status: http.StatusInsufficientStorage, Message: "no room", Hint: "make some", Code: api.CodeDiskFull,
		Disk:  &api.Shortage{Need: 4, Free: 3, Used: 2, Budget: 5},
		Lease: &api.Lease{Holder: "ada", Key: "pk1x", Expires: time.Unix(1_800_000_000, 0).UTC(), Left: time.Second},
	}
	data, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	out := &api.Error{Status: in.Status} // comes with the answer, not with its body
	if err := json.Unmarshal(data, out); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(in, out); diff != "" {
		t.Errorf("(-sent +read)\n%s", diff)
	}
}

func TestAReaderIgnoresFieldsThatItDoesNotKnow(t *testing.T) {
	var s api.Status
	if err := json.Unmarshal([]byte(`{"pop":"au","api":{"min":1,"max":2,"next":3},"weather":"fine","sites":[{"site":"a.org","mood":1}]}`), &s); err != nil {
		t.Fatal(err)
	}
	if s.POP != "au" || s.API.Max != 2 || len(s.Sites) != 1 || s.Sites[0].Site != "a.org" {
		t.Errorf("read %+v", s)
	}
}
