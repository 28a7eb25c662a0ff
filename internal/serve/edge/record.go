package edge

import (
	"net/netip"
	"strings"
	"time"
)

// A Record is one request in the access log. Of the client only its network is
// kept, and of targets only the path: queries carry secrets. Of a head that was
// refused nothing is known but what was wrong with it.
type Record struct {
	Time     time.Time `json:"time"`
	POP      string    `json:"pop,omitempty"`
	Client   string    `json:"client"` // a /24 or a /48
	Host     string    `json:"host"`
	Method   string    `json:"method"`
	Path     string    `json:"path"`
	Status   int       `json:"status"`
	Bytes    int64     `json:"bytes"` // of the body
	Duration float64   `json:"ms"`    // until the last byte was handed to the system
	Protocol string    `json:"protocol"`
	Cache    string    `json:"cache"` // "hit" (memory), "disk", or "none"
	Refused  string    `json:"refused,omitempty"`
	Agent    string    `json:"user_agent,omitempty"`
	Referrer string    `json:"referrer,omitempty"`
	Sample   int       `json:"sample,omitempty"` // how many requests it stands for, if more than one

	client netip.Addr // until it is written
}

// What is kept of strings that clients choose, in bytes. Records wait in memory,
// and a line should fit a pipe.
const (
	mostMethod   = 32
	mostHost     = 255
	mostPath     = 2048
	mostAgent    = 512
	mostReferrer = 1024
)

// log counts the exchange and hands the access log the record, of which the
// caller has filled in what became of the request.
func (x *exchange) log(rec Record) {
	x.meters.count(x.protocol, rec.Status, rec.Bytes)
	if log := x.server.options.AccessLog; log == nil || rec.Refused == "" && !log.Wants() {
		return
	}
	rec.Time, rec.POP, rec.client = x.start, x.server.options.Name, x.client()
	rec.Host, rec.Method = kept(x.host, x.host, mostHost), kept(x.method, x.method, mostMethod)
	rec.Path = kept(x.path, x.r.RequestURI, mostPath)
	rec.Duration = float64(time.Since(x.start)) / float64(time.Millisecond)
	rec.Protocol = x.protocol.String()
	if rec.Cache == "" {
		rec.Cache = "none"
	}
	if agent := first(x.r.Header["User-Agent"]); agent != "" {
		rec.Agent = kept(agent, agent, mostAgent)
	}
	if referrer := first(x.r.Header["Referer"]); referrer != "" {
		rec.Referrer = kept(withoutQuery(referrer), referrer, mostReferrer)
	}
	x.server.options.AccessLog.Add(rec)
}

// client returns whom a request is from, as far as trusted proxies say.
func (x *exchange) client() netip.Addr {
	proxies := x.server.options.TrustedProxies
	if !trusted(proxies, x.visitor.peer) {
		return x.visitor.peer
	}
	forwarded, _ := joined(x.r.Header["X-Forwarded-For"])
	return forwardedFor(proxies, x.visitor.peer, forwarded)
}

func cacheOf(stored string) string {
	switch stored {
	case "memory":
		return "hit"
	case "disk":
		return "disk"
	}
	return "none"
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

func withoutQuery(url string) string {
	if i := strings.IndexAny(url, "?#"); i >= 0 {
		return url[:i]
	}
	return url
}

// kept returns at most so many bytes of part. It does not keep whole, of which
// part is a piece, in memory where that is much larger.
func kept(part, whole string, most int) string {
	if len(part) > most {
		part = part[:most]
	}
	if len(whole) > 2*len(part)+64 {
		return strings.Clone(part)
	}
	return part
}
