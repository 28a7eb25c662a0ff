package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// maxNames is how many names a [Frequent] keeps. More than a thousand networks are
// of no use in a report; the rest makes the counts of those right.
const maxNames = 8192

// Frequent counts names of which there may be millions, and keeps the frequent ones
// (the algorithm of Misra and Gries, with the batches of Anderson et al., 2017: when
// there are too many names, the median count is taken from all).
//
// Up to maxNames different names it is exact. Beyond that a count may be too low by
// [Frequent.Error] at most; that is never more than a 4096th of all that was counted,
// and what is more frequent than that is in it for certain. Merging keeps both. The
// zero value is empty.
type Frequent struct {
	counts map[string]int64
	total  int64
	err    int64
}

// A Count is a name and how often it was seen, at least.
type Count struct {
	Name  string `json:"name"`
	Count int64  `json:"count"`
}

// Add counts a name. Empty names are not counted.
func (f *Frequent) Add(name string) {
	if name != "" {
		f.add(name, 1)
		f.total++
	}
}

func (f *Frequent) add(name string, n int64) {
	if f.counts == nil {
		f.counts = make(map[string]int64)
	}
	if _, ok := f.counts[name]; !ok {
		name = strings.Clone(name) // it may be a part of a large buffer
	}
	f.counts[name] += n
	if len(f.counts) > maxNames {
		f.purge()
	}
}

// purge takes the median from all counts, which empties half of them.
func (f *Frequent) purge() {
	all := make([]int64, 0, len(f.counts))
	for _, n := range f.counts {
		all = append(all, n)
	}
	slices.Sort(all)
	median := all[len(all)/2]
	for name, n := range f.counts {
		if n <= median {
			delete(f.counts, name)
		} else {
			f.counts[name] = n - median
		}
	}
	f.err += median
}

// Merge adds all of another one.
func (f *Frequent) Merge(o *Frequent) {
	for _, c := range o.sorted() { // in an order, so that a purge is the same each time
		f.add(c.Name, c.Count)
	}
	f.total += o.total
	f.err += o.err
}

// Total is how many names were counted.
func (f *Frequent) Total() int64 { return f.total }

// Error is by how much a count may be too low; 0 where all are exact.
func (f *Frequent) Error() int64 { return f.err }

// Top are the n most frequent names, those with the same count by name.
func (f *Frequent) Top(n int) []Count {
	all := f.sorted()
	return all[:min(n, len(all))]
}

func (f *Frequent) sorted() []Count {
	all := make([]Count, 0, len(f.counts))
	for name, n := range f.counts {
		all = append(all, Count{name, n})
	}
	slices.SortFunc(all, func(a, b Count) int { return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Name, b.Name)) })
	return all
}

type frequentJSON struct {
	Total int64   `json:"total"`
	Error int64   `json:"too_low_by_at_most"`
	Top   []Count `json:"top"`
}

// MarshalJSON writes all names, the most frequent first.
func (f Frequent) MarshalJSON() ([]byte, error) {
	return json.Marshal(frequentJSON{f.total, f.err, f.sorted()})
}

// UnmarshalJSON reads them back.
func (f *Frequent) UnmarshalJSON(data []byte) error {
	var in frequentJSON
	if err := json.Unmarshal(data, &in); err != nil {
		return err
	}
	if len(in.Top) > maxNames {
		return fmt.Errorf("read frequent names: there are %d, and %d at most", len(in.Top), maxNames)
	}
	*f = Frequent{total: in.Total, err: in.Error}
	for _, c := range in.Top {
		f.add(c.Name, c.Count)
	}
	return nil
}
