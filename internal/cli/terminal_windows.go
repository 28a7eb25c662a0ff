package cli

import (
	"os"

	"golang.org/x/sys/windows"
)

// quietTerminal makes a console hand over every key at once, Ctrl-C too, and show
// none. Ok is false if the file is no console.
func quietTerminal(f *os.File) (restore func() error, ok bool) {
	console := windows.Handle(f.Fd())
	var before uint32
	if err := windows.GetConsoleMode(console, &before); err != nil {
		return nil, false
	}
	const loud = windows.ENABLE_ECHO_INPUT | windows.ENABLE_LINE_INPUT | windows.ENABLE_PROCESSED_INPUT
	if err := windows.SetConsoleMode(console, before&^loud); err != nil {
		return nil, false
	}
	return func() error { return windows.SetConsoleMode(console, before) }, true
}

// terminalColumns is how wide a console is, 0 if nobody knows.
func terminalColumns(f *os.File) int {
	var info windows.ConsoleScreenBufferInfo
	if err := windows.GetConsoleScreenBufferInfo(windows.Handle(f.Fd()), &info); err != nil {
		return 0
	}
	return int(info.Window.Right-info.Window.Left) + 1
}
