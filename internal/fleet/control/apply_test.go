package control_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/config"
	"pennyfarthing/internal/fleet/control"
	"pennyfarthing/internal/fleet/keys"
)

// file is a fleet file.
func file(t *testing.T, text string) *config.Fleet {
	t.Helper()
	f, err := config.Parse("penny.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

const applied = `
fleet = "tests"
[pops.au]
addresses = ["192.0.2.1", "2001:db8::1"]
ssh = "root@secret.example"
price = "5 USD/month"
place = "Sydney"
default = true
[sites."example.org"]
files = "./public"
also = ["www.example.org"]
hsts = "180d"
[sites."app.example.org"]
app = { run = "./app" }
[edge.limits]
header_bytes = 32768
[steer]
map = { NZ = "au" }
[watch]
alert = ["ntfy://secret@ntfy.example/topic"]
`

func TestWhatPOPsAreToldIsWhatTheyNeedAndNoSecret(t *testing.T) {
	f := file(t, applied)
	want := api.Config{
		Sites: []api.ConfigSite{{Name: "example.org", Hosts: []string{"www.example.org"}, Dialect: "netlify", HSTS: 180 * 24 * 3600}},
		Edge:  api.ConfigEdge{HeaderBytes: 32768}, Retention: api.Retention{Releases: 10, Age: 7 * 24 * 3600},
		POPs:  []api.ConfigPOP{{Name: "au", Addresses: []string{"192.0.2.1", "2001:db8::1"}, Place: "Sydney", Default: true}},
		Steer: api.ConfigSteer{Countries: map[string]string{"NZ": "au"}},
	}
	if diff := cmp.Diff(want, control.Compile(f)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(want.Retention, control.CompileLocal(&config.Fleet{Name: "demo"}).Retention); diff != "" {
		t.Errorf("without a file: %s", diff)
	}
	want.Sites[0].HSTS, want.POPs, want.Steer = 0, nil, api.ConfigSteer{}
	want.Sites[0].Hosts = []string{"example.org.localhost", "www.example.org", "www.example.org.localhost", "localhost", "127.0.0.1", "::1"}
	if diff := cmp.Diff(want, control.CompileLocal(f)); diff != "" {
		t.Errorf("on this machine: %s", diff)
	}
}

func TestConfigurationsAreComparedByName(t *testing.T) {
	old := api.Config{
		Number: 3, Sites: []api.ConfigSite{{Name: "a.org", Hosts: []string{"www.a.org"}}, {Name: "b.org", HSTS: 60}},
		Edge: api.ConfigEdge{HeaderBytes: 8192}, Steer: api.ConfigSteer{Countries: map[string]string{"NZ": "au"}},
	}
	next := api.Config{
		Number: 4, Sites: []api.ConfigSite{{Name: "c.org", HSTS: 60}, {Name: "a.org", Hosts: []string{"www.a.org", "a.net"}}},
		Edge: api.ConfigEdge{HeaderBytes: 16384, ProxyProtocol: true}, Steer: api.ConfigSteer{Countries: map[string]string{"NZ": "ny"}},
		POPs: []api.ConfigPOP{{Name: "au"}},
	}
	var got []string
	for _, c := range control.DiffConfig(old, next) {
		got = append(got, c.String())
	}
	want := []string{
		"+ POP au", "~ edge header_bytes: 8192 -> 16384", "+ edge proxy_protocol: true", "~ site a.org hosts: www.a.org -> www.a.org, a.net",
		"- site b.org", "+ site c.org", "+ site c.org hsts: 60", "~ steer countries NZ: au -> ny",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if same := control.DiffConfig(old, old); len(same) > 0 {
		t.Errorf("of itself: %v", same)
	}
}

// Whatever field is added to a configuration, a plan shows it.
func TestNoFieldOfAConfigurationIsForgottenInAPlan(t *testing.T) {
	var fields func(v reflect.Value, path string)
	var c api.Config
	check := func(path string) {
		if len(control.DiffConfig(api.Config{}, c)) == 0 {
			t.Errorf("a change of %s is not seen", path)
		}
	}
	fields = func(v reflect.Value, path string) {
		if path == ".Number" || path == ".Time" {
			return
		}
		switch v.Kind() {
		case reflect.Struct:
			for i := range v.NumField() {
				fields(v.Field(i), path+"."+v.Type().Field(i).Name)
			}
			return
		case reflect.String:
			v.SetString("x")
		case reflect.Bool:
			v.SetBool(true)
		case reflect.Int, reflect.Int64:
			v.SetInt(7)
		case reflect.Map:
			v.Set(reflect.ValueOf(map[string]string{"x": "y"}))
		case reflect.Slice:
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
			if v.Index(0).Kind() == reflect.Struct {
				check(path)
				fields(v.Index(0), path+"[0]")
			} else {
				fields(v.Index(0), path+"[0]")
			}
			v.SetZero()
			return
		default:
			t.Fatalf("%s is of a kind that this test does not know", path)
		}
		check(path)
		v.SetZero()
	}
	fields(reflect.ValueOf(&c).Elem(), "")
}

func TestAnApplySaysWhatItChangesWhereAndDoesIt(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "au", "fr", "ny")
	c := f.open()
	other, err := f.owner.Identity().Key().Sign(api.KindConfig, fleetName, marshal(t, api.Config{Number: 7, Sites: []api.ConfigSite{{Name: site}, {Name: "old.example"}}}))
	if err != nil {
		t.Fatal(err)
	}
	f.pops[1].put("/v1/config", marshal(t, other))
	f.pops[2].stop()
	next := api.Config{Sites: []api.ConfigSite{{Name: site}}, Edge: api.ConfigEdge{HeaderFields: 12}}
	plan, err := c.PlanConfig(t.Context(), next)
	if err != nil {
		t.Fatal(err)
	}
	if plan.Nothing() || plan.Config.Number != 8 || plan.POPs[2].Error == "" || plan.Err() == nil {
		t.Errorf("planned %+v", plan)
	}
	want := []string{"[+ edge header_fields: 12]", "[+ edge header_fields: 12 - site old.example]", "[]"}
	for i, p := range plan.POPs {
		if got := fmt.Sprint(p.Changes); got != want[i] {
			t.Errorf("at %s it changes %s, want %s", p.POP, got, want[i])
		}
	}
	done, err := c.Apply(t.Context(), plan)
	if err != nil {
		t.Fatal(err)
	}
	if done.Number != 8 || !slices.Equal(done.Live, []string{"au", "fr"}) || !slices.Equal(done.Restart, []string{"au", "fr"}) || len(done.Behind) != 1 || done.Behind[0].POP != "ny" {
		t.Errorf("done %+v", done)
	}
	again, err := c.PlanConfig(t.Context(), next)
	if err != nil || !again.Nothing() {
		t.Errorf("once more: %+v, %v", again, err)
	}
	f.pops[2].start()
	if r := f.home(0, all()...).round(t); !slices.Contains(did(r, "ny"), control.ChoreConfig) {
		t.Errorf("at home: %+v", r)
	}
	if got := f.numbers(c); !slices.Equal(got, []uint64{8, 8, 8}) {
		t.Errorf("they have %v", got)
	}
}

func TestANumberIsNotGivenToTwoConfigurations(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "au", "ny")
	c := f.open()
	f.pops[1].stop()
	plan, err := c.PlanConfig(t.Context(), api.Config{Sites: []api.ConfigSite{{Name: site}, {Name: "two.example"}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Apply(t.Context(), plan); err != nil {
		t.Fatal(err)
	}
	// The one POP that has it is away, and the other has never heard of it.
	f.pops[0].stop()
	f.pops[1].start()
	next, err := c.PlanConfig(t.Context(), api.Config{Sites: []api.ConfigSite{{Name: site}}})
	if err != nil {
		t.Fatal(err)
	}
	if plan.Config.Number != 2 || next.Config.Number != 3 {
		t.Errorf("they are %d and %d, want 2 and 3", plan.Config.Number, next.Config.Number)
	}
}

func TestWhoWasSlowerWithAnApplyIsToldSo(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "au")
	c := f.open()
	var plans []*control.ConfigPlan
	for _, name := range []string{"one.example", "two.example"} {
		plan, err := c.PlanConfig(t.Context(), api.Config{Sites: []api.ConfigSite{{Name: name}}})
		if err != nil {
			t.Fatal(err)
		}
		plans = append(plans, plan)
	}
	if _, err := c.Apply(t.Context(), plans[0]); err != nil {
		t.Fatal(err)
	}
	done, err := c.Apply(t.Context(), plans[1])
	if refused, ok := errors.AsType[*control.RefusedError](err); !ok || refused.Answer.Code != api.CodeStale || len(done.Live) > 0 {
		t.Errorf("%+v, %v", done, err)
	}
}

func TestADeploySaysWhatAnApplyWouldChangeAndChangesNone(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "au", "ny")
	c := f.open()
	told := api.Config{Sites: []api.ConfigSite{{Name: site, HSTS: 60}}}
	dir := pages("one").dir(t)
	for range 2 { // with what it knows the second time
		r, err := c.Deploy(t.Context(), control.DeployOptions{Site: site, Dir: dir, Config: &told})
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(r.Drift); got != "[+ site example.org hsts: 60]" {
			t.Errorf("it says %s", got)
		}
	}
	if got := f.numbers(c); !slices.Equal(got, []uint64{1, 1}) {
		t.Errorf("they have %v", got)
	}
	// Also who may only deploy is told.
	id, err := f.owner.AddMember("ci", []keys.Right{{What: keys.Deploy, Site: site}}, cryptoRand())
	if err != nil {
		t.Fatal(err)
	}
	f.numbers(f.open()) // which brings the roster
	r, err := f.openAs(id, t.TempDir()).Deploy(t.Context(), control.DeployOptions{Site: site, Dir: dir, Config: &told})
	if err != nil || len(r.Drift) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	told.Sites[0].HSTS = 0
	if r, err = c.Deploy(t.Context(), control.DeployOptions{Site: site, Dir: dir, Config: &told}); err != nil || len(r.Drift) > 0 {
		t.Errorf("of what they have: %+v, %v", r, err)
	}
	data, err := json.Marshal(r)
	if err != nil || strings.Contains(string(data), "apply_would_change") {
		t.Errorf("%s, %v", data, err)
	}
}
