package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"syscall"

	"pennyfarthing/internal/mistake"
)

// The exit codes, which docs/exit-codes.md explains.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// A usageError is a command that was typed wrongly.
type usageError struct {
	what string
	hint string
}

// Error says what was wrong.
func (e *usageError) Error() string { return e.what }

// A usefulError is an error to which the command line knows a hint.
type usefulError struct {
	err  error
	hint string
}

// Error is the error's text.
func (e *usefulError) Error() string { return e.err.Error() }

// Unwrap is the error as a mistake with its hint, which is what is printed, and the
// error.
func (e *usefulError) Unwrap() []error {
	return []error{&mistake.Error{What: e.err.Error(), Hint: e.hint}, e.err}
}

// errReported marks a failure whose mistakes have been printed as the result.
var errReported = errors.New("there are mistakes")

func exitCode(err error) int {
	if err == nil {
		return exitDone
	}
	if _, ok := errors.AsType[*usageError](err); ok {
		return exitUsage
	}
	return exitFailed
}

// A problem is one mistake as JSON.
type problem struct {
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	What   string `json:"what"`
	Hint   string `json:"hint,omitempty"`
}

// problems returns what err says, one by one.
func problems(err error) []problem {
	if usage, ok := errors.AsType[*usageError](err); ok {
		return []problem{{What: usage.what, Hint: usage.hint}}
	}
	list := mistake.Of(err)
	if len(list) == 0 {
		return []problem{{What: err.Error(), Hint: systemHint(err)}}
	}
	out := make([]problem, len(list))
	for i, m := range list {
		out[i] = problem(*m)
	}
	return out
}

// systemHint says what can be done about what the system refuses, whatever it was for;
// "" if that is not known.
func systemHint(err error) string {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return "the user who runs penny may not do that; ls -l shows who may"
	case errors.Is(err, syscall.ENOSPC):
		return "the disk is full: make room on it, and type the same again"
	case errors.Is(err, syscall.EADDRINUSE):
		return "another program has this address: end it, or take another port"
	case errors.Is(err, syscall.EROFS):
		return "the disk can only be read: choose another directory"
	}
	return ""
}

// reportError prints an error.
func reportError(w io.Writer, err error, asJSON bool) {
	if errors.Is(err, errReported) && !asJSON {
		return
	}
	all := problems(err)
	if asJSON {
		_ = json.NewEncoder(w).Encode(map[string]any{"error": err.Error(), "exit": exitCode(err), "problems": all}) // stderr is the last resort
		return
	}
	for _, p := range all {
		printProblem(w, "error: ", p)
	}
}

// printProblem prints one mistake in two lines. Where the label is indented the
// hint is too.
func printProblem(w io.Writer, label string, p problem) {
	m := mistake.Error(p)
	indent := label[:len(label)-len(strings.TrimLeft(label, " "))]
	_, _ = fmt.Fprintf(w, "%s%s\n", label, m.Error())
	if p.Hint != "" {
		_, _ = fmt.Fprintf(w, "%shint: %s\n", indent, strings.ReplaceAll(p.Hint, "\n", "\n      "+indent))
	}
}
