package cost_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/fleet/cost"
	"pennyfarthing/internal/mistake"
)

func machine(t *testing.T, key string) cost.Machine {
	t.Helper()
	p, err := cost.Default()
	if err != nil {
		t.Fatal(err)
	}
	m, err := p.Find(key)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// The figures beside the cases were worked out by hand.
func TestABillHasWhatIsReallyPaidAndTheShareOfTheProcessor(t *testing.T) {
	for _, tc := range []struct {
		name    string
		usage   cost.Usage
		machine string
		want    map[string]cost.Money // billionths of a dollar
		billed  time.Duration
	}{
		{
			"ten minutes on a machine that is billed by the hour",
			// 600 CPU-seconds of 4 x 3600 is 1/24 of the hour: 0.0141/24 = 0.0005875. The run is 1/6: 0.00235, less the share is 0.0017625.
			cost.Usage{Targets: 1_000_000, Wall: 10 * time.Minute, CPU: 600 * time.Second, Sent: 1e9},
			"hetzner-cx32",
			map[string]cost.Money{"compute": 14_100_000, "share": 587_500, "idle": 1_762_500, "rounding": 11_750_000, "total": 14_100_000, "million": 14_100_000},
			time.Hour,
		},
		{
			"one second more than an hour is two hours",
			cost.Usage{Targets: 2_000_000, Wall: time.Hour + time.Second},
			"hetzner-cx32",
			// 3601 s of idling: 0.0141/3600*3601 = 0.014103917.
			map[string]cost.Money{"compute": 28_200_000, "idle": 14_103_917, "rounding": 14_096_083, "total": 28_200_000, "million": 14_100_000},
			2 * time.Hour,
		},
		{
			"ten seconds on a machine with a minimum of a minute",
			cost.Usage{Targets: 1000, Wall: 10 * time.Second, CPU: 4 * time.Second},
			"aws-c6g-xlarge-spot",
			// 0.0428/60 = 0.000713333; share 0.0428/3600 = 0.000011889; 10 s are 0.000118889.
			map[string]cost.Money{"compute": 713_333, "share": 11_889, "idle": 107_000, "rounding": 594_444, "total": 713_333, "million": 713_333_000},
			time.Minute,
		},
		{
			"the study of 2024 with what it left out: start-up and the minimum of an hour, on 40 machines",
			// 40 x 0.0028 = 0.112 an hour; 30 min of start-up 0.056; 10 min 0.018667; 10 GB out 0.10.
			cost.Usage{Targets: 10_000_000, Wall: 10 * time.Minute, Sent: 10e9, Machines: 40},
			"rackspace-ch-vs1-large",
			map[string]cost.Money{"compute": 112_000_000, "startup": 56_000_000, "idle": 18_666_667, "rounding": 37_333_333, "egress": 100_000_000, "total": 212_000_000, "million": 21_200_000},
			time.Hour,
		},
		{
			"a run that needs more of the processor than the machine has takes longer there",
			// 20,000 CPU-seconds on 4 vCPUs are 5,000 s: two hours billed.
			cost.Usage{Targets: 10_000_000, Wall: 1000 * time.Second, CPU: 20_000 * time.Second},
			"hetzner-cx32",
			map[string]cost.Money{"compute": 28_200_000, "share": 19_583_333, "rounding": 8_616_667, "total": 28_200_000, "million": 2_820_000},
			2 * time.Hour,
		},
		{
			"nothing at all is one unit",
			cost.Usage{},
			"hetzner-cx32",
			map[string]cost.Money{"compute": 14_100_000, "rounding": 14_100_000, "total": 14_100_000},
			time.Hour,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := cost.Of(tc.usage, machine(t, tc.machine))
			got := map[string]cost.Money{}
			for name, m := range map[string]cost.Money{
				"compute": b.Compute, "share": b.CPUShare, "startup": b.Startup, "idle": b.Idle, "rounding": b.Rounding,
				"egress": b.Egress, "total": b.Total, "million": b.PerMillion,
			} {
				if m != 0 {
					got[name] = m
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("the bill differs (-want +got):\n%s", diff)
			}
			if b.Billed != tc.billed {
				t.Errorf("billed %v, want %v", b.Billed, tc.billed)
			}
			if sum := b.CPUShare + b.Startup + b.Idle + b.Rounding; sum != b.Compute {
				t.Errorf("the parts of %v come to %v", b.Compute, sum)
			}
		})
	}
}

func TestThePartsOfABillAreNeverNegativeAndComeToItsSum(t *testing.T) {
	p, err := cost.Default()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range p.Machines {
		for wall := time.Duration(0); wall < 1000*time.Hour; wall = wall*3 + time.Second {
			for cpu := time.Duration(0); cpu < 10_000*time.Hour; cpu = cpu*5 + 7*time.Millisecond {
				for _, n := range []int{0, 1, 40} {
					b := cost.Of(cost.Usage{Targets: 1, Wall: wall, CPU: cpu, Sent: int64(wall), Machines: n}, m)
					if b.CPUShare < 0 || b.Startup < 0 || b.Idle < 0 || b.Rounding < 0 || b.CPUShare+b.Startup+b.Idle+b.Rounding != b.Compute || b.Total != b.Compute+b.Egress {
						t.Fatalf("%v of wall time and %v of CPU on %d %s: %+v", wall, cpu, n, m.Name, b)
					}
					if b.Billed < b.Running {
						t.Fatalf("billed %v for %v", b.Billed, b.Running)
					}
				}
			}
		}
	}
}

func TestABillIsASentenceThatNamesWhatIsBilledFirst(t *testing.T) {
	b := cost.Of(cost.Usage{Targets: 1_000_000, Wall: 20 * time.Minute, CPU: 200 * time.Second}, machine(t, "hetzner-cx32"))
	if got, want := b.String(), "on one Hetzner CX32: 1 hour billed, $0.0141, of which your CPU share is $0.0002"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if diff := cmp.Diff([]string{"egress", "start-up"}, b.Missing); diff != "" {
		t.Errorf("what is missing (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"vcpus", "memory_gb", "billed_per"}, b.Unverified); diff != "" {
		t.Errorf("what is unverified (-want +got):\n%s", diff)
	}
	b = cost.Of(cost.Usage{Wall: 10 * time.Minute, Sent: 10e9, Machines: 40}, machine(t, "rackspace-ch-vs1-large"))
	if got, want := b.String(), "on 40 × Rackspace Spot ch.vs1.large: 1 hour billed, $0.212, of which your CPU share is $0.00 and egress $0.10"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestMoneyShowsTwoDigitsOfSmallAmountsAndReadsItselfBack(t *testing.T) {
	for m, want := range map[cost.Money]string{
		0: "$0.00", 1: "$0.000000001", 12_345: "$0.000012", 999_999: "$0.001", 9_999_999: "$0.01", 10_000_000: "$0.01",
		14_100_000: "$0.0141", 587_500: "$0.00059", 212_000_000: "$0.212", 1_234_567_890: "$1.23", -5 * cost.Dollar: "-$5.00", 100 * cost.Dollar: "$100.00",
	} {
		if got := m.String(); got != want {
			t.Errorf("%d billionths are %s, want %s", int64(m), got, want)
		}
		data, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		var back cost.Money
		if err := json.Unmarshal(data, &back); err != nil || back != m {
			t.Errorf("%d came back from %s as %d: %v", int64(m), data, int64(back), err)
		}
	}
	var m cost.Money
	if err := json.Unmarshal([]byte(`"1"`), &m); err == nil {
		t.Error("a text was read as dollars")
	}
}

func TestATableIsReadWithAllItsKeys(t *testing.T) {
	p, err := cost.Parse("p.toml", []byte("[machines.a]\nname='A b'\nprice=1.5\ndate=2026-01-02\nsource='here'\nvcpus=2\nmemory_gb=0.5\nbilled_per='minute'\nminimum='1h'\nstartup='90s'\negress_per_gb=0.01\negress_free_gb=100\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := &cost.Prices{File: "p.toml", Machines: []cost.Machine{{
		Key: "a", Name: "A b", Hourly: 1_500_000_000, Date: time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC), Source: "here", VCPUs: 2, Memory: 0.5,
		Unit: cost.Minute, Minimum: time.Hour, Startup: 90 * time.Second, HasStartup: true, HasEgress: true, Egress: 10_000_000, EgressFree: 100,
	}}}
	if diff := cmp.Diff(want, p); diff != "" {
		t.Errorf("the table differs (-want +got):\n%s", diff)
	}
}

const whole = "name='A'\nprice=1\ndate=2026-01-02\nsource='x'\nvcpus=1\nmemory_gb=1\nbilled_per='hour'\n"

func TestMistakesInATableHaveAPlaceAndAHint(t *testing.T) {
	for _, tc := range []struct{ name, src, want, hint string }{
		{"an unknown key", "[machines.a]\n" + whole + "prize=2\n", "p.toml:9:1: prize is no key of a machine", "did you mean price?"},
		{"a negative price", "[machines.a]\n" + strings.Replace(whole, "=1\n", "=-1\n", 1), `p.toml:3:7: "-1" is not a price`, "write US dollars"},
		{"a price in quotes", "[machines.a]\n" + strings.Replace(whole, "price=1", "price = '1'", 1), `p.toml:3:9: "1" is not a price`, "write US dollars"},
		{"a date in quotes", "[machines.a]\n" + strings.Replace(whole, "2026-01-02", "'2026-01-02'", 1), `p.toml:4:6: "2026-01-02" is not a date`, "without quotes"},
		{"a key that is missing", "[machines.a]\nname='A'\nprice=1\ndate=2026-01-02\nsource='x'\nvcpus=1\nmemory_gb=1\n", "p.toml:1:2: a has no billed_per", "second"},
		{"a machine twice", "[machines.a]\n" + whole + "[machines.a]\n", "p.toml:9:11: a is there twice; first on line 1", "rename"},
		{"a key twice", "[machines.a]\n" + whole + "vcpus=2\n", "p.toml:9:1: vcpus is set twice", "delete"},
		{"another table", "[machine.a]\n" + whole, "p.toml:1:2: [machine.a] is no table of a price table", "[machines.NAME]"},
		{"a list of tables", "[[machines]]\n" + whole, "p.toml:1:3: double brackets make a list of tables, and a price table has none", "[machines.NAME]"},
		{"a key before the first table", "price=1\n", "p.toml:1:1: price stands before the first table", "[machines.NAME]"},
		{"no machine", "# nothing\n", "p.toml:1:1: there is no machine in the table", "[machines.NAME]"},
		{"a minimum below the unit", "[machines.a]\n" + whole + "minimum='5m'\n", "p.toml:1:2: a has a minimum that is less than one hour, which is billed anyway", "leave out"},
		{"free traffic without a price", "[machines.a]\n" + whole + "egress_free_gb=5\n", "p.toml:1:2: a has egress_free_gb without egress_per_gb", "beyond"},
		{"nothing unverified", "[machines.a]\n" + whole + "unverified=''\n", `p.toml:9:12: "" is not a`, "vcpus, billed_per"},
		{"a key that could not be unverified", "[machines.a]\n" + whole + "unverified='vcpus, speed'\n", "p.toml:1:2: a has no key speed that could be unverified", "name keys"},
		{"a key that is not there", "[machines.a]\n" + whole + "unverified='startup'\n", "p.toml:1:2: a has no key startup that could be unverified", "name keys"},
		{"a unit that nobody bills in", "[machines.a]\n" + strings.Replace(whole, "'hour'", "'day'", 1), `p.toml:8:12: "day" is not a billed_per`, "hour"},
		{"what is no TOML", "[machines.a]\n" + whole + "what is this\n", "p.toml:9:", "key = value"},
		{"what is no text", "[machines.a]\nname='\xff'\n", "p.toml: is not UTF-8 text", "UTF-8"},
		{"a very large file", strings.Repeat("#", cost.MaxFile+1), "p.toml: a price table has at most 256 KiB", "right file"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := cost.Parse("p.toml", []byte(tc.src))
			list := mistake.Of(err)
			if len(list) == 0 {
				t.Fatalf("got %v, want mistakes", err)
			}
			if got := list[0].Error(); !strings.HasPrefix(got, tc.want) || !strings.Contains(list[0].Hint, tc.hint) {
				t.Errorf("got  %s (%s)\nwant %s (%s)", got, list[0].Hint, tc.want, tc.hint)
			}
		})
	}
}

func TestAllMistakesOfATableComeAtOnce(t *testing.T) {
	_, err := cost.Parse("p.toml", []byte("[machines.a]\nname=1\nprice='x'\n\n[machines.b]\nfoo=1\n"))
	if n := len(mistake.Of(err)); n < 10 {
		t.Errorf("%d mistakes, want at least 10:\n%v", n, err)
	}
}

func TestTheUsersTableComesBeforeOursAndOneThatWasNamedMustBeThere(t *testing.T) {
	dir := t.TempDir()
	p, err := cost.Load("", dir)
	if err != nil || p.File != "" || len(p.Machines) != 3 {
		t.Fatalf("without a file: %+v, %v", p, err)
	}
	if err := os.Mkdir(filepath.Join(dir, "penny"), 0o700); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "penny", "prices.toml")
	if err := os.WriteFile(name, []byte("[machines.mine]\n"+whole), 0o600); err != nil {
		t.Fatal(err)
	}
	if p, err = cost.Load("", dir); err != nil || p.File != name || p.Machines[0].Key != "mine" {
		t.Fatalf("with the user's file: %+v, %v", p, err)
	}
	if _, err := p.Find("yours"); err == nil || mistake.Of(err)[0].Hint != "there are mine" {
		t.Errorf("a machine that is not there: %v", err)
	}
	_, err = cost.Load(filepath.Join(dir, "none.toml"), dir)
	if _, ok := errors.AsType[*mistake.Error](err); !ok {
		t.Errorf("a file that is not there: %v", err)
	}
	if p, err = cost.Load("", ""); err != nil || len(p.Machines) != 3 {
		t.Errorf("without a directory: %v, %v", p, err)
	}
}

func TestTheTableThatUsersCopyIsTheOneThatWeUse(t *testing.T) {
	p, err := cost.Parse("copy", cost.DefaultText())
	if err != nil {
		t.Fatal(err)
	}
	want, err := cost.Default()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.Machines, p.Machines); diff != "" {
		t.Error(diff)
	}
}

// FuzzParse holds that a table is either right or has mistakes with places in it.
func FuzzParse(f *testing.F) {
	f.Add(cost.DefaultText())
	f.Add([]byte("[machines.a]\n" + whole))
	f.Add([]byte("[machines.\"a.b\"]\nprice = {a = 1}\n[[x]]\n'' = 1"))
	f.Add([]byte("a = \"\n"))
	f.Fuzz(func(t *testing.T, src []byte) {
		p, err := cost.Parse("p.toml", src)
		if err != nil {
			if len(mistake.Of(err)) == 0 || err.Error() == "" {
				t.Fatalf("an error that is no mistake: %v", err)
			}
			for _, m := range mistake.Of(err) {
				if m.Line > strings.Count(string(src), "\n")+1 {
					t.Fatalf("a mistake behind the end: %v", m)
				}
			}
			return
		}
		if len(p.Machines) == 0 {
			t.Fatal("a table without machines")
		}
		for _, m := range p.Machines {
			if b := cost.Of(cost.Usage{Targets: 1, Wall: time.Hour, CPU: time.Hour, Sent: 1 << 40}, m); b.Total < 0 || b.String() == "" {
				t.Fatalf("a bill of %v", b.Total)
			}
		}
	})
}
