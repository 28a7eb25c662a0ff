package agent

import (
	"encoding/json"
	"sync"
	"time"
)

// saveSeenEvery is how old what is on disk may be: it is for people.
const saveSeenEvery = 10 * time.Minute

// seen remembers when somebody of the fleet was last heard, over restarts too.
type seen struct {
	dir   directory
	clock func() time.Time

	mu    sync.Mutex // guards at and saved
	at    time.Time  // zero: never
	saved time.Time
}

type seenJSON struct {
	Seen time.Time `json:"seen"`
}

func loadSeen(dir directory, clock func() time.Time) *seen {
	s := &seen{dir: dir, clock: clock}
	var was seenJSON
	if data, err := dir.read(maxSmall, seenFile); err == nil && json.Unmarshal(data, &was) == nil {
		s.at, s.saved = was.Seen, was.Seen // what cannot be read was never
	}
	return s
}

// now says that somebody was heard, and returns when that was before; zero for never.
func (s *seen) now() (before time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, s.at = s.at, s.clock()
	return before
}

// save has it on disk, unless what is there is young enough.
func (s *seen) save(always bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at.IsZero() || s.at.Equal(s.saved) || !always && s.at.Sub(s.saved).Abs() < saveSeenEvery {
		return nil
	}
	data, err := json.Marshal(seenJSON{s.at.UTC().Round(0)})
	if err != nil {
		return err
	}
	if err := s.dir.write(data, seenFile); err != nil {
		return err
	}
	s.saved = s.at
	return nil
}
