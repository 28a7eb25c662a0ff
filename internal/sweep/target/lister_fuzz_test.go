package target_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/sweep/target"
)

func FuzzLister(f *testing.F) {
	f.Add([]byte("example.com\nexample.org\n"), "", uint8(1))
	f.Add([]byte("\"Rank\",\"Domain\"\r\n\"1\",\"a.b\"\r\n\"2\",\"c\nd\"\r\n"), "", uint8(2))
	f.Add([]byte("a\tb.c\n#\n\n\"\t\"\"\n"), "2", uint8(3))
	f.Add([]byte("x;y\n\"a;\nb.c;d.e\n"), "x", uint8(1))
	f.Fuzz(func(t *testing.T, list []byte, column string, size uint8) {
		o := target.Options{Column: column, ShardSize: int(size%8) + 1}
		open := func() *target.Lister {
			o.Stdin = bytes.NewReader(list)
			l, err := target.Open([]string{"-"}, o)
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
		l := open()
		seen := map[string]bool{}
		var shards []*target.Shard
		for {
			shard, err := l.Next(t.Context())
			if err != nil {
				break
			}
			shards = append(shards, shard)
			for _, item := range shard.Items {
				if seen[item.Target] {
					t.Errorf("%q comes twice", item.Target)
				}
				seen[item.Target] = true
				if p, err := target.Parse(item.Target); err != nil || p.String() != item.Target {
					t.Errorf("%q is not in its normal form: %q, %v", item.Target, p, err)
				}
			}
		}
		stats := l.Stats()
		if stats.Targets != int64(len(seen)) {
			t.Errorf("%d targets, and the counts say %d", len(seen), stats.Targets)
		}
		if most := int64(bytes.Count(list, []byte("\n")) + 1); stats.Lines > most {
			t.Errorf("%d lines of %d", stats.Lines, most)
		}
		if len(shards) > 1 {
			again := open()
			at := shards[len(shards)/2-1]
			if err := again.Skip(t.Context(), at.End); err != nil {
				t.Fatal(err)
			}
			got, err := again.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(shards[len(shards)/2], got); diff != "" {
				t.Error(diff)
			}
		}
	})
}
