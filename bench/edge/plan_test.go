//go:build linux

package main

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestSelectCases(t *testing.T) {
	tests := []struct {
		name, only string
		want       []string
	}{
		{"one by name", "h1-1k", []string{"h1-1k"}},
		{"in the plan's order, each once", "h2-1k-m10,h1-1k,h1-1k", []string{"h1-1k", "h2-1k-m10"}},
		{"by pattern", "h2-16k-*", []string{"h2-16k-m1", "h2-16k-m10", "h2-16k-m100"}},
		{"of every kind", "connect,h1-mix-hot,fair-h2,idle-tls", []string{"connect", "h1-mix-hot", "idle-tls", "fair-h2"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			picked, err := selectCases(allCases(), splitList(test.only))
			var names []string
			for _, c := range picked {
				names = append(names, c.name)
			}
			if err != nil || !slices.Equal(names, test.want) {
				t.Errorf("got %v, %v, want %v", names, err, test.want)
			}
		})
	}
	for _, bad := range []string{"h3-1k", "["} {
		if _, err := selectCases(allCases(), []string{bad}); !errors.Is(err, errUsage) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestAllProblemsOfTheFlagsAreSaid(t *testing.T) {
	_, err := parseOptions([]string{"-turns", "0", "-idle", "0", "-servers", "apache,nginx,nginx", "more"})
	if !errors.Is(err, errUsage) {
		t.Fatal(err)
	}
	for _, want := range []string{"-turns", "-idle", `"apache"`, "twice", "unexpected"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
}

func TestTheDrawFollowsFromTheSeed(t *testing.T) {
	paths := []string{"/a", "/b", "/c", "/d"}
	first, second := zipfDraw(paths, 20000, 1), zipfDraw([]string{"/d", "/c", "/b", "/a"}, 20000, 1)
	if !slices.Equal(first, second) {
		t.Error("the order of the files matters")
	}
	var counts []int
	for _, p := range paths {
		n := 0
		for _, drawn := range first {
			if drawn == p {
				n++
			}
		}
		counts = append(counts, n)
	}
	slices.Sort(counts) // weights 1/4, 1/3, 1/2, 1 of 25/12
	for i, want := range []int{2400, 3200, 4800, 9600} {
		if got := counts[i]; got < want*9/10 || got > want*11/10 {
			t.Errorf("counts %v, want about 2400, 3200, 4800, 9600", counts)
		}
	}
}

func TestPathsThatVisitorsAskFor(t *testing.T) {
	for file, want := range map[string]string{
		"/manual/index.html": "/manual/", "/manual/bookindex.html": "/manual/bookindex.html", "/manual/a b.txt": "/manual/a%20b.txt",
	} {
		if got := requestPath(file); got != want {
			t.Errorf("%s: %s, want %s", file, got, want)
		}
	}
}

func TestEveryConfigurationSendsTheCommonFields(t *testing.T) {
	p := place{root: "/r", rootGzip: "/z", mode: overTLS, port: 4433, cert: &certificate{certFile: "/c.pem", keyFile: "/k.pem"}}
	for name, text := range map[string]string{"nginx": nginxConfig(p), "h2o": h2oConfig(p), "caddy": caddyConfig(p)} {
		wanted := []string{"/z", "4433", "/c.pem", "/k.pem"}
		for _, f := range fields {
			wanted = append(wanted, f.name, f.value)
		}
		for _, want := range wanted {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %q is not in\n%s", name, want, text)
			}
		}
	}
}

func TestOnlyLoggedModesHaveALog(t *testing.T) {
	p := place{root: "/r", rootGzip: "/z", mode: plain, port: 80}
	if text := nginxConfig(p); !strings.Contains(text, "access_log off;") || strings.Contains(text, "split_clients") {
		t.Error(text)
	}
	p.mode = p.mode.withLog()
	if text := nginxConfig(p); strings.Contains(text, "access_log off;") || !strings.Contains(text, "1% 1;") || !strings.Contains(text, "if=$drawn") {
		t.Error(text)
	}
	for before, after := range map[mode]mode{plain: plainLog, overTLS: tlsLog} {
		if got := before.withLog(); got != after || !got.logged() || before.logged() || got.tls() != before.tls() {
			t.Errorf("%s with a log is %s", before, got)
		}
	}
}

func TestServersHaveRoomForTheirConnections(t *testing.T) {
	p := place{mode: plain, most: 10000}
	for name, text := range map[string]string{"nginx": nginxConfig(p), "h2o": h2oConfig(p)} {
		if !strings.Contains(text, "connections") || !strings.Contains(text, "12000") {
			t.Errorf("%s: no room for 12000 in\n%s", name, text)
		}
	}
}

func TestHeadsAreCompared(t *testing.T) {
	first := headFields("HTTP/1.1 200 OK\r\nServer: nginx\r\nETag: \"a\"\r\nX: 1\r\n")
	second := headFields("HTTP/1.1 200 OK\r\netag: \"b\"\r\nX: 2\r\nVary: y\r\n")
	got := compareHeads([]string{"a", "b"}, []map[string]string{first, second})
	if want := []string{"b: also vary: y; no server; x: 2 (not 1)"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
