package site

import "testing"

func TestAHitAllocatesNothing(t *testing.T) {
	s := best(t, compiled(t, files{
		"index.html": text(1, 5000), "app.3f9c2b1e.js": text(2, 5000), "_headers": "/*\n  X-A: 1\n", "_redirects": "/old /new\n/* /index.html 200\n",
		"large.bin": noise(1, MaxInMemory+1),
	}, func(o *Options) { o.HSTS = 1e9 }))
	tag, date := get(t, s, "/").header.Get("Etag"), get(t, s, "/").header.Get("Last-Modified")
	for _, test := range []struct {
		name string
		want int
		q    Request
	}{
		{"200", 200, Request{Method: "GET", Path: "/"}},
		{"200 over TLS", 200, Request{Method: "GET", Path: "/app.3f9c2b1e.js", Scheme: "https"}},
		{"200 from disk", 200, Request{Method: "GET", Path: "/large.bin"}},
		{"coded 200", 200, Request{Method: "GET", Path: "/", AcceptEncoding: "gzip, deflate, br, zstd", HasAcceptEncoding: true}},
		{"HEAD", 200, Request{Method: "HEAD", Path: "/"}},
		{"304 by tag", 304, Request{Method: "GET", Path: "/", IfNoneMatch: `"a", ` + tag}},
		{"304 by date", 304, Request{Method: "GET", Path: "/", IfModifiedSince: date}},
	} {
		var status int
		fields := 0
		allocs := testing.AllocsPerRun(100, func() {
			answer := s.Respond(&test.q)
			status = answer.Status
			for range answer.Fields() {
				fields++
			}
			_, _ = answer.Memory()
		})
		if status != test.want || fields == 0 || allocs != 0 {
			t.Errorf("%s: status %d, %.0f allocations", test.name, status, allocs)
		}
	}
}
