package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// units are the units of time of a fleet file. A year has 365 days.
var units = []struct {
	suffix string
	length time.Duration
}{
	{"ms", time.Millisecond}, // before "m"
	{"s", time.Second},
	{"m", time.Minute},
	{"h", time.Hour},
	{"d", 24 * time.Hour},
	{"w", 7 * 24 * time.Hour},
	{"y", 365 * 24 * time.Hour},
}

// durationHint shows what a duration looks like.
const durationHint = `write numbers with units ms, s, m, h, d, w or y, as in "30s", "1h30m" or "180d"`

// parseDuration returns a duration like "30s", "1h30m" or "180d". It is never
// negative.
func parseDuration(s string) (time.Duration, *flaw) {
	bad := &flaw{fmt.Sprintf("%s is not a duration", quote(s)), durationHint}
	if s == "" {
		return 0, bad
	}
	total := time.Duration(0)
	for rest := s; rest != ""; {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		n, err := strconv.ParseInt(rest[:digits], 10, 64)
		if digits == 0 || digits > 9 || err != nil {
			return 0, bad
		}
		rest = rest[digits:]
		unit, tail, ok := cutUnit(rest)
		if !ok {
			return 0, bad
		}
		if time.Duration(n) > (math.MaxInt64-total)/unit {
			return 0, &flaw{fmt.Sprintf("%s is too long", quote(s)), "write less than 292 years"}
		}
		total += time.Duration(n) * unit
		rest = tail
	}
	return total, nil
}

// ParseHSTS returns a duration as `hsts` has it, such as "180d", for flags that
// mean the same.
func ParseHSTS(s string) (time.Duration, error) {
	d, f := parseHSTS(s)
	if f != nil {
		return 0, errors.New(f.what + ": " + f.hint)
	}
	return d, nil
}

// cutUnit returns the unit that s begins with, and what follows.
func cutUnit(s string) (unit time.Duration, rest string, ok bool) {
	for _, u := range units {
		if rest, ok := strings.CutPrefix(s, u.suffix); ok {
			return u.length, rest, true
		}
	}
	return 0, s, false
}

// between returns a parser of durations from low to high.
func between(low, high time.Duration) func(string) (time.Duration, *flaw) {
	return func(s string) (time.Duration, *flaw) {
		d, f := parseDuration(s)
		switch {
		case f != nil:
			return 0, f
		case d < low:
			return 0, &flaw{fmt.Sprintf("%s is too short", quote(s)), fmt.Sprintf("write at least %q", formatDuration(low))}
		case d > high:
			return 0, &flaw{fmt.Sprintf("%s is too long", quote(s)), fmt.Sprintf("write at most %q", formatDuration(high))}
		}
		return d, nil
	}
}

// formatDuration writes d in the largest unit that needs no fraction.
func formatDuration(d time.Duration) string {
	best := units[0]
	for _, u := range units {
		if d >= u.length && d%u.length == 0 && u.length > best.length {
			best = u
		}
	}
	return strconv.FormatInt(int64(d/best.length), 10) + best.suffix
}

// parseHSTS returns a duration in whole seconds, as the header counts them.
func parseHSTS(s string) (time.Duration, *flaw) {
	d, f := parseDuration(s)
	if f == nil && d%time.Second != 0 {
		return 0, &flaw{fmt.Sprintf("%s is not whole seconds", quote(s)), durationHint}
	}
	return d, f
}
