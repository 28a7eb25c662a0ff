package edge

import (
	"fmt"
	"io"
	"net/http"
	"strings"
)

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

// SetEngine chooses the engine for new connections. No connection is lost: those
// on the plain engine keep it, and those on the fast one leave it in good order,
// over HTTP/1.1 with their next request, over HTTP/2 with GOAWAY.
func (s *Server) SetEngine(e Engine) {
	if s.engine.Swap(uint32(e)) == uint32(Fast) && e != Fast {
		s.fast.h2.GoAway()
	}
}

// engineHandler tells which engine serves, and with PUT changes it.
func engineHandler(servers []*Server) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			name, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 64))
			var engine Engine
			if err == nil {
				engine, err = ParseEngine(strings.TrimSpace(string(name)))
			}
			if err != nil {
				http.Error(w, err.Error()+": send plain or fast", http.StatusBadRequest)
				return
			}
			for _, s := range servers {
				s.SetEngine(engine)
			}
		}
		for _, s := range servers {
			_, _ = fmt.Fprintf(w, "%s%s\n", s.label(), s.Engine()) // nobody to tell
		}
	}
}

// label is the server's name in front of something, or nothing.
func (s *Server) label() string {
	if s.options.Name == "" {
		return ""
	}
	return s.options.Name + " "
}
