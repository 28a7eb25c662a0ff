package keys_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/mistake"
)

func TestRightsAreReadAsTheyAreWritten(t *testing.T) {
	for text, want := range map[string]keys.Right{
		"deploy":           {What: keys.Deploy},
		"deploy:a.test":    {What: keys.Deploy, Site: "a.test"},
		"deploy:localhost": {What: keys.Deploy, Site: "localhost"},
		"renew":            {What: keys.Renew},
		"operate":          {What: keys.Operate},
	} {
		got, err := keys.ParseRight(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("%s is read as %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{
		"", "all", "Deploy", "deploy:", "deploy: a.test", "deploy:A.test", "deploy:a.test.", "deploy:a..test", "deploy:*", "deploy:*.test",
		"deploy:192.0.2.1", "deploy:a.test:b.test", "deploy:https://a.test", "renew:a.test", "operate:", "owner", " deploy", "deploy\n",
	} {
		got, err := keys.ParseRight(text)
		if err == nil {
			t.Errorf("%q is read as %+v", text, got)
		} else if list := mistake.Of(err); len(list) != 1 || list[0].Hint == "" {
			t.Errorf("%q: no hint in %v", text, err)
		}
	}
}

func TestWhoMayDoWhat(t *testing.T) {
	s := newSmall(t, time.Now)
	one, all, renew, operate := keys.Right{What: keys.Deploy, Site: "a.test"}, keys.Right{What: keys.Deploy}, keys.Right{What: keys.Renew}, keys.Right{What: keys.Operate}
	rights := []keys.Right{one, {What: keys.Deploy, Site: "b.test"}, all, renew, operate, {}}
	for name, tc := range map[string]struct {
		key keys.PublicKey
		may string // in the order of rights
	}{
		"the owner":              {s.owner.Public(), "111111"},
		"a deployer of one site": {s.members["one-site"].Public(), "100000"},
		"a deployer":             {s.members["deploy"].Public(), "111000"},
		"a renewer":              {s.members["renew"].Public(), "000100"},
		"an operator":            {s.members["operate"].Public(), "000010"},
		"a POP":                  {s.pops["au"].Public(), "000000"},
		"a revoked key":          {s.roster.Revoked[0], "000000"},
		"a stranger":             {actor(t).Public(), "000000"},
		"nobody":                 {keys.PublicKey{}, "000000"},
	} {
		var got strings.Builder
		for _, right := range rights {
			got.WriteString(map[bool]string{true: "1", false: "0"}[s.roster.May(tc.key, right)])
		}
		if got.String() != tc.may {
			t.Errorf("%s: %s, want %s", name, got.String(), tc.may)
		}
		if known := strings.Contains(got.String(), "1"); s.roster.Knows(tc.key) != known {
			t.Errorf("%s: known is %v", name, !known)
		}
	}
	// A roster that was put together by hand has no owner, and nobody is it.
	bare := keys.Roster{}
	if bare.May(keys.PublicKey{}, renew) || bare.Knows(keys.PublicKey{}) {
		t.Error("the zero key owns the zero roster")
	}
	if m, ok := s.roster.Member(s.members["renew"].Public()); !ok || m.Name != "renew" {
		t.Errorf("the renewer is %+v", m)
	}
	if _, ok := s.roster.POP("fr"); ok {
		t.Error("there is a POP that there is not")
	}
	if s.roster.Owner() != s.owner.Public() {
		t.Error("the owner is another")
	}
}

// rosterJSON is the payload of a small fleet's roster, to be changed.
func rosterJSON(t *testing.T, s *small) map[string]any {
	t.Helper()
	data, err := json.Marshal(s.roster)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestARosterThatMakesNoSenseIsRefused(t *testing.T) {
	s := newSmall(t, time.Now)
	member := func(m map[string]any, i int) map[string]any { return m["members"].([]any)[i].(map[string]any) }
	pop := func(m map[string]any, i int) map[string]any { return m["pops"].([]any)[i].(map[string]any) }
	many := func(n int, one func(i int) any) (all []any) {
		for i := range n {
			all = append(all, one(i))
		}
		return all
	}
	for name, tc := range map[string]struct {
		change func(m map[string]any)
		what   string
	}{
		"another fleet inside": {func(m map[string]any) { m["fleet"] = "other" }, `says that it is of "other"`},
		"number 0":             {func(m map[string]any) { m["number"] = 0 }, "its number is 0"},
		"a number below 0":     {func(m map[string]any) { m["number"] = -1 }, "number"},
		"half a second":        {func(m map[string]any) { m["time"] = "2026-11-29T07:00:00.5Z" }, "whole seconds"},
		"another time zone":    {func(m map[string]any) { m["time"] = "2026-11-29T07:00:00+01:00" }, "whole seconds of UTC"},
		"no CA":                {func(m map[string]any) { m["ca"] = "" }, "its CA is not PEM"},
		"a leaf for a CA": {func(m map[string]any) {
			c, _ := selfSigned(t, []string{"a.test"}, time.Now(), time.Hour)
			m["ca"] = string(c)
		}, "not of a CA"},
		"five CAs":                 {func(m map[string]any) { m["ca"] = strings.Repeat(m["ca"].(string), 5) }, "at most 4"},
		"an unknown member of it":  {func(m map[string]any) { m["admins"] = []any{} }, "admins"},
		"two of one name":          {func(m map[string]any) { member(m, 1)["name"] = "one-site" }, `two members "one-site"`},
		"two of one key":           {func(m map[string]any) { member(m, 1)["key"] = member(m, 0)["key"] }, `the member "deploy" has the key of the member "one-site"`},
		"a member with POP's key":  {func(m map[string]any) { member(m, 1)["key"] = pop(m, 0)["key"] }, `the POP "au" has the key of the member "deploy"`},
		"a member that owns":       {func(m map[string]any) { member(m, 1)["key"] = s.owner.Public() }, "has the key of the owner"},
		"a POP that owns":          {func(m map[string]any) { pop(m, 1)["key"] = s.owner.Public() }, "has the key of the owner"},
		"an owner who is revoked":  {func(m map[string]any) { m["revoked"] = []any{s.owner.Public()} }, "somebody revoked has the key of the owner"},
		"a member who is revoked":  {func(m map[string]any) { m["revoked"] = []any{member(m, 2)["key"]} }, `somebody revoked has the key of the member "renew"`},
		"two POPs of one name":     {func(m map[string]any) { pop(m, 1)["name"] = "au" }, `two POPs "au"`},
		"a name with a dot":        {func(m map[string]any) { pop(m, 1)["name"] = "a.b" }, "not a name for a POP"},
		"a name with an underline": {func(m map[string]any) { pop(m, 1)["name"] = "a_b" }, "not a name for a POP"},
		"a member without rights":  {func(m map[string]any) { member(m, 1)["may"] = []any{} }, "may do nothing"},
		"a right that is none":     {func(m map[string]any) { member(m, 1)["may"] = []any{"everything"} }, "not a right"},
		"too many rights": {func(m map[string]any) {
			member(m, 1)["may"] = many(101, func(i int) any { return fmt.Sprintf("deploy:s%d.test", i) })
		}, "101 rights"},
		"nobody's key": {func(m map[string]any) { member(m, 1)["key"] = keys.PublicKey{}.String() }, "belongs to nobody"},
		"too many POPs": {func(m map[string]any) {
			m["pops"] = many(1001, func(i int) any { return keys.POPKey{Name: fmt.Sprint("p", i), Key: actor(t).Public()} })
		}, "1001 POPs"},
		"too many revoked": {func(m map[string]any) { m["revoked"] = many(4001, func(int) any { return actor(t).Public() }) }, "4001 revoked keys"},
	} {
		t.Run(name, func(t *testing.T) {
			m := rosterJSON(t, s)
			tc.change(m)
			r, err := keys.OpenRoster(sign(t, s.owner, keys.KindRoster, fleet, m), s.owner.Public(), fleet)
			if err == nil || !strings.Contains(err.Error(), tc.what) {
				t.Errorf("read as %+v, error %v", r, err)
			}
		})
	}
}

func TestOnlyTheOwnersRosterIsBelieved(t *testing.T) {
	s := newSmall(t, time.Now)
	m := rosterJSON(t, s)
	for name, tc := range map[string]struct {
		st   *keys.Statement
		what string
	}{
		"an operator's":       {sign(t, s.members["operate"], keys.KindRoster, fleet, m), "the owner of the fleet"},
		"of another kind":     {sign(t, s.owner, "config", fleet, m), "of kind"},
		"of another fleet":    {sign(t, s.owner, keys.KindRoster, "other", m), "for the fleet"},
		"that is not an ob..": {sign(t, s.owner, keys.KindRoster, fleet, []int{1}), "cannot unmarshal"},
	} {
		if r, err := keys.OpenRoster(tc.st, s.owner.Public(), fleet); err == nil || !strings.Contains(err.Error(), tc.what) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	if _, err := keys.OpenRoster(sign(t, s.owner, keys.KindRoster, fleet, m), keys.PublicKey{}, fleet); err == nil {
		t.Error("nobody owns a fleet, and a roster is believed")
	}
}

func TestADirectoryKeepsTheHighestRoster(t *testing.T) {
	s := newSmall(t, time.Now)
	dir := t.TempDir()
	numbered := func(n uint64, change func(*keys.Roster)) *keys.Statement {
		r := *s.roster
		r.Number = n
		change(&r)
		return sign(t, s.owner, keys.KindRoster, fleet, &r)
	}
	same := func(*keys.Roster) {}
	fewer := func(r *keys.Roster) { r.POPs = r.POPs[1:] }
	type result struct {
		InForce uint64
		Kept    bool
		Error   string
	}
	var got []result
	for _, st := range []*keys.Statement{numbered(3, same), numbered(3, same), numbered(3, fewer), numbered(2, fewer), numbered(9, fewer), sign(t, s.members["operate"], keys.KindRoster, fleet, rosterJSON(t, s))} {
		r, kept, err := keys.KeepRoster(dir, fleet, s.owner.Public(), st)
		one := result{Kept: kept}
		if r != nil {
			one.InForce = r.Number
		}
		if err != nil {
			one.Error = err.Error()
		}
		got = append(got, one)
	}
	want := []result{
		{3, true, ""},
		{3, false, ""},
		{3, false, "keep roster: another roster is in force: it has number 3 too, but says something else"},
		{3, false, "keep roster: another roster is in force: number 3, but this one has number 2"},
		{9, true, ""},
		{0, false, got[5].Error},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(got[5].Error, "but the owner of the fleet") {
		t.Errorf("an operator's roster: %s", got[5].Error)
	}
	r, _, err := keys.LoadRoster(dir, fleet, s.owner.Public())
	if err != nil || r.Number != 9 || len(r.POPs) != 1 {
		t.Errorf("the directory keeps %+v, %v", r, err)
	}
	writeFile(t, dir+"/roster.json", []byte("{}"))
	if _, kept, err := keys.KeepRoster(dir, fleet, s.owner.Public(), numbered(10, same)); err == nil || kept {
		t.Error("a damaged roster was replaced")
	}
}
