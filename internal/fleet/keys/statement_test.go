package keys_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/fleet/keys"
)

func encode(t testing.TB, st *keys.Statement) []byte {
	t.Helper()
	data, err := json.Marshal(st)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestAStatementSurvivesAFile(t *testing.T) {
	key := actor(t)
	for name, tc := range map[string]struct{ payload, want string }{
		"as it is":              {`{"site":"a.test","generation":3}`, `{"site":"a.test","generation":3}`},
		"with blanks":           {"{ \"site\" : \"a.test\",\n\t\"generation\":3 }\n", `{"site":"a.test","generation":3}`},
		"with what HTML minds":  {`{"a":"<&>"}`, `{"a":"\u003c\u0026\u003e"}`},
		"with a line separator": {"{\"a\":\"\u2028\"}", `{"a":"\u2028"}`},
		"with a large number":   {`{"n":12345678901234567890.50}`, `{"n":12345678901234567890.50}`},
		"with the order of its": {`{"b":1,"a":2}`, `{"b":1,"a":2}`},
	} {
		t.Run(name, func(t *testing.T) {
			st, err := key.Sign("head", fleet, []byte(tc.payload))
			if err != nil {
				t.Fatal(err)
			}
			for _, end := range []string{"", "\n"} {
				read, err := keys.ParseStatement(append(encode(t, st), end...))
				if err != nil {
					t.Fatal(err)
				}
				payload, err := read.Verify(fleet, "head")
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tc.want, string(payload)); diff != "" {
					t.Error(diff)
				}
				if diff := cmp.Diff(st, read); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

func TestAChangedStatementIsForged(t *testing.T) {
	key, other := actor(t), actor(t)
	for name, change := range map[string]func(*keys.Statement){
		"its payload":           func(s *keys.Statement) { s.Payload = []byte(`{"generation":4}`) },
		"its key":               func(s *keys.Statement) { s.Key = other.Public() },
		"a bit of the sign":     func(s *keys.Statement) { s.Signature[0] ^= 1 },
		"no signature":          func(s *keys.Statement) { s.Signature = nil },
		"a longer signature":    func(s *keys.Statement) { s.Signature = append(s.Signature, 0) },
		"nobody's key":          func(s *keys.Statement) { s.Key = keys.PublicKey{} },
		"a kind that takes all": func(s *keys.Statement) { s.Kind, s.Fleet = "head\ntest", "" },
	} {
		t.Run(name, func(t *testing.T) {
			st := sign(t, key, "head", fleet, map[string]int{"generation": 3})
			change(st)
			if payload, err := st.Verify(st.Fleet, st.Kind); !errors.Is(err, keys.ErrForged) {
				t.Errorf("payload %s, error %v", payload, err)
			}
		})
	}
}

func TestAStatementIsForOneFleetAndOfOneKind(t *testing.T) {
	st := sign(t, actor(t), "head", fleet, 1)
	for name, tc := range map[string]struct{ fleet, kind, what string }{
		"another fleet": {"other", "head", `for the fleet "test"`},
		"another kind":  {fleet, "release", `of kind "head"`},
	} {
		if _, err := st.Verify(tc.fleet, tc.kind); err == nil || !strings.Contains(err.Error(), tc.what) {
			t.Errorf("%s: %v", name, err)
		}
	}
	blanks := *st
	blanks.Payload = []byte(" 1")
	if _, err := blanks.Verify(fleet, "head"); err == nil || !strings.Contains(err.Error(), "without blanks") {
		t.Errorf("a payload with blanks: %v", err)
	}
}

func TestWhatCannotBeSignedIsNot(t *testing.T) {
	key := actor(t)
	for name, tc := range map[string]struct{ kind, fleet, payload string }{
		"no JSON":          {"head", fleet, "{"},
		"two values":       {"head", fleet, "1 2"},
		"nothing":          {"head", fleet, ""},
		"no kind":          {"", fleet, "1"},
		"a kind of lines":  {"head\n", fleet, "1"},
		"a kind of capit.": {"Head", fleet, "1"},
		"no fleet":         {"head", "", "1"},
		"a fleet of lines": {"head", "a\nb", "1"},
		"too much":         {"head", fleet, `"` + strings.Repeat("a", keys.MaxStatement) + `"`},
		"a little too much": {
			"head", fleet, `"` + strings.Repeat("a", keys.MaxStatement-100) + `"`,
		},
	} {
		if st, err := key.Sign(tc.kind, tc.fleet, []byte(tc.payload)); err == nil {
			t.Errorf("%s: %.100s was signed", name, st.Payload)
		}
	}
}

func TestAStatementHasOneForm(t *testing.T) {
	good := encode(t, sign(t, actor(t), "head", fleet, map[string]string{"a": "<"}))
	if _, err := keys.ParseStatement(good); err != nil {
		t.Fatal(err)
	}
	replace := func(old, new string) []byte {
		t.Helper()
		if !bytes.Contains(good, []byte(old)) {
			t.Fatalf("%s does not hold %s", good, old)
		}
		return bytes.Replace(good, []byte(old), []byte(new), 1)
	}
	for name, data := range map[string][]byte{
		"nothing":               nil,
		"null":                  []byte("null"),
		"another member":        replace(`{"kind"`, `{"more":1,"kind"`),
		"a member twice":        replace(`{"kind":"head"`, `{"kind":"roster","kind":"head"`),
		"a capital letter":      replace(`"kind"`, `"Kind"`),
		"a blank":               replace(`:"head"`, `: "head"`),
		"a character unescaped": replace(`\u003c`, `<`),
		"two line feeds":        append(bytes.Clone(good), "\n\n"...),
		"something after it":    append(bytes.Clone(good), good...),
		"cut off":               good[:len(good)-1],
		"a kind of no kind":     replace(`"head"`, `"HEAD"`),
		"a fleet of no name":    replace(`"test"`, `"te st"`),
		"a line in base64":      replace(`"signature":"`, `"signature":"\n`),
		"too long":              append(bytes.Clone(good), bytes.Repeat([]byte(" "), keys.MaxStatement)...),
	} {
		t.Run(name, func(t *testing.T) {
			if st, err := keys.ParseStatement(data); err == nil {
				t.Errorf("read as %+v", st)
			}
		})
	}
}
