package edge_test

import (
	"context"
	"fmt"

	"github.com/quic-go/quic-go"
)

// An h3Ender is a stream that can be ended in two ways.
type h3Ender interface {
	Close() error
	CancelWrite(code quic.StreamErrorCode)
}

func h3Fin(s h3Ender)   { _ = s.Close() }
func h3Abort(s h3Ender) { s.CancelWrite(quic.StreamErrorCode(h3InternalError)) }

// h3StreamRows are about unidirectional streams.
func h3StreamRows() []h3Row {
	creation := []h3Outcome{h3Connection(h3StreamCreationError)}
	critical := []h3Outcome{h3Connection(h3ClosedCriticalStream)}
	return []h3Row{
		{name: "a second control stream", rfc: "RFC 9114 §6.2.1", send: h3Uni(h3ControlStream, h3Settings()), want: creation},
		{name: "a second encoder stream", rfc: "RFC 9204 §4.2", send: h3Twice(h3EncoderStream), want: creation},
		{name: "a second decoder stream", rfc: "RFC 9204 §4.2", send: h3Twice(h3DecoderStream), want: creation},
		{name: "a push stream from a client", rfc: "RFC 9114 §6.2.2", send: h3Uni(h3PushStream, h3Int(0)), want: creation},
		{name: "the control stream is closed", rfc: "RFC 9114 §6.2.1", send: h3EndedControl(h3Fin, h3Settings()), want: critical},
		{name: "the control stream is reset", rfc: "RFC 9114 §6.2.1", send: h3EndedControl(h3Abort, h3Settings()), want: critical},
		{name: "the control stream is closed before SETTINGS", rfc: "RFC 9114 §6.2.1", send: h3EndedControl(h3Fin), want: append([]h3Outcome{h3Connection(h3MissingSettings)}, critical...)},
		{name: "the encoder stream is closed", rfc: "RFC 9204 §4.2", send: h3Ended(h3EncoderStream, h3Fin), want: critical},
		{name: "the decoder stream is closed", rfc: "RFC 9204 §4.2", send: h3Ended(h3DecoderStream, h3Fin), want: critical},
		{name: "the encoder stream is reset behind its type", rfc: "RFC 9204 §4.2", send: h3Ended(h3EncoderStream, h3Abort), want: critical},
		{name: "the decoder stream is reset behind its type", rfc: "RFC 9204 §4.2", send: h3Ended(h3DecoderStream, h3Abort), want: critical},
		{name: "encoder and decoder streams stay open and silent", rfc: "RFC 9204 §4.2", send: h3Silent, want: []h3Outcome{h3Ignored}},
		{name: "no unidirectional stream at all", rfc: "RFC 9114 §6.2.1", send: (*h3Client).survives, want: []h3Outcome{h3Ignored}},
		{name: "a stream ends before its type", rfc: "RFC 9114 §6.2", send: h3Typeless(h3Fin), want: []h3Outcome{h3Ignored}},
		{name: "a stream is reset before its type", rfc: "RFC 9114 §6.2", send: h3Typeless(h3Abort), want: []h3Outcome{h3Ignored}},
		{name: "a stream of a reserved type is stopped, and no more", rfc: "RFC 9114 §6.2.3", send: h3GreaseStreams(1), want: []h3Outcome{h3Reset(h3StreamCreationError), h3Ignored}},
		{name: "a hundred streams of unknown types, one after the other", rfc: "RFC 9114 §9", send: h3GreaseStreams(100), want: []h3Outcome{h3Reset(h3StreamCreationError), h3Ignored}},
	}
}

func h3Twice(kind uint64) func(*h3Client) h3Outcome {
	return func(c *h3Client) h3Outcome {
		c.openControl(h3Settings())
		c.openUni(kind)
		c.openUni(kind)
		return c.survives()
	}
}

// h3EndedControl sends a control stream and ends it.
func h3EndedControl(end func(h3Ender), wire ...[]byte) func(*h3Client) h3Outcome {
	return func(c *h3Client) h3Outcome {
		c.openControl(wire...)
		if got := c.hasBeenRead(); got != h3Ignored {
			return got
		}
		end(c.control)
		return c.end()
	}
}

func h3Silent(c *h3Client) h3Outcome {
	c.openControl(h3Settings())
	c.openUni(h3EncoderStream)
	c.openUni(h3DecoderStream)
	return c.survives()
}

func h3Typeless(end func(h3Ender)) func(*h3Client) h3Outcome {
	return func(c *h3Client) h3Outcome {
		c.openControl(h3Settings())
		s, err := c.conn.OpenUniStream()
		if err != nil {
			return h3OutcomeOf(err)
		}
		end(s)
		return c.survives()
	}
}

// h3GreaseStreams opens streams of types that nobody knows, and waits each time
// until the server has stopped it.
func h3GreaseStreams(n int) func(*h3Client) h3Outcome {
	return func(c *h3Client) h3Outcome {
		c.openControl(h3Settings())
		ctx, cancel := context.WithTimeout(c.t.Context(), h3Patience)
		defer cancel()
		got := h3Ignored
		for i := range uint64(n) {
			s, err := c.conn.OpenUniStreamSync(ctx)
			if err != nil {
				return h3OutcomeOf(err)
			}
			_, _ = s.Write(append(h3Int(h3GreaseStream+0x1f*i), "whatever this is"...))
			select {
			case <-s.Context().Done():
				got = h3OutcomeOf(context.Cause(s.Context()))
			case <-ctx.Done():
				return "failure: the stream was not stopped"
			}
		}
		if after := c.survives(); after != h3Ignored {
			return after
		}
		return got
	}
}

// h3ControlRows are about frames on the control stream.
func h3ControlRows() []h3Row {
	unexpected := []h3Outcome{h3Connection(h3FrameUnexpected)}
	identifier := []h3Outcome{h3Connection(h3IDError)}
	malformed := []h3Outcome{h3Connection(h3FrameError)}
	ignored := []h3Outcome{h3Ignored}
	rows := []h3Row{
		{name: "DATA on the control stream", rfc: "RFC 9114 §7.2.1", send: h3Control(h3Frame(h3FrameData, []byte("x"))), want: unexpected},
		{name: "HEADERS on the control stream", rfc: "RFC 9114 §7.2.2", send: h3Control(h3Headers(h3Get("/")...)), want: unexpected},
		{name: "PUSH_PROMISE on the control stream", rfc: "RFC 9114 §7.2.5", send: h3Control(h3Frame(h3FramePushPromise, h3Int(0), h3Section())), want: unexpected},
		{name: "CANCEL_PUSH of a push that never was", rfc: "RFC 9114 §7.2.3", send: h3Control(h3Frame(h3FrameCancelPush, h3Int(3))), want: identifier},
		{name: "MAX_PUSH_ID grows", rfc: "RFC 9114 §7.2.7", send: h3Control(h3Frame(h3FrameMaxPushID, h3Int(1)), h3Frame(h3FrameMaxPushID, h3Int(8))), want: ignored},
		{name: "MAX_PUSH_ID shrinks", rfc: "RFC 9114 §7.2.7", send: h3Control(h3Frame(h3FrameMaxPushID, h3Int(8)), h3Frame(h3FrameMaxPushID, h3Int(1))), want: identifier},
		{name: "MAX_PUSH_ID with a byte too many", rfc: "RFC 9114 §7.1", send: h3Control(h3Frame(h3FrameMaxPushID, h3Int(1, 0))), want: malformed},
		{name: "GOAWAY, and requests go on", rfc: "RFC 9114 §5.2", send: h3Control(h3Frame(h3FrameGoAway, h3Int(8))), want: ignored},
		{name: "GOAWAY twice with a smaller identifier", rfc: "RFC 9114 §5.2", send: h3Control(h3Frame(h3FrameGoAway, h3Int(8)), h3Frame(h3FrameGoAway, h3Int(0))), want: ignored},
		{name: "GOAWAY twice with a larger identifier", rfc: "RFC 9114 §5.2", send: h3Control(h3Frame(h3FrameGoAway, h3Int(0)), h3Frame(h3FrameGoAway, h3Int(8))), want: identifier},
		{name: "GOAWAY with a byte too many", rfc: "RFC 9114 §7.1", send: h3Control(h3Frame(h3FrameGoAway, h3Int(0, 0))), want: malformed},
		{name: "GOAWAY that ends before its identifier", rfc: "RFC 9114 §7.1", send: h3Control(h3FrameOfLength(h3FrameGoAway, 1), h3Int(1<<20)), want: malformed},
		{name: "unknown frames on the control stream", rfc: "RFC 9114 §9", send: h3Control(h3Frame(h3FrameGrease, []byte("grease")), h3Frame(h3FrameGrease+0x1f), h3Frame(0xf0f0f0, make([]byte, 9000))), want: ignored},
		{name: "PRIORITY_UPDATE of a request", rfc: "RFC 9218 §7.2", send: h3Control(h3Frame(0xf0700, h3Int(0), []byte("u=1, i"))), want: ignored},
		{name: "PRIORITY_UPDATE of a request beyond the limit of streams", rfc: "RFC 9218 §7.2", send: h3Control(h3Frame(0xf0700, h3Int(1<<20), []byte("u=1"))), want: identifier},
		{name: "PRIORITY_UPDATE without an identifier", rfc: "RFC 9218 §7.2", send: h3Control(h3Frame(0xf0700)), want: malformed},
		{name: "PRIORITY_UPDATE of what is no priority", rfc: "RFC 9218 §7", send: h3Control(h3Frame(0xf0700, h3Int(0), []byte("\x00,=u"))), want: ignored},
		{name: "PRIORITY_UPDATE of no request", rfc: "RFC 9218 §7.2", send: h3Control(h3Frame(0xf0700, h3Int(2), []byte("u=1"))), want: identifier},
		{name: "PRIORITY_UPDATE of a push", rfc: "RFC 9218 §7.2", send: h3Control(h3Frame(0xf0701, h3Int(0), []byte("u=1"))), want: identifier},
		{name: "a frame that the end of the control stream cuts", rfc: "RFC 9114 §7.1", send: h3EndedControl(h3Fin, h3Settings(), h3FrameOfLength(h3FrameGrease, 10), []byte("cut")), want: append([]h3Outcome{h3Connection(h3ClosedCriticalStream)}, malformed...)},
	}
	for kind, name := range h3HTTP2Frames {
		rows = append(rows, h3Row{name: "HTTP/2's " + name + " on the control stream", rfc: "RFC 9114 §7.2.8", send: h3Control(h3Frame(kind, make([]byte, 8))), want: unexpected})
	}
	return h3Sorted(rows)
}

// h3SettingsRows are about what a control stream begins with.
func h3SettingsRows() []h3Row {
	missing := []h3Outcome{h3Connection(h3MissingSettings)}
	settings := []h3Outcome{h3Connection(h3SettingsError)}
	rows := []h3Row{
		{name: "GOAWAY before SETTINGS", rfc: "RFC 9114 §6.2.1", send: h3WholeControl(h3Frame(h3FrameGoAway, h3Int(0)), h3Settings()), want: missing},
		{name: "DATA before SETTINGS", rfc: "RFC 9114 §6.2.1", send: h3WholeControl(h3Frame(h3FrameData, []byte("x")), h3Settings()), want: []h3Outcome{missing[0], h3Connection(h3FrameUnexpected)}},
		{name: "HTTP/2's PING before SETTINGS", rfc: "RFC 9114 §6.2.1", send: h3WholeControl(h3Frame(0x6, make([]byte, 8)), h3Settings()), want: []h3Outcome{missing[0], h3Connection(h3FrameUnexpected)}},
		{name: "MAX_PUSH_ID before SETTINGS", rfc: "RFC 9114 §6.2.1", send: h3WholeControl(h3Frame(h3FrameMaxPushID, h3Int(0)), h3Settings()), want: missing},
		{name: "an unknown frame before SETTINGS", rfc: "RFC 9114 §6.2.1", send: h3WholeControl(h3Frame(h3FrameGrease), h3Settings()), want: missing},
		{name: "SETTINGS twice", rfc: "RFC 9114 §7.2.4", send: h3Control(h3Settings()), want: []h3Outcome{h3Connection(h3FrameUnexpected)}},
		{name: "usual SETTINGS of browsers, with grease", rfc: "RFC 9114 §7.2.4.1", send: h3WholeControl(h3Settings(h3QPACKMaxTableCapacity, 65536, h3MaxFieldSectionSize, 262144, 0x7, 100, 0x33, 1, 0x1f*5+0x21, 7)), want: []h3Outcome{h3Ignored}},
		{name: "a known setting twice", rfc: "RFC 9114 §7.2.4", send: h3WholeControl(h3Settings(h3MaxFieldSectionSize, 9000, h3MaxFieldSectionSize, 9000)), want: []h3Outcome{settings[0], h3Ignored}},
		{name: "an unknown setting twice", rfc: "RFC 9114 §7.2.4", send: h3WholeControl(h3Settings(0x21, 1, 0x21, 1)), want: []h3Outcome{settings[0], h3Ignored}},
		{name: "SETTINGS_ENABLE_CONNECT_PROTOCOL of 2", rfc: "RFC 9220 §3", send: h3WholeControl(h3Settings(0x8, 2)), want: settings},
		{name: "SETTINGS_H3_DATAGRAM of 2", rfc: "RFC 9297 §2.1.1", send: h3WholeControl(h3Settings(0x33, 2)), want: settings},
		{name: "SETTINGS that end behind an identifier", rfc: "RFC 9114 §7.1", send: h3OpenControl(h3Frame(h3FrameSettings, h3Int(h3MaxFieldSectionSize, 9000, 0x21))), want: []h3Outcome{h3Connection(h3FrameError)}},
		{name: "SETTINGS that end within a value", rfc: "RFC 9114 §7.1", send: h3OpenControl(h3Frame(h3FrameSettings, h3Int(h3MaxFieldSectionSize), []byte{0x80})), want: []h3Outcome{h3Connection(h3FrameError)}},
		{name: "SETTINGS that the end of the stream cuts", rfc: "RFC 9114 §7.1", send: h3EndedControl(h3Fin, h3FrameOfLength(h3FrameSettings, 10), h3Int(0x21, 1)), want: []h3Outcome{h3Connection(h3FrameError), h3Connection(h3ClosedCriticalStream)}},
		{name: "SETTINGS of a gigabyte", rfc: "RFC 9114 §7.2.4", send: h3WholeControl(h3FrameOfLength(h3FrameSettings, 1<<30)), want: []h3Outcome{h3Connection(h3FrameError), h3Connection(h3ExcessiveLoad), settings[0]}},
	}
	for _, id := range []uint64{0x0, 0x2, 0x3, 0x4, 0x5} {
		rows = append(rows, h3Row{name: fmt.Sprintf("HTTP/2's setting %#x", id), rfc: "RFC 9114 §7.2.4.1", send: h3WholeControl(h3Settings(id, 1)), want: settings})
	}
	return rows
}
