package config

import (
	"fmt"
	"slices"
	"strings"
)

// continents are the codes of `steer.map` that stand for continents. Four of
// them are countries in ISO 3166-1 too: see threeLetters.
const continents = "AF AN AS EU NA OC SA"

// threeLetters are the countries whose two letters stand for a continent. In a
// fleet file they are written with three.
var threeLetters = map[string]string{"AFG": "AF", "ASM": "AS", "NAM": "NA", "SAU": "SA"}

// countries are the codes of ISO 3166-1 alpha-2, and Kosovo's, which is in use.
const countries = "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ " +
	"CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR " +
	"GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP " +
	"KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ " +
	"NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW " +
	"SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ " +
	"UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW"

// hasCode reports whether code is in a list of codes of two letters.
func hasCode(list, code string) bool {
	return len(code) == 2 && !strings.Contains(code, " ") && strings.Contains(list, code)
}

// setMap reads `steer.map`. Whether its POPs exist shows when all are known.
func setMap(d *decoder, s *Steer, k Key, e entry) {
	t, ok := d.asTable(k, e)
	if !ok {
		return
	}
	s.Continents, s.Countries = make(map[string]string), make(map[string]string)
	for _, region := range t.entries {
		codes, code, f := parseRegion(region.name)
		if f != nil {
			d.wrong(region.at, f.what, f.hint)
			continue
		}
		into := s.Countries
		if codes == continents {
			into = s.Continents
		}
		pop, ok := d.asText(Key{Name: region.name, Example: region.name + ` = "au"`}, region.name, region.value)
		if !ok {
			continue
		}
		into[code] = pop
		d.later(func() { d.checkPOP(region.value.at, pop) })
	}
}

// parseRegion returns the code of a region and which list it is from.
func parseRegion(s string) (list, code string, f *flaw) {
	if hasCode(continents, s) {
		return continents, s, nil
	}
	if hasCode(countries, s) {
		return countries, s, nil
	}
	if two, ok := threeLetters[s]; ok {
		return countries, two, nil
	}
	hint := "write a continent (AF AN AS EU NA OC SA) or a country's two letters (FR, US, JP)"
	upper := strings.ToUpper(s)
	switch {
	case upper == "UK":
		hint = "did you mean `GB`?"
	case upper == "EL":
		hint = "did you mean `GR`?"
	case hasCode(continents, upper) || hasCode(countries, upper) || threeLetters[upper] != "":
		hint = fmt.Sprintf("did you mean `%s`?", upper)
	}
	return "", "", &flaw{fmt.Sprintf("%s is neither a continent nor a country", keyName(s)), hint}
}

// checkPOP reports a name that no POP has.
func (d *decoder) checkPOP(at Position, name string) {
	if slices.Contains(d.pops, name) {
		return
	}
	otherwise := "the POPs are " + strings.Join(d.pops, ", ")
	if len(d.pops) == 0 {
		otherwise = "add a table " + tableName("pops", name)
	}
	d.wrong(at, "no POP is called "+quote(name), didYouMean(name, d.pops, otherwise))
}
