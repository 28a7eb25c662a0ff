package simnet

import (
	"math"
	"testing"

	"pennyfarthing/internal/verdict"
)

func TestAMillionNamesFareAsTheStudySays(t *testing.T) {
	if testing.Short() {
		t.Skip("a million names take some seconds")
	}
	for _, profile := range []Profile{TonyWang2024, Quick} {
		t.Run(profile.String(), func(t *testing.T) {
			t.Parallel()
			const names = 1_000_000
			w := NewWorld(1, profile)
			study, strict := 0, 0
			everything := Policy{HTTPS: Both, WWW: true, Follow: 0}
			port80 := Policy{HTTPS: Never}
			for i := range names {
				name := w.Name(i)
				code, status := w.Truth(port80, name)
				if code.Class() != verdict.Answered || status == 404 || status >= 500 {
					study++
				}
				if _, status := w.Truth(everything, name); status == 0 { // nothing answered
					strict++
				}
			}
			for _, share := range []struct {
				what string
				got  int
				want float64
			}{{"dead by the study's definition", study, 27.6}, {"dead by the strict definition", strict, 14.0}} {
				if got := float64(share.got) * 100 / names; math.Abs(got-share.want) > 0.1 {
					t.Errorf("%.3f %% are %s, want %.1f", got, share.what, share.want)
				} else {
					t.Logf("%.3f %% are %s", got, share.what)
				}
			}
		})
	}
}
