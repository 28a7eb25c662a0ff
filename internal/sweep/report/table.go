package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// textWidth is how wide lines of text are at most.
const textWidth = 80

// A table is aligned text: the first column to the left, the others to the right,
// but a last one that is text.
type table struct {
	rows     [][]string
	textLast bool
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// String has two spaces before each line and between columns, and no line longer
// than textWidth: the last column is cut when it is text, else the first.
func (t *table) String() string {
	var widths []int
	for _, row := range t.rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	if len(widths) == 0 {
		return ""
	}
	sum := 2 * len(widths)
	for _, w := range widths {
		sum += w
	}
	if over := sum - textWidth; over > 0 {
		cut := 0
		if t.textLast {
			cut = len(widths) - 1
		}
		widths[cut] = max(8, widths[cut]-over)
	}
	var b strings.Builder
	for _, row := range t.rows {
		var line strings.Builder
		for i, cell := range row {
			n := utf8.RuneCountInString(cell)
			if n > widths[i] {
				cell = string([]rune(cell)[:widths[i]-1]) + "…"
				n = widths[i]
			}
			pad := strings.Repeat(" ", widths[i]-n)
			if i == 0 || t.textLast && i == len(widths)-1 {
				line.WriteString("  " + cell + pad)
			} else {
				line.WriteString("  " + pad + cell)
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return b.String()
}

// number has its digits in groups of three: 10,000,000.
func number(n int64) string {
	s := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// share is n of all in percent, with one decimal; small shares are not nothing.
func share(n, all int64) string {
	if all <= 0 {
		return "–"
	}
	p := 100 * float64(n) / float64(all)
	switch {
	case n > 0 && p < 0.05:
		return "<0.1 %"
	case n < all && p >= 99.95:
		return ">99.9 %"
	}
	return fmt.Sprintf("%.1f %%", p)
}

// short is a time with two or three digits that count.
func short(d time.Duration) string {
	switch {
	case d <= 0:
		return "–"
	case d < time.Millisecond:
		return fmt.Sprintf("%d µs", d.Microseconds())
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", d.Seconds()*1e3)
	case d < time.Second:
		return fmt.Sprintf("%.0f ms", d.Seconds()*1e3)
	case d < 100*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < 100*time.Minute:
		return fmt.Sprintf("%d min %02d s", d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%d h %02d min", d/time.Hour, d%time.Hour/time.Minute)
}

// size is a number of bytes, in powers of a thousand.
func size(n float64) string {
	units := []string{"B", "kB", "MB", "GB", "TB", "PB"}
	i := 0
	for ; n >= 999.5 && i < len(units)-1; i++ {
		n /= 1000
	}
	if i == 0 || n >= 99.5 {
		return fmt.Sprintf("%.0f %s", n, units[i])
	}
	return fmt.Sprintf("%.1f %s", n, units[i])
}

// rate is a number a second.
func rate(n float64) string {
	if n <= 0 {
		return "–"
	}
	if n >= 100 {
		return number(int64(math.Round(n))) + "/s"
	}
	return strconv.FormatFloat(math.Round(n*100)/100, 'f', -1, 64) + "/s"
}

// limit is a rate that was kept, or that there was none.
func limit(n float64) string {
	if n <= 0 {
		return "no limit"
	}
	return rate(n)
}
