package simnet

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// Admin lets others switch faults while the server runs:
//
//	PUT /cut       on or off
//	PUT /throttle  queries a second, 0 for no limit
//	GET /stats     [Stats] as JSON
func (s *Server) Admin() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /cut", func(w http.ResponseWriter, r *http.Request) {
		switch text := body(r); text {
		case "on", "off":
			s.Cut(text == "on")
			w.WriteHeader(http.StatusNoContent)
		default:
			http.Error(w, fmt.Sprintf("%q is not on or off", text), http.StatusBadRequest)
		}
	})
	mux.HandleFunc("PUT /throttle", func(w http.ResponseWriter, r *http.Request) {
		text := body(r)
		n, err := strconv.ParseUint(text, 10, 31)
		if err != nil {
			http.Error(w, fmt.Sprintf("%q is not a number of queries a second", text), http.StatusBadRequest)
			return
		}
		s.ThrottleDNS(int(n)) //nolint:gosec // 31 bits
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(s.Stats()) // who has gone does not read it
	})
	return mux
}

// body is the short text that a request carries; what cannot be read is none.
func body(r *http.Request) string {
	text, _ := io.ReadAll(io.LimitReader(r.Body, 64))
	return strings.TrimSpace(string(text))
}
