package cost

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2/unstable" //nolint:depguard // a price table is not penny.toml, and its mistakes need places too

	"pennyfarthing/internal/mistake"
)

// Parse reads a price table, strictly: all mistakes come at once, as a
// [mistake.List] with line and column, and there is no table beside them. File is
// only named in them.
func Parse(file string, src []byte) (*Prices, error) {
	p := parser{file: file, src: src, seen: map[string]int{}}
	switch {
	case len(src) > MaxFile:
		return nil, &mistake.Error{File: file, What: fmt.Sprintf("a price table has at most %d KiB", MaxFile>>10), Hint: "is this the right file?"}
	case !utf8.Valid(src):
		return nil, &mistake.Error{File: file, What: "is not UTF-8 text", Hint: "save it as UTF-8"}
	}
	p.read()
	if len(p.wrong) == 0 && len(p.machines) == 0 {
		p.add(0, "there is no machine in the table", `begin one with [machines.NAME]`)
	}
	if err := p.wrong.Err(); err != nil {
		return nil, err
	}
	return &Prices{File: file, Machines: p.machines}, nil
}

// A parser reads one table.
type parser struct {
	file     string
	src      []byte
	wrong    mistake.List
	machines []Machine
	seen     map[string]int // line of a machine's header

	toml   unstable.Parser
	open   bool // the last machine takes keys
	header int  // offset of the open machine's header
	keys   map[string]bool
}

// keys are all that a machine has, and whether it must have them.
//
//nolint:gochecknoglobals // a table
var keys = []struct {
	name string
	need bool
	hint string
	set  func(m *Machine, kind unstable.Kind, text string) bool
}{
	{"name", true, `write a text such as "Hetzner CX32"`, func(m *Machine, k unstable.Kind, s string) bool {
		m.Name = s
		return k == unstable.String && s != "" && utf8.RuneCountInString(s) <= 60 && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
	}},
	{"price", true, "write US dollars an hour, such as 0.0141", func(m *Machine, k unstable.Kind, s string) (ok bool) {
		m.Hourly, ok = parseMoney(s)
		return ok && number(k)
	}},
	{"date", true, "write the day on which you saw the price, such as 2026-11-21, without quotes", func(m *Machine, k unstable.Kind, s string) bool {
		var err error
		m.Date, err = time.Parse(time.DateOnly, s)
		return err == nil && k == unstable.LocalDate
	}},
	{"source", true, `write where you saw the price, such as "https://…"`, func(m *Machine, k unstable.Kind, s string) bool {
		m.Source = s
		return k == unstable.String && s != "" && len(s) <= 500
	}},
	{"unverified", false, `write which keys nobody has looked up, such as "vcpus, billed_per"`, func(m *Machine, k unstable.Kind, s string) bool {
		if k != unstable.String || s == "" || len(s) > 200 {
			return false
		}
		for name := range strings.SplitSeq(s, ",") {
			m.Unverified = append(m.Unverified, strings.TrimSpace(name))
		}
		return true
	}},
	{"vcpus", true, "write a whole number from 1 to 1024", func(m *Machine, k unstable.Kind, s string) bool {
		var err error
		m.VCPUs, err = strconv.Atoi(s)
		return err == nil && k == unstable.Integer && m.VCPUs >= 1 && m.VCPUs <= 1024
	}},
	{"memory_gb", true, "write a number of GB, such as 8", func(m *Machine, k unstable.Kind, s string) (ok bool) {
		m.Memory, ok = amount(k, s)
		return ok && m.Memory > 0
	}},
	{"billed_per", true, `write "second", "minute" or "hour"`, func(m *Machine, k unstable.Kind, s string) bool {
		for _, u := range []Unit{Second, Minute, Hour} {
			if u.String() == s {
				m.Unit = u
				return k == unstable.String
			}
		}
		return false
	}},
	{"minimum", false, `write a time such as "60s" or "1h", at most 31 days ("744h")`, func(m *Machine, k unstable.Kind, s string) (ok bool) {
		m.Minimum, ok = duration(k, s)
		return ok
	}},
	{"startup", false, `write a time such as "90s" or "30m", at most 31 days ("744h")`, func(m *Machine, k unstable.Kind, s string) (ok bool) {
		m.Startup, ok = duration(k, s)
		m.HasStartup = true
		return ok
	}},
	{"egress_per_gb", false, "write US dollars for one GB, such as 0.01", func(m *Machine, k unstable.Kind, s string) (ok bool) {
		m.Egress, ok = parseMoney(s)
		m.HasEgress = true
		return ok && number(k)
	}},
	{"egress_free_gb", false, "write how many GB each machine may send for nothing, such as 100", func(m *Machine, k unstable.Kind, s string) (ok bool) {
		m.EgressFree, ok = amount(k, s)
		return ok
	}},
}

func number(k unstable.Kind) bool { return k == unstable.Float || k == unstable.Integer }

// amount reads a plain decimal number from 0 to a million.
func amount(k unstable.Kind, s string) (float64, bool) {
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil && number(k) && !strings.ContainsAny(s, "eExXnN_+-") && f <= 1e6
}

func duration(k unstable.Kind, s string) (time.Duration, bool) {
	d, err := time.ParseDuration(s)
	return d, err == nil && k == unstable.String && d >= 0 && d <= 31*24*time.Hour
}

// read reads all expressions, up to the first that is no TOML.
func (p *parser) read() {
	p.toml.Reset(p.src)
	for p.toml.NextExpression() && len(p.wrong) < 100 {
		switch e := p.toml.Expression(); e.Kind {
		case unstable.Table:
			p.close()
			p.table(e)
		case unstable.ArrayTable:
			p.close()
			p.add(p.offsetOfKey(e), "double brackets make a list of tables, and a price table has none", "write [machines.NAME]")
		case unstable.KeyValue:
			p.keyValue(e)
		default: // comments are not asked for
		}
	}
	p.close()
	if perr, ok := errors.AsType[*unstable.ParserError](p.toml.Error()); ok {
		// A highlight is a slice of the text; what is left of its capacity tells where it
		// begins.
		offset := cap(p.toml.Data()) - cap(perr.Highlight)
		p.add(min(max(offset, 0), len(p.src)), perr.Message, "a line is `key = value`, `[table]` or `# comment`; text stands in quotes")
	}
}

// table opens a machine.
func (p *parser) table(e *unstable.Node) {
	names, offsets := p.key(e)
	if len(names) != 2 || names[0] != "machines" || !keyLike(names[1]) {
		p.add(offsets[0], fmt.Sprintf("[%s] is no table of a price table", shorten(strings.Join(names, "."))), "write [machines.NAME], with letters, digits, - and . in the name; a name with a dot stands in quotes")
		return
	}
	name := names[1]
	if line, ok := p.seen[name]; ok {
		p.add(offsets[1], fmt.Sprintf("%s is there twice; first on line %d", name, line), "rename one of them")
		return
	}
	if len(p.machines) >= maxMachines {
		p.add(offsets[1], fmt.Sprintf("there are more than %d machines", maxMachines), "delete those that you do not rent")
		return
	}
	p.seen[name], _ = p.position(offsets[1])
	p.machines = append(p.machines, Machine{Key: name})
	p.open, p.header, p.keys = true, offsets[0], map[string]bool{}
}

// keyLike reports whether a name can stand on a command line.
func keyLike(s string) bool {
	return s != "" && len(s) <= 60 && !strings.ContainsFunc(s, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '.' || r == '_')
	})
}

// close checks the machine that was open.
func (p *parser) close() {
	if !p.open {
		return
	}
	p.open = false
	m := &p.machines[len(p.machines)-1]
	for _, k := range keys {
		if k.need && !p.keys[k.name] {
			p.add(p.header, fmt.Sprintf("%s has no %s", m.Key, k.name), k.hint)
		}
	}
	for _, name := range m.Unverified {
		if name == "unverified" || !p.keys[name] {
			p.add(p.header, fmt.Sprintf("%s has no key %s that could be unverified", m.Key, shorten(name)), "name keys of this machine, with commas between them")
		}
	}
	if p.keys["egress_free_gb"] && !p.keys["egress_per_gb"] {
		p.add(p.header, m.Key+" has egress_free_gb without egress_per_gb", "write what a GB costs beyond the free ones")
	}
	if p.keys["billed_per"] && p.keys["minimum"] && m.Minimum < time.Duration(m.Unit) {
		p.add(p.header, fmt.Sprintf("%s has a minimum that is less than one %s, which is billed anyway", m.Key, m.Unit), "leave out minimum")
	}
}

// keyValue sets a key of the open machine. What stands below a table that could not
// be opened is passed over.
func (p *parser) keyValue(e *unstable.Node) {
	names, offsets := p.key(e)
	name := strings.Join(names, ".")
	if !p.open {
		if len(p.seen) == 0 && len(p.wrong) == 0 {
			p.add(offsets[0], shorten(name)+" stands before the first table", "begin a machine with [machines.NAME]")
		}
		return
	}
	all := make([]string, len(keys))
	for i, k := range keys {
		all[i] = k.name
		if k.name != name {
			continue
		}
		if p.keys[name] {
			p.add(offsets[0], name+" is set twice", "delete one of them")
			return
		}
		p.keys[name] = true
		v := e.Value()
		text := string(v.Data)
		if !k.set(&p.machines[len(p.machines)-1], v.Kind, text) {
			at := offsets[0]
			if v.Raw.Length > 0 {
				at = int(v.Raw.Offset)
			}
			p.add(at, fmt.Sprintf("%s is not a %s", quoted(v.Kind, text), name), k.hint)
		}
		return
	}
	hint := "there are " + strings.Join(all, ", ")
	if near, ok := mistake.Nearest(name, all); ok {
		hint = "did you mean " + near + "?"
	}
	p.add(offsets[0], shorten(name)+" is no key of a machine", hint)
}

func quoted(k unstable.Kind, text string) string {
	if k == unstable.Array || k == unstable.InlineTable || k == unstable.Bool {
		return "this"
	}
	return shorten(strconv.Quote(text))
}

// shorten keeps messages readable.
func shorten(s string) string {
	if utf8.RuneCountInString(s) <= 40 {
		return s
	}
	return string([]rune(s)[:39]) + "…"
}

func (p *parser) key(e *unstable.Node) (names []string, offsets []int) {
	for it := e.Key(); it.Next(); {
		names = append(names, string(it.Node().Data))
		offsets = append(offsets, int(it.Node().Raw.Offset))
	}
	return names, offsets
}

func (p *parser) offsetOfKey(e *unstable.Node) int {
	_, offsets := p.key(e)
	return offsets[0]
}

// position is the line and the column, in bytes, of an offset.
func (p *parser) position(offset int) (line, column int) {
	before := p.src[:min(offset, len(p.src))]
	line = 1
	for i, b := range before {
		if b == '\n' {
			line++
			column = i + 1
		}
	}
	return line, len(before) - column + 1
}

func (p *parser) add(offset int, what, hint string) {
	line, column := p.position(offset)
	p.wrong.Add(&mistake.Error{File: p.file, Line: line, Column: column, What: what, Hint: hint})
}

// Find is the machine with this key.
func (p *Prices) Find(key string) (Machine, error) {
	i := slices.IndexFunc(p.Machines, func(m Machine) bool { return m.Key == key })
	if i < 0 {
		var all []string
		for _, m := range p.Machines {
			all = append(all, m.Key)
		}
		return Machine{}, &mistake.Error{File: p.File, What: fmt.Sprintf("there is no machine %q in the price table", shorten(key)), Hint: "there are " + strings.Join(all, ", ")}
	}
	return p.Machines[i], nil
}
