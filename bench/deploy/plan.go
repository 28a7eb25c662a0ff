//go:build linux

package main

import (
	"time"
)

// A weather is the network between the machine that deploys and all destinations: one line for all of them, as a laptop
// has it.
type weather struct {
	name  string
	delay time.Duration // from one end to the other
	rate  int64         // bits a second in each direction; 0 is no limit
	what  string
}

// A row is what is changed before a deploy.
type row struct {
	name string
	what string
	edit func(t *tree, turn int) (changed []string, err error) // nil: nothing

	// The bars: ours by rsync's.
	time  float64
	bytes float64
}

// barFar is what a deploy of nothing may take where an answer takes a quarter of a second.
type barFar struct {
	seconds float64
	bytes   int64
}

// A benchCase is a row, for one tree in one weather.
type benchCase struct {
	tree    treeKind
	weather weather
	row     row
	far     *barFar // beside the row's own
}

func (c benchCase) name() string { return c.tree.name + "/" + c.weather.name + "/" + c.row.name }

func near() weather { return weather{name: "near", what: "loopback"} }

func slow() weather {
	return weather{name: "slow", delay: 40 * time.Millisecond, rate: 20e6, what: "80 ms there and back, 20 Mbit/s in each direction for all three together"}
}

func far() weather {
	return weather{name: "far", delay: 125 * time.Millisecond, what: "250 ms there and back"}
}

const firstRow = "first"

func first() row {
	return row{name: firstRow, what: "first deploy, to destinations that have nothing", time: 0.5, bytes: 1}
}

func nothing() row { return row{name: "nothing", what: "nothing changed", time: 0.2, bytes: 1} }

func rows() []row {
	return []row{
		first(), nothing(),
		{name: "one", what: "one file changed: a sentence more in a text", edit: (*tree).editOne, time: 0.2, bytes: 1},
		{name: "percent", what: "1 % of the files changed: a sentence more in each text, another picture for each picture", edit: (*tree).editPercent, time: 1, bytes: 1},
	}
}

func allCases() []benchCase {
	files, small := filesTree(), smallTree()
	byte1 := row{name: "byte", what: "one byte changed in the middle of the file of 20 MB", edit: (*tree).editByte, time: 1, bytes: 1}
	var all []benchCase
	for _, w := range []weather{near(), slow()} {
		for _, r := range append(rows(), byte1) {
			all = append(all, benchCase{tree: files, weather: w, row: r})
		}
	}
	all = append(all, benchCase{tree: files, weather: far(), row: nothing(), far: &barFar{1, 20_000}})
	for _, w := range []weather{near(), slow()} {
		for _, r := range rows() {
			all = append(all, benchCase{tree: small, weather: w, row: r})
		}
	}
	return append(all, benchCase{tree: small, weather: far(), row: nothing(), far: &barFar{1.5, 20_000}})
}
