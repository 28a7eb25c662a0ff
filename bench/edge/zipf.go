//go:build linux

package main

import (
	"fmt"
	"math/rand/v2"
	"sort"
	"strings"
)

// drawLength is how many requests the draw has; the loads go round and round in it.
const drawLength = 8192

// zipfDraw draws n of the paths: the k-th most popular with weight 1/k. Who is popular, and the draw, follow from the
// seed alone, so every server of every run is asked the same.
func zipfDraw(paths []string, n int, seed uint64) []string {
	rng := rand.New(rand.NewPCG(seed, seed))
	ranked := append([]string(nil), paths...)
	sort.Strings(ranked)
	rng.Shuffle(len(ranked), func(i, j int) { ranked[i], ranked[j] = ranked[j], ranked[i] })

	cumulative := make([]float64, len(ranked))
	sum := 0.0
	for i := range ranked {
		sum += 1 / float64(i+1)
		cumulative[i] = sum
	}
	draw := make([]string, n)
	for i := range draw {
		draw[i] = ranked[min(sort.SearchFloat64s(cumulative, rng.Float64()*sum), len(ranked)-1)]
	}
	return draw
}

// mostDrawn is the page that is drawn most often, of several the first by name.
func mostDrawn(draw []string) string {
	counts := map[string]int{}
	best := ""
	for _, p := range draw {
		counts[p]++
	}
	for p, n := range counts {
		page := strings.HasSuffix(p, ".html")
		if page && (best == "" || n > counts[best] || n == counts[best] && p < best) {
			best = p
		}
	}
	return best
}

// wrkScript is the draw as a Lua script for wrk, with every request built before the first is sent.
func wrkScript(draw []string) string {
	var b strings.Builder
	b.WriteString("local paths = {\n")
	for _, p := range draw {
		fmt.Fprintf(&b, "%q,\n", p)
	}
	b.WriteString(`}
local requests, count, next_one = {}, #paths, 0
init = function(args)
   for i = 1, count do requests[i] = wrk.format("GET", paths[i]) end
end
request = function()
   next_one = next_one + 1
   if next_one > count then next_one = 1 end
   return requests[next_one]
end
`)
	return b.String()
}

// uriList is the draw for h2load's --input-file; -B gives scheme, host and port.
func uriList(draw []string) string {
	var b strings.Builder
	for _, p := range draw {
		b.WriteString("https://127.0.0.1" + p + "\n")
	}
	return b.String()
}
