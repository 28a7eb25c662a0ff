package report

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"strings"
	"time"

	"pennyfarthing/internal/verdict"
)

// Charts are SVG without any text of their own: what they show stands as text in the
// table beside them. So they can be stretched to any width, and nothing in them
// becomes too small to be read. Colours are classes of page.css, because the policy
// of the page allows no style in attributes.

// colour is the class in page.css of a class of verdicts.
func colour(class string) string {
	switch class {
	case "":
		return "fill"
	case verdict.Skip.String():
		return "skipped" // "skip" is that of the link over the navigation
	}
	for _, c := range allClasses() {
		if c.String() == class {
			return class
		}
	}
	return verdict.Unknown.String()
}

// svg is an element with a view of 1000 by so many units, stretched to its box. With
// an empty label it is decoration.
func svg(class, label string, height int, inner string) template.HTML {
	access := `aria-hidden="true"`
	if label != "" {
		access = `role="img" aria-label="` + html.EscapeString(label) + `"`
	}
	return template.HTML(fmt.Sprintf( //nolint:gosec // all that is not a number or a word of ours is escaped
		`<svg class="%s" viewBox="0 0 1000 %d" preserveAspectRatio="none" %s focusable="false">%s</svg>`, class, height, access, inner))
}

// bar is how much of all a line is.
func bar(l line) template.HTML {
	width := 0.0
	if l.Of > 0 {
		width = min(1000, 1000*float64(l.N)/float64(l.Of))
	}
	if l.N > 0 {
		width = max(4, width) // what is there can be seen
	}
	return svg("bar", "", 10, fmt.Sprintf(`<rect class="back" width="1000" height="10"/><rect class="%s" width="%.0f" height="10"/>`, colour(l.Class), width))
}

// swatch is the colour of a class.
func swatch(class string) template.HTML {
	return svg("swatch", "", 1000, fmt.Sprintf(`<rect class="%s" width="1000" height="1000"/>`, colour(class)))
}

// stack is one bar of all lines, with gaps between them, and all of it as a text.
func stack(lines []line) template.HTML {
	var inner, label strings.Builder
	x := 0.0
	for i, l := range lines {
		width := 1000 * float64(l.N) / float64(max(1, l.Of))
		gap := 0.0
		if i < len(lines)-1 {
			gap = min(2, width/2)
		}
		fmt.Fprintf(&inner, `<rect class="%s" x="%.2f" width="%.2f" height="10"/>`, colour(l.Class), x, width-gap)
		x += width
		if i > 0 {
			label.WriteString(", ")
		}
		fmt.Fprintf(&label, "%s %s", l.Name, l.Share())
	}
	return svg("stack", label.String(), 10, inner.String())
}

// The scale of curves is logarithmic, from 100 microseconds to 100 seconds.
const (
	curveFrom    = 100 * time.Microsecond
	curveDecades = 6
	curveSteps   = 60
	curveHeight  = 100
)

// scale is where a time stands, from 0 to 1.
func scale(d time.Duration) float64 {
	if d <= curveFrom {
		return 0
	}
	return min(1, math.Log10(float64(d)/float64(curveFrom))/curveDecades)
}

// curve is how the times of a phase are spread, with lines at p50 and p95.
func curve(p phase) template.HTML {
	var steps [curveSteps]int64
	most := int64(1)
	for b, n := range p.H.counts {
		if n > 0 {
			i := min(curveSteps-1, int(scale(time.Duration(lowerBound(b))*time.Microsecond)*curveSteps))
			steps[i] += n
			most = max(most, steps[i])
		}
	}
	var inner strings.Builder
	inner.WriteString(`<rect class="back" y="98" width="1000" height="2"/><path class="area" d="M0 98`)
	const width = 1000.0 / curveSteps
	for i, n := range steps {
		y := 98 - 94*float64(n)/float64(most)
		fmt.Fprintf(&inner, "L%.1f %.1fL%.1f %.1f", float64(i)*width, y, float64(i+1)*width, y)
	}
	inner.WriteString(`L1000 98Z"/>`)
	for _, q := range []float64{.5, .95} {
		x := 1000 * scale(p.H.Quantile(q))
		fmt.Fprintf(&inner, `<path class="mark" d="M%.1f 0V%d"/>`, x, curveHeight)
	}
	label := fmt.Sprintf("%s: half of all took up to %s, 95 %% up to %s, 99 %% up to %s", p.Name, p.P50(), p.P95(), p.P99())
	return svg("curve", label, curveHeight, inner.String())
}
