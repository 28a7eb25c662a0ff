//go:build race

package site

// raceDetector tells tests that measure memory that they would measure the
// detector's.
const raceDetector = true
