package rules

import (
	"fmt"

	"pennyfarthing/internal/mistake"
)

// Unreachable returns the rules that can never apply because an earlier one
// always does first. They do no harm, but their author expects something of
// them.
func (r *Redirects) Unreachable() mistake.List {
	if r == nil {
		return nil
	}
	var out mistake.List
	first := make(map[string]*rule) // by what they match
	for i := range r.rules {
		rule := &r.rules[i]
		for _, key := range []string{rule.key(), everything} {
			if earlier := first[key]; earlier != nil && r.before(earlier, rule) {
				out.Add(&mistake.Error{
					File: r.file, Line: rule.line, Column: 1,
					What: fmt.Sprintf("the rule never applies: line %d matches everything that it matches", earlier.line),
					Hint: "move it up, or delete it",
				})
				break
			}
		}
		if earlier := first[rule.key()]; rule.alwaysApplies() && (earlier == nil || !r.before(earlier, rule)) {
			first[rule.key()] = rule
		}
	}
	return out
}

const everything = "/\x00" // the key of "/*"

// key returns the same for rules with the same source, whatever the names of its
// placeholders.
func (r *rule) key() string {
	shape := r.source.shape(func(string) string { return "\x00" })
	if r.host != "" {
		return r.scheme + "://" + r.host + shape
	}
	return shape
}

// alwaysApplies reports whether the rule applies to whatever its source matches,
// unless content comes first. A redirect with wildcards may lead back to where
// it comes from for some path, and is then left out.
func (r *rule) alwaysApplies() bool {
	_, fixed := r.source.fixed()
	return len(r.query) == 0 && (fixed || !isRedirect(r.status))
}

// before reports whether earlier applies whenever later could.
func (r *Redirects) before(earlier, later *rule) bool {
	return r.dialect == Cloudflare || earlier.force || !later.force
}
