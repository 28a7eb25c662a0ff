package h2

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2"
)

func TestPriorityFields(t *testing.T) {
	for _, test := range []struct {
		field       string
		urgency     int64
		incremental bool
	}{
		{"", 3, false},
		{"u=0", 0, false},
		{"u=7, i", 7, true},
		{"i", 3, true},
		{" i=?1 ,\tu=1  ", 1, true},
		{"u=5,i=?0", 5, false},
		{"u=1, u=2", 2, false},
		{"u=1, u=8", 3, false},
		{"u=8", 3, false},
		{"u=-1", 3, false},
		{"u=1.0, i", 3, true},
		{"u=?1, i=1", 3, false},
		{"u", 3, false},
		{"u=2;x=1;y;z=\"\\\"\", i;a=?0", 2, true},
		{"a=token/1:2, b=\"x, y\", c=:YQ==:, d=(1 2.5;p \"s\" tok);q=1, e=(), *=-12, f.g-h_i*=?0, u=4", 4, false},
		{"u=999999999999999, i", 3, true},

		{"u=1,", 3, false},
		{"u=1,,i", 3, false},
		{",u=1", 3, false},
		{"u=1 i", 3, false},
		{"u = 1", 3, false},
		{"U=1", 3, false},
		{"u=1, 2=i", 3, false},
		{"u=", 3, false},
		{"u=1, a=\"", 3, false},
		{"u=1, a=\"\\a\"", 3, false},
		{"u=1, a=\"\x7f\"", 3, false},
		{"u=1, a=(1", 3, false},
		{"u=1, a=(1\"2\")", 3, false},
		{"u=1, a=:YQ==", 3, false},
		{"u=1, a=:Y!:", 3, false},
		{"u=1, a=?2", 3, false},
		{"u=1, a=1.", 3, false},
		{"u=1, a=1.2345", 3, false},
		{"u=1, a=1234567890123.0", 3, false},
		{"u=1, a=1000000000000000", 3, false},
		{"u=1, a=-", 3, false},
		{"u=1;", 3, false},
		{"u=1;x=", 3, false},
		{"u=1, \xff", 3, false},
	} {
		t.Run(test.field, func(t *testing.T) {
			if got, want := defaultPriority.with(test.field), newPriority(test.urgency, test.incremental); got != want {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

// String is what a client would say.
func (p priority) String() string { return fmt.Sprintf("u=%d, i=?%d", p.urgency(), p&1) }

func TestAServersPriorityIsMergedIntoTheClients(t *testing.T) {
	for _, test := range []struct{ client, server, want string }{
		{"u=1, i", "", "u=1, i=?1"},
		{"u=1, i", "u=5", "u=5, i=?1"},
		{"u=1, i", "i=?0", "u=1, i=?0"},
		{"u=1, i", "u=9", "u=1, i=?1"},
		{"u=1, i", "u=5, ?", "u=1, i=?1"},
	} {
		if got := defaultPriority.with(test.client).with(test.server).String(); got != test.want {
			t.Errorf("%q and then %q: %s, want %s", test.client, test.server, got, test.want)
		}
	}
}

func FuzzPriority(f *testing.F) {
	for _, field := range []string{"u=1, i", "a=(1 2.5;p \"s\\\"\" tok);q=1, e=(), *=-12", "c=:YQ==:,u=2;x", "i=?0 ,u", ",", "u=1,"} {
		f.Add(field)
	}
	f.Fuzz(func(t *testing.T, field string) {
		p := defaultPriority.with(field)
		if p >= priorities {
			t.Fatalf("%q: %d", field, p)
		}
		if again := defaultPriority.with(p.String()); again != p {
			t.Fatalf("%q is %s, and that is %s", field, p, again)
		}
		if strings.Trim(field, " \t") == "" {
			return
		}
		formed := func(s string) bool { return eachMember(s, func(string, member) {}) }
		if formed(field) != formed(field+", u=6") { // lines are joined
			t.Fatalf("%q is well-formed: %v, with one more member that is otherwise", field, formed(field))
		}
	})
}

func (c *client) prioritize(id uint32, field string) {
	c.t.Helper()
	payload := append(appendUint32(nil, id), field...)
	c.must(c.framer.WriteRawFrame(http2.FrameType(framePriorityUpdate), 0, 0, payload))
}

// prioritizing adds a handler whose answer says how urgent it is.
func prioritizing(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if urgency, ok := strings.CutPrefix(r.URL.Path, "/urgency/"); ok {
			w.Header().Set("Priority", "u="+urgency)
			_, _ = w.Write(letters(49152))
			return
		}
		h.ServeHTTP(w, r)
	})
}

// order lets the connection's window be used up by stream 1, does something, opens
// the window for n frames, and compares whose they are: "3" is a frame of stream 3,
// and "3." its last.
func order(t *testing.T, do func(c *client), n int, want string) {
	t.Helper()
	o := windowed()
	o.Handler = prioritizing(o.Handler)
	inBubble(t, o, func(c *client) {
		c.initialWindow(1 << 20)
		c.get(1, "/hit/65535")
		c.took()
		do(c)
		c.took()
		var got []string
		for range n {
			c.open(0, maxFrame) // by the frame: what is written at once would be decided at once
			for _, f := range c.took() {
				if words := strings.Fields(f); words[0] == "DATA" {
					got = append(got, words[1]+strings.Repeat(".", len(words)-3))
				}
			}
		}
		if got := strings.Join(got, " "); got != want {
			t.Errorf("the frames are of\n%s, want\n%s", got, want)
		}
	})
}

func TestBodiesAreSentInTheOrderOfTheirPriorities(t *testing.T) {
	const three = "/hit/49152" // frames
	for _, test := range []struct {
		name string
		do   func(c *client)
		want string
	}{
		{"without any priority they take turns", func(c *client) {
			c.get(3, three)
			c.get(5, three)
		}, "3 5 3 5 3. 5."},
		{"what is urgent goes first", func(c *client) {
			c.get(3, three, "priority", "u=5")
			c.get(5, three)
			c.get(7, three, "priority", "u=0")
		}, "7 7 7. 5 5 5. 3 3 3."},
		{"by default one goes after the other", func(c *client) {
			c.get(3, three, "priority", "u=3")
			c.get(5, three)
		}, "3 3 3. 5 5 5."},
		{"those that are incremental take turns", func(c *client) {
			c.get(3, three, "priority", "u=2, i")
			c.get(5, three, "priority", "u=2, i")
			c.get(7, three, "priority", "u=1, i")
		}, "7 7 7. 3 5 3 5 3. 5."},
		{"the first of those that are not incremental takes turns, too", func(c *client) {
			c.get(3, three, "priority", "i")
			c.get(5, three, "priority", "i=?0")
			c.get(7, three, "priority", "u=3")
			c.get(9, three, "priority", "i")
		}, "3 5 9 3 5 9 3. 5. 9. 7 7 7."},
		{"lines are joined", func(c *client) {
			c.get(3, three)
			c.get(5, three, "priority", "u=2", "priority", "i")
			c.get(7, three, "priority", "u=2", "priority", "i")
			c.get(9, three, "priority", "u=1", "priority", "u=") // malformed
		}, "5 7 5 7 5. 7. 3 3 3. 9 9 9."},
		{"what is small goes before others that are as urgent", func(c *client) {
			c.get(3, three)
			c.get(5, "/hit/16384")
			c.get(7, three, "priority", "u=2")
			c.get(9, "/hit/10", "priority", "u=5")
		}, "7 7 7. 5. 3 3 3. 9."},
		{"a frame that comes before the request", func(c *client) {
			c.prioritize(5, "u=0")
			c.get(3, three, "priority", "u=1")
			c.get(5, three, "priority", "u=2")
		}, "5 5 5. 3 3 3."},
		{"the last one of several frames", func(c *client) {
			c.prioritize(5, "u=0")
			c.prioritize(5, "u=7")
			c.get(3, three)
			c.get(5, three)
		}, "3 3 3. 5 5 5."},
		{"a frame that comes while the body waits", func(c *client) {
			c.get(3, three)
			c.get(5, three)
			c.get(7, three)
			c.prioritize(7, "u=1")
			c.prioritize(5, "u=2")
		}, "7 7 7. 5 5 5. 3 3 3."},
		{"a frame in the middle of a body", func(c *client) {
			c.get(3, three, "priority", "u=1")
			c.get(5, three, "priority", "u=2")
			c.open(0, maxFrame)
			c.took()
			c.prioritize(3, "u=3")
		}, "5 5 5. 3 3."},
		{"a frame without parameters means the defaults", func(c *client) {
			c.get(3, three, "priority", "u=4")
			c.get(5, three, "priority", "u=2")
			c.prioritize(5, "")
			c.prioritize(5, "u=?") // malformed
		}, "5 5 5. 3 3 3."},
		{"a frame of a stream that is closed", func(c *client) {
			c.prioritize(1, "u=0")
			c.get(3, three)
			c.get(5, three)
		}, "3 3 3. 5 5 5."},
		{"handlers", func(c *client) {
			c.get(3, "/write/49152", "priority", "u=4")
			c.took()
			c.get(5, "/write/49152", "priority", "u=2")
			c.took()
			c.get(7, "/hit/49152")
		}, "5 5 5 5. 7 7 7. 3 3 3 3."}, // the first 4 KiB come by themselves
		{"a handler that knows better", func(c *client) {
			c.get(3, "/urgency/0", "priority", "u=4, i")
			c.took()
			c.get(5, three, "priority", "u=1")
		}, "3 3 3 3. 5 5 5."},
		{"an earlier stream that comes later", func(c *client) {
			c.get(3, three, "priority", "u=5")
			c.get(5, three)
			c.get(7, three)
			c.prioritize(3, "u=3")
		}, "3 3 3. 5 5 5. 7 7 7."},
		{"the first of them is reset", func(c *client) {
			c.get(3, three, "priority", "u=3")
			c.get(5, three)
			c.get(7, three, "priority", "i")
			c.get(9, three)
			c.must(c.framer.WriteRSTStream(3, http2.ErrCodeCancel))
		}, "7 5 7 5 7. 5. 9 9 9."},
	} {
		t.Run(test.name, func(t *testing.T) {
			order(t, test.do, 15, test.want)
		})
	}
}

func TestAStreamWithoutAWindowLetsOthersGoOn(t *testing.T) {
	order(t, func(c *client) {
		c.setWindow(20000)
		c.get(3, "/hit/49152", "priority", "u=0")
		c.get(5, "/hit/49152", "priority", "u=1")
		c.get(7, "/hit/16384")
		c.open(5, 50000)
	}, 15, "3 3 5 5 5 5. 7 7.")
}

func TestWhoWaitsForItsTurnIsNotStuck(t *testing.T) {
	c := newConn(t.Context(), NewServer(Options{}), &feed{})
	defer c.cancel()
	c.prioritize()
	wait := func(id uint32, urgency int64, window int64) *stream {
		st := &stream{conn: c, id: id, window: window, body: letters(300_000), last: true, priority: newPriority(urgency, false)}
		c.streams[id] = st
		c.enqueue(st)
		return st
	}
	urgent, patient, windowless := wait(1, 0, maxWindow), wait(3, 1, maxWindow), wait(5, 0, 0)
	stuck := func(when string, want ...*stream) {
		t.Helper()
		c.out = nil
		c.pump()
		var ids, wantIDs []uint32
		for _, st := range []*stream{urgent, patient, windowless} {
			if !st.stuck.IsZero() {
				ids = append(ids, st.id)
			}
		}
		for _, st := range want {
			wantIDs = append(wantIDs, st.id)
		}
		if diff := cmp.Diff(wantIDs, ids); diff != "" {
			t.Errorf("%s: stuck (-want +got):\n%s", when, diff)
		}
	}
	c.sendWindow = maxWindow
	stuck("with much window")
	c.sendWindow = 0
	stuck("without window", urgent, patient, windowless)
	c.sendWindow = maxWindow
	stuck("when there is window again", windowless)
	c.reprioritize(urgent, newPriority(7, false))
	stuck("when it is the turn of the other one", windowless)
	if urgent.waited == 0 || patient.waited == 0 {
		t.Error("the time that was spent waiting for window was forgotten")
	}
	windowless.window = 1
	windowless.unstick()
	c.reprioritize(windowless, newPriority(6, false))
	stuck("when it has window of its own")
}

func TestPriorityFramesThatAreErrors(t *testing.T) {
	raw := func(flags http2.Flags, id uint32, payload string) func(c *client) {
		return func(c *client) {
			c.must(c.framer.WriteRawFrame(http2.FrameType(framePriorityUpdate), flags, id, []byte(payload)))
		}
	}
	setting := func(values ...uint32) func(c *client) {
		return func(c *client) {
			for _, v := range values {
				c.must(c.framer.WriteSettings(http2.Setting{ID: settingNoRFC7540Priorities, Val: v}))
			}
		}
	}
	goAway := func(why string) []string { return []string{"GOAWAY 1 " + why, "EOF"} }
	for _, test := range []struct {
		name string
		send func(c *client)
		want []string
	}{
		{"on a stream", raw(0, 1, "\x00\x00\x00\x03u=1"), goAway("PROTOCOL_ERROR")},
		{"without a stream", raw(0, 0, "\x00\x00\x00"), goAway("FRAME_SIZE_ERROR")},
		{"of stream 0", raw(0, 0, "\x00\x00\x00\x00u=1"), goAway("PROTOCOL_ERROR")},
		{"of a stream that could only be pushed", raw(0, 0, "\x00\x00\x00\x02u=1"), goAway("PROTOCOL_ERROR")},
		{"with a reserved bit and flags", raw(0xff, 0, "\x80\x00\x00\x03u=1"), nil},
		{"with nothing that is well-formed", raw(0, 0, "\x00\x00\x00\x03\xff"), nil},
		{"the setting is neither 0 nor 1", setting(2), goAway("PROTOCOL_ERROR")},
		{"the setting changes", setting(1), goAway("PROTOCOL_ERROR")},
		{"the setting is said again", setting(0, 0), []string{"SETTINGS ACK", "SETTINGS ACK"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, talkOptions(), func(c *client) {
				c.get(1, "/wait")
				test.send(c)
				c.saw(test.want...)
			})
		})
	}
}

func TestTheSettingOfTheFirstFrameCounts(t *testing.T) {
	inBubbleRaw(t, talkOptions(), func(c *client) {
		c.write([]byte(preface))
		for range 2 {
			c.must(c.framer.WriteSettings(http2.Setting{ID: settingNoRFC7540Priorities, Val: 1}))
		}
		c.must(c.framer.WriteSettings()) // which changes nothing
		c.saw("SETTINGS", "SETTINGS ACK", "SETTINGS ACK", "SETTINGS ACK")
		c.must(c.framer.WriteSettings(http2.Setting{ID: settingNoRFC7540Priorities, Val: 0}))
		c.saw("GOAWAY 0 PROTOCOL_ERROR", "EOF")
	})
}

func TestPrioritiesOfFewStreamsAreKept(t *testing.T) {
	o := talkOptions()
	o.Streams = 3
	for _, acknowledged := range []bool{false, true} {
		t.Run(fmt.Sprint("acknowledged: ", acknowledged), func(t *testing.T) {
			inBubble(t, o, func(c *client) {
				if acknowledged {
					c.must(c.framer.WriteSettingsAck())
				}
				c.get(3, "/wait")
				for range 5 {
					for _, id := range []uint32{1, 5, 9} { // the first one is closed
						c.prioritize(id, "u=1")
					}
				}
				c.saw()
				c.get(9, "/hit/0") // 5 cannot come any more
				c.saw("HEADERS 9 200 end")
				c.prioritize(11, "u=1")
				c.prioritize(13, "u=1")
				c.saw()
				c.prioritize(15, "u=1")
				if acknowledged {
					c.saw("GOAWAY 9 PROTOCOL_ERROR", "EOF")
				} else {
					c.saw()
				}
			})
		})
	}
}
