package edge

import "fmt"

// An Engine is what serves HTTP/1.1 and HTTP/2, and answers that stand ready over
// HTTP/3. Both give the same answers.
type Engine uint8

const (
	// Plain is net/http behind the strict scanner: the reference.
	Plain Engine = iota
	// Fast serves answers that stand ready on loops of our own, and hands the
	// rest to the plain engine.
	Fast
)

// String is the engine's name.
func (e Engine) String() string {
	switch e {
	case Plain:
		return "plain"
	case Fast:
		return "fast"
	}
	return fmt.Sprintf("Engine(%d)", uint8(e))
}

// ParseEngine reads an engine's name.
func ParseEngine(name string) (Engine, error) {
	for _, e := range []Engine{Plain, Fast} {
		if name == e.String() {
			return e, nil
		}
	}
	return 0, fmt.Errorf("there is no engine %q", name)
}

// Engine returns the engine that new connections get.
func (s *Server) Engine() Engine { return Engine(s.engine.Load()) }

// SetEngine chooses the engine for new connections. Those that are open keep
// theirs.
func (s *Server) SetEngine(e Engine) { s.engine.Store(uint32(e)) }
