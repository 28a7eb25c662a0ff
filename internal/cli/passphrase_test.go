package cli

import (
	"errors"
	"io"
	"strings"
	"testing"
)

func TestAHiddenLineIsEditedAsItIsTyped(t *testing.T) {
	for name, tc := range map[string]struct {
		typed, want, rest string
		err               error
	}{
		"a line":              {"horse\n", "horse", "", nil},
		"a console's line":    {"horse\r", "horse", "", nil},
		"what is typed after": {"horse\nbattery\n", "horse", "battery\n", nil},
		"blanks":              {" correct horse \n", " correct horse ", "", nil},
		"taken back":          {"hx\x7forse\n", "horse", "", nil},
		"a letter of two":     {"hü\borse\n", "horse", "", nil},
		"more than there is":  {"h\x7f\x7f\x7fhorse\n", "horse", "", nil},
		"all taken back":      {"battery\x15horse\n", "horse", "", nil},
		"Ctrl-C":              {"ho\x03rse\n", "", "rse\n", errInterrupted},
		"Ctrl-D":              {"\x04", "", "", errInterrupted},
		"the end":             {"horse", "", "", io.EOF},
		"too much":            {strings.Repeat("a", maxTyped+1), "", "", errTooLong},
	} {
		t.Run(name, func(t *testing.T) {
			r := strings.NewReader(tc.typed)
			got, err := readHidden(r)
			rest, readErr := io.ReadAll(r)
			if got != tc.want || string(rest) != tc.rest || !errors.Is(err, tc.err) || readErr != nil {
				t.Errorf("read %q and left %q, error %v", got, rest, err)
			}
		})
	}
}
