package edge

import "testing"

func TestASerialIsUsedOnceAndWhileItIsRemembered(t *testing.T) {
	var s serials
	if s.use(0) || s.use(1) {
		t.Error("a serial was used that was never issued")
	}
	first, second, third := s.issue(), s.issue(), s.issue()
	for _, c := range []struct {
		what   string
		serial uint64
		want   bool
	}{
		{"the second", second, true},
		{"the second again", second, false},
		{"the first, later", first, true},
		{"the first again", first, false},
		{"none", 0, false},
		{"the next", third + 1, false},
		{"one far ahead that has the place of the third", third + serialWindow, false},
	} {
		if got := s.use(c.serial); got != c.want {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
	for s.newest < third+serialWindow-1 {
		s.issue()
	}
	if !s.use(third) {
		t.Error("the oldest serial of the window was not used")
	}
	if next := s.issue(); s.use(third) || !s.use(next) || s.use(next) {
		t.Error("a serial that has the place of one that was forgotten is not used once")
	}
	if s.use(first) || s.use(second) {
		t.Error("a serial was used that may have been, and was forgotten")
	}
}
