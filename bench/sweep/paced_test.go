package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestTheBusiestSecondIsFoundWhereverItBegins(t *testing.T) {
	at := func(milliseconds ...int) []time.Time {
		var times []time.Time
		for _, ms := range milliseconds {
			times = append(times, time.UnixMilli(int64(ms)))
		}
		return times
	}
	for _, c := range []struct {
		about string
		times []time.Time
		want  int
	}{
		{"nobody", nil, 0},
		{"one", at(5), 1},
		{"a second later is another second", at(0, 1000), 1},
		{"just within", at(0, 999), 2},
		{"over the border of two seconds", at(100, 900, 950, 1050, 1800, 3000), 4},
	} {
		if got := busiest(c.times, time.Second); got != c.want {
			t.Errorf("%s: %d, want %d", c.about, got, c.want)
		}
	}
}

func TestLimitsThatWereNotKeptAreSaid(t *testing.T) {
	for _, c := range []struct {
		about string
		p     pacing
		want  string
	}{
		{"as the limits are", pacing{Address: 40, Network: 500, OneAddress: 40, TenOfAnAddress: 400, OneNetwork: 500, TenOfANetwork: 5000}, "the limits were kept"},
		{"a little late", pacing{Address: 40, Network: 500, OneAddress: 55, TenOfAnAddress: 410, OneNetwork: 700, TenOfANetwork: 5100}, "the limits were kept"},
		{"an address in a second", pacing{Address: 40, Network: 500, OneAddress: 80}, "NOT kept"},
		{"an address in ten", pacing{Address: 40, Network: 500, TenOfAnAddress: 500}, "NOT kept"},
		{"a network in a second", pacing{Address: 40, Network: 500, OneNetwork: 1000}, "NOT kept"},
		{"a network in ten", pacing{Address: 40, Network: 500, TenOfANetwork: 6000}, "NOT kept"},
	} {
		var b bytes.Buffer
		m := measurement{Seconds: 26, CPU: 60, Pacing: &c.p}
		m.writePacing(&b, []measurement{{Client: "penny", Kind: "plain", InFlight: 2000, CPU: 50}, {Client: "nethttp", Kind: "plain", CPU: 200}})
		if text := b.String(); !strings.Contains(text, c.want) || strings.Count(text, "of its CPU") != 1 || !strings.Contains(text, "1.20 of its CPU without pacing and with 2000 in flight") {
			t.Errorf("%s: %s", c.about, text)
		}
	}
}
