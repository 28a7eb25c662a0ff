package rules_test

import (
	"testing"

	"pennyfarthing/internal/mistake"
	"pennyfarthing/internal/rules"
)

func TestDialectsHaveNames(t *testing.T) {
	for _, d := range []rules.Dialect{rules.Netlify, rules.Cloudflare} {
		if got, err := rules.ParseDialect(d.String()); got != d || err != nil {
			t.Errorf("ParseDialect(%q) is %v, %v", d, got, err)
		}
	}
	_, err := rules.ParseDialect("cloudfare")
	compareMistakes(t, "", []mistake.Error{{What: `dialect "cloudfare" is not known`, Hint: `did you mean "cloudflare"?`}}, err)
}
