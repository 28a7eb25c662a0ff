package simnet

import (
	"strconv"
	"strings"
)

// Paths that sites have besides the front page.
const (
	home      = "/home/"      // where a relative redirect leads
	hopPrefix = "/hop/"       // of chains
	robotsTxt = "/robots.txt" // RFC 9309
)

// page is what a host answers to a path, which begins with a slash; a query does not count.
func (f *Fate) page(scheme Scheme, path string) Page {
	front := f.Front[scheme]
	path, _, _ = strings.Cut(path, "?")
	if path == "/" || front.Manner != Proper {
		return front
	}
	found := Page{Status: 200, Look: front.Look}
	if path == robotsTxt {
		if f.Robots == NoRobots {
			found.Status = 404
		}
		return found
	}
	switch {
	case path == home && front.To == Relative:
		return found
	case front.To == Hops && strings.HasPrefix(path, hopPrefix):
		left, err := strconv.Atoi(path[len(hopPrefix):])
		if err == nil && left == 0 {
			return found
		}
		if err == nil && left > 0 && left < int(front.Hops) {
			return Page{Status: front.Status, To: Hops, Hops: uint8(left)} //nolint:gosec // less than another
		}
	case front.Text == Soft404 || front.Status >= 400:
		return front // the same for everything
	case front.To == BareHTTP, front.To == BareHTTPS, front.To == WWWHTTP, front.To == WWWHTTPS:
		return front // the path is kept
	}
	return Page{Status: 404, Look: front.Look}
}

// appendLocation appends what a redirect's Location says, nothing where it has none.
func (w *World) appendLocation(dst []byte, p Page, scheme Scheme, host []byte, path string) []byte {
	base, _ := bare(host)
	switch p.To {
	case Nowhere, Missing:
		return dst
	case BareHTTP:
		return append(append(append(dst, "http://"...), base...), path...)
	case BareHTTPS:
		return append(append(append(dst, "https://"...), base...), path...)
	case WWWHTTP:
		return append(append(append(dst, "http://www."...), base...), path...)
	case WWWHTTPS:
		return append(append(append(dst, "https://www."...), base...), path...)
	case Landing:
		return append(append(append(dst, "https://"...), landing(hashOf(base, w.seed))...), "/?from=site"...)
	case OtherSite:
		return append(append(append(dst, "https://"...), w.Name(int(hashOf(base, w.seed)&(1<<nameBits-1)))...), '/') //nolint:gosec // 24 bits
	case Relative:
		return append(dst, "home/#top"...) // of the front page
	case Itself:
		return append(append(append(append(dst, scheme.String()...), "://"...), host...), path...)
	case Hops:
		return strconv.AppendInt(append(dst, hopPrefix...), int64(p.Hops)-1, 10)
	case Script:
		return append(dst, "javascript:void(0)"...)
	case Mail:
		return append(append(dst, "mailto:postmaster@"...), base...)
	case UserInfo:
		return append(append(append(dst, "http://admin:secret@"...), base...), '/')
	case DeadName:
		return append(append(append(dst, "https://"...), base...), ".invalid/"...)
	case Metadata:
		return append(dst, "http://169.254.169.254/latest/meta-data/"...)
	case PrivateSite:
		return append(dst, "http://10.0.0.1/"...)
	}
	return dst
}
