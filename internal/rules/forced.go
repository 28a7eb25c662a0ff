package rules

import "slices"

// Forced reports whether a rule may apply where the site has content of its own,
// so that rules must be asked before the content is.
func (r *Redirects) Forced() bool {
	return r.Len() > 0 && (r.dialect == Cloudflare || slices.ContainsFunc(r.rules, func(rule rule) bool { return rule.force }))
}
