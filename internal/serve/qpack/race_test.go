//go:build race

package qpack

const raceEnabled = true
