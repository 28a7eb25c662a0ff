package define_test

import (
	"strings"
	"testing"

	"pennyfarthing/internal/mistake"
	"pennyfarthing/internal/sweep/define"
	"pennyfarthing/internal/sweep/evidence"
)

func TestAnExpressionAsksForColumnsByTheirNames(t *testing.T) {
	row := rowOf(t, "example.com", "https example.com tcp.refused", "http example.com 404")
	row.Title, row.ContentLength = "Not found", -1
	for text, want := range map[string]define.Class{
		`status == 404`: define.Dead,
		`status == 200`: define.Alive,
		`gone=status in [404, 410] ? "gone" : "there"`:                    "gone",
		`any(tries, .scheme == "https" and .verdict startsWith "tcp.")`:   define.Dead,
		`all(tries, .status > 0)`:                                         define.Alive,
		`title matches "(?i)not found" and content_length < 0`:            define.Dead,
		`count(tries, .status == 0) == 1 && observed_at.Year() < 2000`:    define.Dead,
		`tries[7].status == 200`:                                          define.Failed,
		`any(tries, any(tries, .host == "example.com") and .status == 0)`: define.Dead,
		`"no name"`: define.Failed,
	} {
		d, err := define.Parse(text, full())
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := d.Judge(row); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func TestAnExpressionDoesNotCallDeadWhatWasSkippedOrSuspect(t *testing.T) {
	d, err := define.Parse(`mine=status == 0`, full())
	if err != nil {
		t.Fatal(err)
	}
	suspect := rowOf(t, "example.com", "https example.com tcp.timeout")
	suspect.Suspect = true
	for want, row := range map[define.Class]*evidence.Row{
		define.Dead:    rowOf(t, "example.com", "https example.com tcp.timeout"),
		define.Suspect: suspect,
		define.Skipped: {Target: "10.0.0.1", Verdict: "skip.private"},
	} {
		if got := d.Judge(row); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if d.Name() != "mine" || d.Text() != "status == 0" {
		t.Errorf("it is called %q and says %q", d.Name(), d.Text())
	}
}

func TestAMistakeInAnExpressionHasAPlaceAndAHint(t *testing.T) {
	for text, want := range map[string]string{
		`statos == 1`:                              "definition:1:1: unknown name statos\nhint: did you mean status?",
		`mine=statos == 1`:                         "definition:1:6: unknown name statos\nhint: did you mean status?",
		"status == 3\n or foo":                     "definition:2:5: unknown name foo\nhint: the columns are rank, target, ",
		`title == "ü" or foo`:                      "definition:1:18: unknown name foo\nhint: the columns are rank, target, ",
		`any(tries, .statos > 1)`:                  "definition:1:13: a try has no field statos\nhint: did you mean status?",
		`status = 3`:                               "definition:1:8: unexpected token Operator(\"=\")\nhint: equality is ==",
		`status`:                                   "definition:1:1: it gives int32, and must give a bool or a string\nhint: write a comparison",
		`suspect ? "ill" : 3`:                      "definition:1:1: it gives values of several types, and must give a bool or a string\nhint: write a comparison",
		`strict=status == 3`:                       "definition:1:1: strict is built in\nhint: give yours another name",
		`strit`:                                    "definition:1:1: there is no definition strit\nhint: did you mean strict?",
		`all(1..1000000000, true)`:                 "definition:1:6: ranges are not allowed\nhint: ",
		`now().Year() == 3`:                        "definition:1:4: unknown name now\nhint: ",
		strings.Repeat("true or ", 600):            "definition: it has 4800 bytes, and 4096 are allowed",
		`any(tries, any(tries, any(tries, true)))`: "definition:1:12: a loop holds 2 others, and may hold 1\nhint: ",
		`status == ` + strings.Repeat("1 + ", 600) + "1": "definition:1:",
		``: "definition:1:1: ",
	} {
		_, err := define.Parse(text, full())
		list := mistake.Of(err)
		if len(list) != 1 {
			t.Errorf("%s: %v is no mistake", text, err)
			continue
		}
		got := list[0].Error()
		if list[0].Hint != "" {
			got += "\nhint: " + list[0].Hint
		}
		if !strings.HasPrefix(got, want) {
			t.Errorf("%s:\ngot  %s\nwant %s", text, got, want)
		}
	}
}

func FuzzAnyExpressionIsAMistakeOrGivesAClass(f *testing.F) {
	for _, text := range []string{`status == 404`, `a=any(tries, .status > 3) ? "x" : verdict`, `tries[0].host`, `title matches "a+" or "b" in split(title, "")`, "strict", "x=", "statos", "=", "ü", `map(tries, .at)[0].Year() == 3`} {
		f.Add(text)
	}
	row := rowOf(f, "example.com", "https example.com tcp.refused", "http example.com 404")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := define.Parse(text, full())
		if err != nil {
			if len(mistake.Of(err)) != 1 {
				t.Errorf("%v is no mistake", err)
			}
			return
		}
		if class := d.Judge(row); class == "" || len(class) > 40 || d.Name() == "" {
			t.Errorf("class %q of definition %q", class, d.Name())
		}
	})
}
