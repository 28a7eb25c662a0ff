package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"unicode/utf8"

	"pennyfarthing/internal/mistake"
)

// envPassphrase names the environment variable that is asked before a person is.
const envPassphrase = "PENNY_PASSPHRASE"

// maxTyped is how many bytes somebody may type.
const maxTyped = 4096

var (
	errInterrupted = errors.New("interrupted")
	errTooLong     = fmt.Errorf("nobody types more than %d bytes", maxTyped)
)

// passphrase returns the passphrase of the key in a file: from the environment,
// or from who sits at the terminal.
func (env Env) passphrase(what string) func() (string, error) {
	return func() (string, error) {
		if words := env.Getenv(envPassphrase); words != "" {
			return words, nil
		}
		return env.ask("passphrase of " + what + ": ")
	}
}

// newPassphrase is passphrase for a new one: a person types it twice.
func (env Env) newPassphrase(what string) func() (string, error) {
	return func() (string, error) {
		if words := env.Getenv(envPassphrase); words != "" {
			return words, nil
		}
		words, err := env.ask("new passphrase for " + what + ": ")
		if err != nil {
			return "", err
		}
		again, err := env.ask("once more: ")
		if err == nil && words != again {
			err = &mistake.Error{What: "the two passphrases differ", Hint: "type it once more; nothing has been made"}
		}
		return words, err
	}
}

// ask reads a line from the terminal without showing it.
func (env Env) ask(prompt string) (words string, err error) {
	noTerminal := &mistake.Error{What: "there is no terminal to ask for a passphrase", Hint: "set " + envPassphrase}
	in, ok := env.Stdin.(*os.File)
	if !ok {
		return "", noTerminal
	}
	restore, ok := quietTerminal(in)
	if !ok {
		return "", noTerminal
	}
	defer func() { err = errors.Join(err, restore()) }()
	if _, err := io.WriteString(env.Stderr, prompt); err != nil {
		return "", err
	}
	words, err = readHidden(in)
	_, _ = io.WriteString(env.Stderr, "\n") // which was not shown either
	return words, err
}

// readHidden reads a line from a terminal that hands over every key: Backspace
// takes the last character back, Ctrl-U all of them, Ctrl-C and Ctrl-D give up.
// It takes no byte after the line's end.
func readHidden(r io.Reader) (string, error) {
	const ctrlC, ctrlD, backspace, ctrlU, del = 0x03, 0x04, 0x08, 0x15, 0x7f
	var line []byte
	var key [1]byte
	for {
		if _, err := io.ReadFull(r, key[:]); err != nil {
			return "", fmt.Errorf("read passphrase: %w", err)
		}
		switch key[0] {
		case '\r', '\n':
			return string(line), nil
		case ctrlC, ctrlD:
			return "", errInterrupted
		case backspace, del:
			_, size := utf8.DecodeLastRune(line)
			line = line[:len(line)-size]
		case ctrlU:
			line = line[:0]
		default:
			if len(line) == maxTyped {
				return "", errTooLong
			}
			line = append(line, key[0])
		}
	}
}
