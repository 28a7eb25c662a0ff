package target_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/sweep/target"
)

func FuzzCodec(f *testing.F) {
	codec, err := target.NewCodec()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(codec.Encode([]target.Item{{1, "a.example"}, {-5, ""}, {1 << 62, "https://example.com/"}}))
	f.Add(codec.Encode(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		items, err := codec.Decode(data)
		if err != nil {
			return
		}
		again, err := codec.Decode(codec.Encode(items))
		if err != nil || !slices.Equal(items, again) {
			t.Errorf("%v becomes %v, %v", items, again, err)
		}
	})
}

func TestAShardIsReadBackAsItWasWritten(t *testing.T) {
	codec, err := target.NewCodec()
	if err != nil {
		t.Fatal(err)
	}
	items := []target.Item{{7, "a.example"}, {3, "b.example"}, {3, "https://example.com/?q"}}
	data := codec.Encode(items)
	got, err := codec.Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(items, got); diff != "" {
		t.Error(diff)
	}
	for cut := range data {
		if got, err := codec.Decode(data[:cut]); err == nil {
			t.Errorf("%d of %d bytes are read as %v", cut, len(data), got)
		}
	}
	data[0]++
	if _, err := codec.Decode(data); err == nil || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("another version: %v", err)
	}
}
