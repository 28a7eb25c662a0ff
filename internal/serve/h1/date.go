package h1

import (
	"net/http"
	"sync/atomic"
	"time"
)

// A dateLine is the Date field of answers, made anew every second.
type dateLine struct{ current atomic.Pointer[datedLine] }

type datedLine struct {
	second int64
	line   []byte
}

// clock is shared by all loops: it is a cache of the time.
var clock dateLine

func (d *dateLine) line(now time.Time) []byte {
	second := now.Unix()
	if l := d.current.Load(); l != nil && l.second == second {
		return l.line
	}
	l := &datedLine{second: second, line: []byte("Date: " + now.UTC().Format(http.TimeFormat) + "\r\n")}
	d.current.Store(l)
	return l.line
}
