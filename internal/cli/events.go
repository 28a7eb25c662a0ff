package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"pennyfarthing/internal/fleet/control"
)

// maxRows is how many POPs have a line each on a terminal; more are told together.
const maxRows = 12

// An eventPrinter shows what a fleet does: on a terminal with a line for each POP, which
// changes, elsewhere a line when it goes on for long, with --json every event, and nothing
// with --quiet.
type eventPrinter struct {
	*progressPrinter
	sending map[string]control.Event // the latest of each POP
	began   time.Time                // of the wave

	// On a terminal:
	wave string
	pops map[string]string // how far each is
	rows int               // that are shown
}

func newEventPrinter(g *globals, env Env) *eventPrinter {
	return &eventPrinter{progressPrinter: newProgress(g, env), sending: make(map[string]control.Event), pops: make(map[string]string)}
}

// show shows one event. Standard error may be closed; there is nobody to tell then.
func (p *eventPrinter) show(e control.Event) {
	if p.json {
		if !p.quiet {
			_ = json.NewEncoder(p.w).Encode(e)
		}
		return
	}
	switch e.Kind {
	case control.EventBehind:
		delete(p.pops, e.POP)
		p.say(fmt.Sprintf("note: %s is left behind: %s", e.POP, e.Text))
	case control.EventRetry:
		p.say(fmt.Sprintf("note: %s: %s once more: %s", e.POP, e.Do, e.Text))
	case control.EventNote:
		p.say("note: " + strings.TrimPrefix(e.POP+": ", ": ") + e.Text)
	case control.EventWaiting:
		p.say("waiting: " + e.Text)
	case control.EventUndo:
		p.say("going back: " + e.Text)
	case control.EventWave:
		clear(p.sending)
		clear(p.pops)
		p.wave, p.began = wavesTold[e.Wave], e.Time
		p.line(e.Time, p.wave)
	case control.EventProgress:
		p.sending[e.POP] = e
		p.pops[e.POP] = p.progress(e)
		p.line(e.Time, p.together(e))
	case control.EventStep:
		p.pops[e.POP] = stepsTold[e.Do]
		p.draw(p.together(e))
	case control.EventRoster:
	}
}

// wavesTold is what a wave is, for people.
var wavesTold = map[control.WaveName]string{
	control.WaveLease: "taking the lease", control.WavePrepare: "sending and staging", control.WaveActivate: "activating and verifying", control.WaveFinish: "giving the lease back",
}

// stepsTold is what a POP has done, for people.
var stepsTold = map[control.Action]string{
	control.ActionLease: "lease taken", control.ActionOffer: "has the manifest", control.ActionSend: "has all files", control.ActionStage: "staged", control.ActionKnock: "ready",
	control.ActionActivate: "switched", control.ActionPreview: "shows it", control.ActionVerify: "verified", control.ActionUnlease: "lease given back",
}

// progress is how far a step is, with a rate and the time that is left.
func (p *eventPrinter) progress(e control.Event) string {
	switch e.Do { //nolint:exhaustive // the others do not tell
	case control.ActionVerify:
		return fmt.Sprintf("%s of %s URLs", thousands(e.Done), thousands(e.Total))
	case control.ActionRefine:
		return fmt.Sprintf("%s of %s files", thousands(e.Done), thousands(e.Total))
	}
	text := fmt.Sprintf("%s of %s", bytes(e.Done), bytes(e.Total))
	if took := e.Time.Sub(p.began); took > time.Second && e.Done > 0 {
		rate := float64(e.Done) / took.Seconds()
		text += fmt.Sprintf(", %s/s, %s left", bytes(int64(rate)), roughly(time.Duration(float64(e.Total-e.Done)/rate*float64(time.Second))))
	}
	return text
}

// together is how far all POPs are with what one of them is doing, or the wave where that
// is not told.
func (p *eventPrinter) together(e control.Event) string {
	pops := 0
	sum := e
	sum.Done, sum.Total = 0, 0
	for _, of := range p.sending {
		if of.Do == e.Do {
			sum.Done, sum.Total, pops = sum.Done+of.Done, sum.Total+of.Total, pops+1
		}
	}
	switch {
	case pops == 0:
		return p.wave
	case e.Do == control.ActionRefine:
		return "making the best codings: " + p.progress(sum)
	case e.Do == control.ActionVerify:
		return fmt.Sprintf("verifying at %s: %s", count(pops, "POP"), p.progress(sum))
	}
	return fmt.Sprintf("sending to %s: %s", count(pops, "POP"), p.progress(sum))
}

// line shows how far it is: on a terminal at once, elsewhere when it goes on for long.
func (p *eventPrinter) line(at time.Time, text string) {
	const seldom = 10 * time.Second
	switch {
	case p.quiet || text == "":
	case p.terminal:
		p.draw(text)
	case p.last.IsZero():
		p.last = at
	case at.Sub(p.last) >= seldom:
		p.last = at
		_, _ = fmt.Fprintln(p.w, text)
	}
}

// draw shows, on a terminal, how far all are together and how far each POP is, in place of
// what was shown before.
func (p *eventPrinter) draw(text string) {
	if p.quiet || !p.terminal {
		return
	}
	lines := []string{text}
	if len(p.pops) > 1 && len(p.pops) <= maxRows {
		names := slices.Sorted(maps.Keys(p.pops))
		longest := 0
		for _, name := range names {
			longest = max(longest, utf8.RuneCountInString(name))
		}
		for _, name := range names {
			lines = append(lines, fmt.Sprintf("  %-*s  %s", longest, name, p.pops[name]))
		}
	}
	width := columns(p.w)
	var b strings.Builder
	p.erase(&b)
	for i, line := range lines {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(cut(line, width-1)) // in the last column a terminal may go on to the next line
	}
	p.rows = len(lines)
	_, _ = io.WriteString(p.w, b.String())
}

// erase takes away what is shown.
func (p *eventPrinter) erase(b *strings.Builder) {
	if p.rows > 1 {
		fmt.Fprintf(b, "\x1b[%dA", p.rows-1)
	}
	if p.rows > 0 {
		b.WriteString("\r\x1b[J")
	}
	p.rows = 0
}

// end leaves nothing of what changes.
func (p *eventPrinter) end() {
	var b strings.Builder
	p.erase(&b)
	_, _ = io.WriteString(p.w, b.String())
}

// say prints a line that stays.
func (p *eventPrinter) say(text string) {
	if p.end(); !p.quiet {
		_, _ = fmt.Fprintln(p.w, text)
	}
}
