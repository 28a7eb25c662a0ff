package cost

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"
)

// Money is an amount in billionths of a US dollar, so that the price of a second of
// the cheapest machine is still an integer.
type Money int64

// Dollar is one US dollar.
const Dollar Money = 1e9

// parseMoney reads a decimal number of dollars, at most a million, with at most
// nine decimals.
func parseMoney(s string) (Money, bool) {
	whole, decimals, point := strings.Cut(s, ".")
	if point && decimals == "" || whole == "" || len(whole) > 7 || len(decimals) > 9 {
		return 0, false
	}
	n, err := strconv.ParseUint(whole+decimals+strings.Repeat("0", 9-len(decimals)), 10, 63)
	if err != nil || n > 1e15 {
		return 0, false
	}
	return Money(n), true
}

// String is the amount with a dollar sign and at least two decimals. Below a
// hundredth of a dollar two digits that are not zero are kept, above a dollar cents.
func (m Money) String() string {
	sign := ""
	if m < 0 {
		sign, m = "-", -m
	}
	decimals := 4
	switch {
	case m >= Dollar || m == 0:
		decimals = 2
	case m < Dollar/100:
		// The place of the second digit: 0.0000123 is shown as 0.000012.
		decimals = min(9, max(4, 10-int(math.Floor(math.Log10(float64(m))))))
	}
	unit := Money(math.Pow10(9 - decimals))
	m = (m + unit/2) / unit
	scale := Money(math.Pow10(decimals))
	text := fmt.Sprintf("%d.%0*d", m/scale, decimals, m%scale)
	for len(text)-strings.IndexByte(text, '.') > 3 && strings.HasSuffix(text, "0") {
		text = text[:len(text)-1]
	}
	return sign + "$" + text
}

// MarshalJSON writes a number of dollars, exactly.
func (m Money) MarshalJSON() ([]byte, error) {
	text := new(big.Rat).SetFrac64(int64(m), int64(Dollar)).FloatString(9)
	return []byte(strings.TrimSuffix(strings.TrimRight(text, "0"), ".")), nil
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (m *Money) UnmarshalJSON(data []byte) error {
	text, negative := strings.CutPrefix(string(data), "-")
	n, ok := parseMoney(text)
	if !ok {
		return fmt.Errorf("read %q as dollars: not a decimal number of at most a million", data)
	}
	if *m = n; negative {
		*m = -n
	}
	return nil
}

// times is what a price for one per comes to for d, rounded to the nearest billionth,
// with a factor.
func (m Money) times(factor int64, d, per time.Duration) Money {
	n := new(big.Int).Mul(big.NewInt(int64(m)), big.NewInt(factor))
	n.Mul(n, big.NewInt(int64(d)))
	n.Add(n, big.NewInt(int64(per/2)))
	n.Div(n, big.NewInt(int64(per)))
	if !n.IsInt64() {
		return math.MaxInt64
	}
	return Money(n.Int64())
}
