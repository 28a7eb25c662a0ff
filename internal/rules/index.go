package rules

import "iter"

// An index finds the entries of a list that could match a path without looking
// at each. Entries are added in the order of the list, and found in it.
type index struct {
	static  map[string][]int32 // entries that match this path only
	dynamic []int32            // all others
}

func (x *index) addStatic(path string, i int) {
	if x.static == nil {
		x.static = make(map[string][]int32)
	}
	x.static[path] = append(x.static[path], int32(i))
}

func (x *index) addDynamic(i int) { x.dynamic = append(x.dynamic, int32(i)) }

// candidates yields the entries to try for a path.
func (x *index) candidates(path string) iter.Seq[int] {
	return func(yield func(int) bool) {
		static, dynamic := x.static[path], x.dynamic
		for len(static) > 0 || len(dynamic) > 0 {
			from := &dynamic
			if len(dynamic) == 0 || len(static) > 0 && static[0] < dynamic[0] {
				from = &static
			}
			if !yield(int((*from)[0])) {
				return
			}
			*from = (*from)[1:]
		}
	}
}
