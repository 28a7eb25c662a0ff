package ask

import (
	"testing"
	"time"
	"unsafe"

	"pennyfarthing/internal/sweep/evidence"
	"pennyfarthing/internal/sweep/health"
	"pennyfarthing/internal/verdict"
)

// A silence that overlaps our own illness is asked again, unless the same request met
// it again, or was answered, when we were well.
func TestADoubtfulTryMattersOnlyWhereNothingLaterSettlesIt(t *testing.T) {
	const ill = 20 // the second
	wall := time.Unix(1_000_000, 0)
	now := int64(40 * time.Second)
	try := func(host, address string, at int, status int32) evidence.Try {
		return evidence.Try{Scheme: "http", Host: host, Address: address, At: wall.Add(time.Duration(at-40) * time.Second), TotalUS: 1000, Status: status}
	}
	for _, test := range []struct {
		about string
		tries []evidence.Try
		codes []verdict.Code
		want  bool
	}{
		{"nothing later", []evidence.Try{try("a", "1", ill, 0)}, []verdict.Code{verdict.TCPTimeout}, false},
		{"the same silence later", []evidence.Try{try("a", "1", ill, 0), try("a", "1", 30, 0)}, []verdict.Code{verdict.TCPTimeout, verdict.TCPTimeout}, true},
		{"the same silence, in doubt too", []evidence.Try{try("a", "1", ill, 0), try("a", "1", ill+1, 0)}, []verdict.Code{verdict.TCPTimeout, verdict.TCPTimeout}, false},
		{"another silence later", []evidence.Try{try("a", "1", ill, 0), try("a", "1", 30, 0)}, []verdict.Code{verdict.TCPTimeout, verdict.HTTPTimeout}, false},
		{"another address later", []evidence.Try{try("a", "1", ill, 0), try("a", "2", 30, 0)}, []verdict.Code{verdict.TCPTimeout, verdict.TCPTimeout}, false},
		{"an answer later", []evidence.Try{try("a", "1", ill, 0), try("a", "2", 30, 200)}, []verdict.Code{verdict.TCPTimeout, verdict.OK}, true},
		{"an answer of another request", []evidence.Try{try("a", "1", ill, 0), try("b", "1", 30, 200)}, []verdict.Code{verdict.TCPTimeout, verdict.OK}, false},
		{"an answer behind another request", []evidence.Try{try("a", "1", ill, 0), try("b", "1", 30, 301), try("a", "1", 31, 200)}, []verdict.Code{verdict.TCPTimeout, verdict.HTTPRedirect, verdict.OK}, false},
	} {
		t.Run(test.about, func(t *testing.T) {
			monitor := new(health.Monitor)
			monitor.Hurt(int64(ill * time.Second))
			task := Task{a: &Asker{health: monitor}, codes: test.codes}
			task.tries = test.tries
			if got := task.settled(0, now, wall); got != test.want {
				t.Errorf("settled: %v, want %v", got, test.want)
			}
		})
	}
}

// Fifteen thousand may be under way, and each byte of one is three of resident memory
// then: it is allocated in classes of sizes, and garbage may be as much again.
func TestATaskUnderWayStaysSmall(t *testing.T) {
	for name, size := range map[string][2]uintptr{"a task": {unsafe.Sizeof(Task{}), 704}, "its question": {unsafe.Sizeof(question{}), 288}, "its exchange": {unsafe.Sizeof(exchange{}), 352}} {
		if size[0] > size[1] {
			t.Errorf("%s has %d bytes, more than the %d that the allocator has a class for", name, size[0], size[1])
		}
	}
}
