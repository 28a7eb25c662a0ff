package rules

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// A param is a query parameter that a rule asks for.
type param struct {
	key     string
	value   string // what it must be; not used if it is captured
	capture int    // index of the captured value; -1 if it must be value
}

// parseParam reads key=value or key=:name.
func parseParam(text string, names []string) (param, []string, *problem) {
	key, value, ok := strings.Cut(text, "=")
	if !ok || key == "" {
		return param{}, names, &problem{
			0, fmt.Sprintf("expected a query parameter as key=value before the target, found %q", text),
			fmt.Sprintf("write %[1]s=:%[1]s for any value", strings.Trim(key, "=?&/")),
		}
	}
	p := param{key: unescape(key), value: unescape(value), capture: -1}
	name := placeholderAt(value)
	if name == "" {
		return p, names, nil
	}
	if name != value[1:] {
		return p, names, &problem{
			len(key) + 1, fmt.Sprintf("the placeholder :%s is only a part of %q", name, value),
			fmt.Sprintf("write %s=:%s", key, name),
		}
	}
	if slices.Contains(names, name) {
		return p, names, &problem{
			len(key) + 1, fmt.Sprintf("the placeholder :%s stands twice in the source", name),
			"give each its own name",
		}
	}
	p.capture = len(names)
	return p, append(names, name), nil
}

// matchQuery reports whether a raw query consists of just these parameters, in
// whatever order, and appends the captured values.
func matchQuery(params []param, raw string, values []string) ([]string, bool) {
	values = append(values, make([]string, len(params))...)
	var seen uint64 // maxWildcards bounds the number of parameters
	found := 0
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		key, value, _ := strings.Cut(pair, "=")
		i := slices.IndexFunc(params, func(p param) bool { return p.key == unescapeQuery(key) })
		if i < 0 || seen&(1<<i) != 0 || !params[i].accepts(unescapeQuery(value)) {
			return nil, false
		}
		if params[i].capture >= 0 {
			values[params[i].capture] = unescapeQuery(value)
		}
		seen |= 1 << i
		found++
	}
	return values, found == len(params)
}

func (p param) accepts(value string) bool {
	if p.capture >= 0 {
		return value != ""
	}
	return value == p.value
}

func unescapeQuery(s string) string {
	if plain, err := url.QueryUnescape(s); err == nil {
		return plain
	}
	return s
}

// passOn returns a raw query of a request in a form that may stand in a
// Location.
func passOn(raw string) string {
	var b strings.Builder
	escapeAgain(&b, raw, inQuery)
	return b.String()
}
