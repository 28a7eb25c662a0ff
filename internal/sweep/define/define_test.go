package define_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"pennyfarthing/internal/sweep/define"
	"pennyfarthing/internal/sweep/evidence"
	"pennyfarthing/internal/verdict"
)

// full is the policy that leaves no question open.
func full() define.Policy {
	return define.Policy{HTTPS: define.HTTPSBoth, WWW: true, Follow: 5, Retries: 1, Resolvers: 2}
}

// usual is what sweeps ask unless told otherwise.
func usual() define.Policy {
	p := full()
	p.HTTPS = define.HTTPSFirst
	return p
}

// builtin returns the built-in definition of that name.
func builtin(t testing.TB, name string, p define.Policy) *define.Definition {
	t.Helper()
	d, err := define.Parse(name, p)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// try makes a try of "https example.com 301 /there" or "http example.com tcp.refused".
func try(t testing.TB, text string) evidence.Try {
	t.Helper()
	words := strings.Fields(text)
	out := evidence.Try{Scheme: words[0], Host: words[1], Verdict: words[2]}
	if n, _ := fmt.Sscan(words[2], &out.Status); n == 1 {
		out.Verdict = "http.status"
	}
	if len(words) > 3 {
		out.Location = words[3]
	}
	return out
}

// rowOf makes the row of a target with these tries, as far as definitions look at it.
func rowOf(t testing.TB, target string, tries ...string) *evidence.Row {
	t.Helper()
	row := &evidence.Row{Target: target}
	for _, text := range tries {
		row.Tries = append(row.Tries, try(t, text))
	}
	for i := range row.Tries {
		if s := row.Tries[i].Status; s != 0 { // one chain in these tests
			row.Status, row.Verdict = s, row.Tries[i].Verdict
		}
	}
	if row.Verdict == "" && len(row.Tries) > 0 {
		row.Verdict = row.Tries[0].Verdict
	}
	return row
}

func TestEveryVerdictHasItsClass(t *testing.T) {
	// What a target is in whose every try this was the verdict: tonywang2024, strict, revised.
	want := map[string][3]define.Class{}
	for _, name := range verdict.Names() {
		code, err := verdict.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		switch code.Class() {
		case verdict.Answered:
			want[name] = [3]define.Class{define.Alive, define.Alive, define.Alive}
		case verdict.Skip:
			want[name] = [3]define.Class{define.Skipped, define.Skipped, define.Skipped}
		case verdict.Self:
			want[name] = [3]define.Class{define.Suspect, define.Suspect, define.Suspect}
		default:
			want[name] = [3]define.Class{define.Dead, define.Dead, define.Dead}
		}
	}
	for name, classes := range want {
		row := &evidence.Row{Target: "example.com", Verdict: name}
		code, _ := verdict.Parse(name)
		for _, host := range []string{"example.com", "www.example.com"} {
			for _, scheme := range []string{"https", "http"} {
				row.Tries = append(row.Tries, evidence.Try{Scheme: scheme, Host: host, Verdict: name})
				if code.Class() == verdict.Answered {
					row.Tries[len(row.Tries)-1].Status, row.Status, row.FirstStatus = 200, 200, 200
				}
			}
		}
		for i, d := range define.Builtin(full()) {
			if got := d.Judge(row); got != classes[i] {
				t.Errorf("%s is %s by %s, want %s", name, got, d.Name(), classes[i])
			}
		}
		// A certificate that is not right does not stop a request: the answer counts.
		if code.Class() == verdict.TLS {
			row.Tries[0].Status, row.Status, row.FirstStatus = 200, 200, 200
			if got := builtin(t, "strict", full()).Judge(row); got != define.Alive {
				t.Errorf("an answer with %s is %s by strict", name, got)
			}
		}
		// Without an answer nothing is dead in a row that is suspect.
		if classes[0] == define.Dead {
			row.Suspect, row.Status, row.FirstStatus, row.Tries[0].Status = true, 0, 0, 0
			for _, d := range define.Builtin(full()) {
				if got := d.Judge(row); got != define.Suspect {
					t.Errorf("a suspect row with %s is %s by %s", name, got, d.Name())
				}
			}
		}
	}
}

func TestStatusesMakeTheDifferenceBetweenDefinitions(t *testing.T) {
	for status, want := range map[int32][3]define.Class{
		200: {define.Alive, define.Alive, define.Alive},
		204: {define.Alive, define.Alive, define.Alive},
		301: {define.Alive, define.Alive, define.Alive},
		400: {define.Alive, define.Alive, define.Alive},
		401: {define.Alive, define.Alive, define.Blocked},
		403: {define.Alive, define.Alive, define.Blocked},
		404: {define.Dead, define.Alive, define.Alive},
		410: {define.Alive, define.Alive, define.Alive},
		429: {define.Alive, define.Alive, define.Blocked},
		500: {define.Dead, define.Alive, define.Alive},
		503: {define.Dead, define.Alive, define.Alive},
		521: {define.Dead, define.Alive, define.Blocked},
		530: {define.Dead, define.Alive, define.Alive},
		999: {define.Alive, define.Alive, define.Alive},
	} {
		row := rowOf(t, "example.com", "https example.com tcp.refused", fmt.Sprintf("http example.com %d", status))
		for i, d := range define.Builtin(full()) {
			if got := d.Judge(row); got != want[i] {
				t.Errorf("%d is %s by %s, want %s", status, got, d.Name(), want[i])
			}
		}
	}
}

func TestTheStudyLooksAtTheFirstAnswerOfPort80Alone(t *testing.T) {
	never := full()
	never.HTTPS = define.HTTPSNever
	only := full()
	only.HTTPS = define.HTTPSOnly
	for _, test := range []struct {
		name   string
		policy define.Policy
		target string
		tries  []string
		want   define.Class
	}{
		{"a redirect to what is dead is an answer", full(), "example.com", []string{"https example.com tcp.refused", "http example.com 301 https://example.com/", "https example.com tcp.refused"}, define.Alive},
		{"HTTPS does not save it", full(), "example.com", []string{"https example.com 200", "http example.com 404"}, define.Dead},
		{"www does not save it", full(), "example.com", []string{"https example.com tcp.refused", "http example.com tcp.refused", "https www.example.com 200"}, define.Dead},
		{"it was not asked, because HTTPS answered", usual(), "example.com", []string{"https example.com 200"}, define.Unasked},
		{"HTTPS led to it", usual(), "example.com", []string{"https example.com 302 http://example.com", "http example.com 503"}, define.Dead},
		{"HTTPS led to another page of it", usual(), "example.com", []string{"https example.com 302 http://example.com/de/", "http example.com 404"}, define.Unasked},
		{"another page of it in a chain, then itself", full(), "example.com", []string{"https example.com 302 http://example.com/de/", "http example.com 404", "http example.com 200"}, define.Alive},
		{"a page was not found behind a relative redirect", never, "example.com", []string{"http example.com 302 de/", "http example.com 404"}, define.Alive},
		{"a loop", never, "example.com", []string{"http example.com 302 /"}, define.Alive},
		{"the name does not exist, said for HTTPS", usual(), "example.com", []string{"https example.com dns.nxdomain", "https example.com dns.nxdomain"}, define.Dead},
		{"one resolver failed, the other did not", usual(), "example.com", []string{"https example.com dns.servfail", "https example.com 200"}, define.Unasked},
		{"the first address failed", never, "example.com", []string{"http example.com tcp.timeout", "http example.com 200"}, define.Alive},
		{"both failed", never, "example.com", []string{"http example.com tcp.timeout", "http example.com tcp.refused"}, define.Dead},
		{"never asked", only, "example.com", []string{"https example.com tcp.refused"}, define.Unasked},
		{"a port of its own", full(), "example.com:8080", []string{"http example.com:8080 404"}, define.Unasked},
		{"port 80 by its number", full(), "example.com:80", []string{"http example.com 404"}, define.Dead},
		{"an address", full(), "192.0.2.1", []string{"https 192.0.2.1 tcp.refused", "http 192.0.2.1 404"}, define.Dead},
		{"a URL of HTTPS", full(), "https://example.com/", []string{"https example.com 404"}, define.Unasked},
		{"a URL that is what the study asks", full(), "http://example.com/", []string{"http example.com 404"}, define.Dead},
		{"a URL that is not", full(), "http://example.com/a", []string{"http example.com 404"}, define.Unasked},
		{"our own fault, and then theirs", never, "example.com", []string{"http example.com self.network", "http example.com tcp.refused"}, define.Dead},
		{"our own fault", never, "example.com", []string{"http example.com tcp.refused", "http example.com self.network"}, define.Suspect},
	} {
		if got := builtin(t, "tonywang2024", test.policy).Judge(rowOf(t, test.target, test.tries...)); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

func TestStrictNeedsEveryOtherWay(t *testing.T) {
	refused := []string{"https example.com tcp.refused", "http example.com tcp.refused", "https www.example.com tcp.refused", "http www.example.com tcp.refused"}
	with := func(change func(*define.Policy)) define.Policy {
		p := usual()
		change(&p)
		return p
	}
	for _, test := range []struct {
		name   string
		policy define.Policy
		target string
		tries  []string
		want   define.Class
	}{
		{"nothing anywhere", usual(), "example.com", refused, define.Dead},
		{"www answered", usual(), "example.com", append(refused[:2:2], "https www.example.com 200"), define.Alive},
		{"www was not asked", with(func(p *define.Policy) { p.WWW = false }), "example.com", refused[:2], define.Unasked},
		{"HTTPS was not asked", with(func(p *define.Policy) { p.HTTPS = define.HTTPSNever }), "example.com", refused[1:2], define.Unasked},
		{"HTTP was not asked", with(func(p *define.Policy) { p.HTTPS = define.HTTPSOnly }), "example.com", refused[:1], define.Unasked},
		{"once is not enough", with(func(p *define.Policy) { p.Resolvers, p.Retries = 1, 0 }), "example.com", refused, define.Unasked},
		{"an address has no www", with(func(p *define.Policy) { p.WWW = false }), "192.0.2.1", []string{"https 192.0.2.1 tcp.refused", "http 192.0.2.1 tcp.refused"}, define.Dead},
		{"a URL is asked for itself", with(func(p *define.Policy) { p.WWW, p.HTTPS = false, define.HTTPSNever }), "https://example.com/a", refused[:1], define.Dead},
		{"a private address", usual(), "example.com", append(refused[:2:2], "https www.example.com skip.private"), define.Skipped},
		{"no tries", usual(), "example.com", nil, define.Unasked},
	} {
		if got := builtin(t, "strict", test.policy).Judge(rowOf(t, test.target, test.tries...)); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

func TestARunSaysWhatItNeverAsked(t *testing.T) {
	for _, test := range []struct {
		name, want string
		policy     define.Policy
	}{
		{"tonywang2024", "", full()},
		{"tonywang2024", "this run never asked port 80 of names that answered over HTTPS", usual()},
		{"tonywang2024", "this run never asked port 80", define.Policy{HTTPS: define.HTTPSOnly}},
		{"strict", "", usual()},
		{"strict", "this run never asked HTTPS, nor the name with or without www, nor a second time", define.Policy{HTTPS: define.HTTPSNever, Resolvers: 1}},
		{"revised", "this run never asked HTTP", define.Policy{HTTPS: define.HTTPSOnly, WWW: true, Resolvers: 2}},
	} {
		if got := builtin(t, test.name, test.policy).Unasked(); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

// studyDead is the study's own rule: its workers counted a status for each domain, 0
// for a connection that failed and 1000 for a lookup that did.
func studyDead(status int) bool {
	return status == 0 || status == 1000 || status == 404 || status >= 500 && status < 600
}

func TestTheDefinitionOf2024AgreesWithTheStudysRule(t *testing.T) {
	rng := rand.New(rand.NewPCG(2024, 9))
	elsewhere := []string{"tcp.refused", "200", "404", "503", "tls.version", "301 https://www.example.com/", "302 http://example.com/x"}
	d := builtin(t, "tonywang2024", full())
	for range 20_000 {
		// What HTTPS says first is of no account, nor what happened before the last word.
		tries := []string{"https example.com " + elsewhere[rng.IntN(len(elsewhere))]}
		if strings.HasSuffix(tries[0], "/x") {
			tries = append(tries, "http example.com 404") // the page it led to
		}
		var status int
		switch rng.IntN(4) {
		case 0:
			status = 1000
			tries = []string{"https example.com dns.timeout", "https example.com dns.nxdomain"}
		case 1:
			tries = append(tries, "http example.com tcp.reset", "http example.com http.timeout")
		default:
			status = []int{200, 301, 302, 307, 308, 400, 401, 403, 404, 409, 410, 416, 429, 500, 501, 502, 503, 521, 530, 599, 600, 999}[rng.IntN(22)]
			if rng.IntN(3) == 0 {
				tries = append(tries, "http example.com tcp.timeout")
			}
			tries = append(tries, fmt.Sprintf("http example.com %d https://www.example.com/", status), "https www.example.com 404")
		}
		row := rowOf(t, "example.com", tries...)
		want := define.Alive
		if studyDead(status) {
			want = define.Dead
		}
		if got := d.Judge(row); got != want {
			t.Fatalf("%d is %s, want %s: %q", status, got, want, tries)
		}
	}
}
