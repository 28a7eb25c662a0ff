package h2

import (
	"net/http"
	"time"
)

// A tunnel is a stream of an extended CONNECT (RFC 8441), over which another
// protocol is spoken: WebSocket above all. To its handler it is a request whose
// body and whose answer go on at the same time.
//
// Such protocols are silent when they have nothing to say, in one direction or in
// both. So what bodies are held to, Grace and Rate, does not hold for tunnels. They
// may be quiet for Options.Idle:
//
//   - A Read of the body waits for that long at least, and for as long as there was
//     DATA in either direction less than that ago. Then its error is
//     os.ErrDeadlineExceeded. Deadlines that the handler sets count instead.
//   - What waits for the client's windows does so for that long. Then the stream is
//     reset.
//
// A handler that neither reads nor writes is left alone, as any other is.

// tunnelling reports whether a request was an extended CONNECT.
func (r *Request) tunnelling() bool { return r.protocol != "" }

// quiet reports whether a handler has waited for DATA of a tunnel, while there was
// none in the other direction either, for as long as a connection may be idle. mu is held.
func (b *requestBody) quiet(now time.Time) bool {
	since := b.waiting
	if since.IsZero() {
		return false
	}
	if since.Before(b.heard) {
		since = b.heard
	}
	return now.Sub(since) >= b.st.conn.server.options.Idle
}

// connected reports whether the answer has opened a tunnel: then there is nothing
// on the stream but DATA, of any length (RFC 9113 §8.5, RFC 9110 §9.3.6).
func (w *responseWriter) connected() bool {
	return w.method == http.MethodConnect && w.status >= 200 && w.status < 300
}
