package cli

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"pennyfarthing/internal/fleet/config"
	"pennyfarthing/internal/serve/edge"
)

// size is a flag for a number of bytes: 512M, 2GiB, 1500000.
type size int64

// units of sizes. Those of computers' memory and those of disks are close enough
// for a budget, so that both spellings mean powers of two.
var units = map[string]int64{"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}

// Set reads a size.
func (s *size) Set(text string) error {
	number := strings.TrimRight(text, "kKmMgGtTiIbB")
	unit := strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(text[len(number):]), "b"), "i")
	scale, ok := units[unit]
	n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if inRange := n > 0 && n*float64(scale) <= math.MaxInt64/2; !ok || err != nil || !inRange { // NaN is nowhere in range
		return fmt.Errorf("%q is not a size such as 512M or 2G", text)
	}
	*s = size(n * float64(scale))
	return nil
}

// String writes a size.
func (s *size) String() string {
	if *s == 0 {
		return ""
	}
	return bytes(int64(*s))
}

// Type names the flag's value in help.
func (s *size) Type() string { return "size" }

// bytes writes a number of bytes for people.
func bytes(n int64) string {
	const steps = "kMGT"
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	value, step := float64(n), -1
	for value >= 999.5 && step < len(steps)-1 {
		value, step = value/1000, step+1
	}
	return fmt.Sprintf("%.3g %cB", value, steps[step])
}

// age is a flag for a long time: 180d, 12h.
type age time.Duration

// Set reads a time.
func (a *age) Set(text string) error {
	d, err := config.ParseHSTS(text)
	if err != nil {
		return err
	}
	*a = age(d)
	return nil
}

// String writes a time.
func (a *age) String() string {
	if *a == 0 {
		return ""
	}
	return time.Duration(*a).String()
}

// Type names the flag's value in help.
func (a *age) Type() string { return "duration" }

// prefixes is a flag for networks: 10.0.0.0/8,192.0.2.1.
type prefixes []netip.Prefix

// Set reads networks, and addresses as networks of one.
func (p *prefixes) Set(text string) error {
	for item := range strings.SplitSeq(text, ",") {
		item = strings.TrimSpace(item)
		if addr, err := netip.ParseAddr(item); err == nil {
			*p = append(*p, netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen()))
			continue
		}
		prefix, err := netip.ParsePrefix(item)
		if err != nil {
			return fmt.Errorf("%q is not a network such as 10.0.0.0/8", item)
		}
		*p = append(*p, prefix.Masked())
	}
	return nil
}

// String writes networks.
func (p *prefixes) String() string {
	words := make([]string, len(*p))
	for i, prefix := range *p {
		words[i] = prefix.String()
	}
	return strings.Join(words, ",")
}

// Type names the flag's value in help.
func (p *prefixes) Type() string { return "networks" }

// engineFlag is a flag for an engine of the edge.
type engineFlag edge.Engine

// Set reads an engine's name.
func (e *engineFlag) Set(text string) error {
	engine, err := edge.ParseEngine(text)
	*e = engineFlag(engine)
	return err
}

// String writes an engine's name.
func (e *engineFlag) String() string { return edge.Engine(*e).String() }

// Type names the flag's value in help.
func (e *engineFlag) Type() string { return "engine" }
