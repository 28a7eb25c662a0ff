package config

import (
	"fmt"
	"net/netip"
	"slices"
)

// setPOPs reads the tables [pops.NAME].
func setPOPs(d *decoder, f *Fleet, k Key, e entry) {
	t, ok := d.asTable(k, e)
	if !ok {
		return
	}
	for _, pe := range t.entries {
		if pe.value.kind != kindTable {
			d.stray(pe, "a POP", "[pops.NAME]", describe("", popFields()))
			continue
		}
		if _, f := parseLabel(pe.name); f != nil {
			d.wrong(pe.at, f.what, f.hint)
		}
		where := tableName("pops", pe.name)
		p := POP{Name: pe.name, Line: pe.value.table.at.Line}
		d.pops = append(d.pops, pe.name)
		fill(d, &p, pe.value.table, where, popFields())
		d.checkBind(&p, pe.value.table)
		f.POPs = append(f.POPs, p)
	}
}

// stray reports something in [pops] or [sites] that is not the table of a POP
// or site; known are the keys that such a table has.
func (d *decoder) stray(e entry, noun, header string, known []Key) {
	hint := "write " + header + " and its keys below"
	if slices.ContainsFunc(known, func(k Key) bool { return k.Name == e.name }) {
		hint = keyName(e.name) + " belongs in " + header
	}
	d.mismatch(e.name, "the table of "+noun, e.value, hint)
}

// addAddress adds an address that no POP has yet.
func addAddress(d *decoder, p *POP, addr netip.Addr, at Position) {
	where := tableName("pops", p.Name)
	if first, ok := d.addresses[addr]; ok {
		d.wrong(at, fmt.Sprintf("`addresses`: %s is there twice; first in %s on line %d", addr, first.owner, first.line), "every POP needs addresses of its own")
		return
	}
	d.addresses[addr] = claim{where, at.Line}
	p.Addresses = append(p.Addresses, addr)
}

// setBind reads `bind`.
func setBind(d *decoder, p *POP, k Key, e entry) {
	texts(func(p *POP) *[]netip.Addr { return &p.Bind }, parseBind)(d, p, k, e)
}

// checkBind reports addresses that nothing would listen for: those of a family
// that `bind` does not have.
func (d *decoder) checkBind(p *POP, t *table) {
	e, ok := t.lookup("bind")
	if !ok || e.value.kind != kindList || len(p.Bind) != len(e.value.items) || len(p.Bind) == 0 {
		return
	}
	for _, addr := range p.Addresses {
		serves := func(b netip.Addr) bool { return b.Is4() == addr.Is4() || b == netip.IPv6Unspecified() }
		if !slices.ContainsFunc(p.Bind, serves) {
			d.wrong(e.value.at, fmt.Sprintf("`bind`: nothing listens for %s, which is in `addresses`", addr), "add an address of the same family to `bind`")
			return
		}
	}
}

// setDefault reads `default`, which one POP can be.
func setDefault(d *decoder, p *POP, k Key, e entry) {
	truth(func(p *POP) *bool { return &p.Default })(d, p, k, e)
	if !p.Default {
		return
	}
	if d.fallback != nil {
		d.wrong(e.at, fmt.Sprintf("`default`: %s is the default already, on line %d", d.fallback.owner, d.fallback.line), "delete one of them")
		return
	}
	d.fallback = &claim{tableName("pops", p.Name), e.at.Line}
}
