package encode_test

import (
	"regexp"
	"strconv"
	"strings"
	"testing"

	"pennyfarthing/internal/encode"
)

// sizesOf returns sizes with identity 1000, zstd 300, gzip 350, br 250, as text
// has them, of those that are named.
func sizesOf(available string) *[encode.NumCodings]int64 {
	sizes := &[encode.NumCodings]int64{encode.Identity: 1000}
	for name := range strings.FieldsSeq(available) {
		switch name {
		case "gzip":
			sizes[encode.Gzip] = 350
		case "br":
			sizes[encode.Brotli] = 250
		case "zstd":
			sizes[encode.Zstd] = 300
		case "gzip-that-grew":
			sizes[encode.Gzip] = 1020
		case "nothing-at-all":
			sizes[encode.Identity] = 0
		default:
			panic("unknown " + name)
		}
	}
	return sizes
}

func TestNegotiate(t *testing.T) {
	const all = "gzip br zstd"
	for _, tc := range []struct {
		name, value, available, want string // want is "none" for what is not acceptable
	}{
		{"a browser gets the smallest", "gzip, deflate, br, zstd", all, "br"},
		{"a browser gets what there is", "gzip, deflate, br, zstd", "gzip", "gzip"},
		{"nothing coded is there", "gzip, deflate, br, zstd", "", "identity"},
		{"nothing known is asked for", "deflate, compress", all, "identity"},
		{"an old browser", "gzip, deflate", all, "gzip"},
		{"an empty value", "", all, "identity"},
		{"a value of white space", " \t ", all, "identity"},
		{"only commas", ",,,", all, "identity"},
		{"empty members are passed over", ", ,\t, br,,", all, "br"},
		{"white space of both kinds", "\tgzip\t;\tq=0.1 , \t br \t; q=1\t", all, "br"},
		{"names have no case", "GZip, BR;Q=0.5", all, "gzip"},
		{"x-gzip is gzip", "x-gzip", all, "gzip"},
		{"X-GZIP refused is gzip refused", "X-GZIP;q=0, *", "gzip", "identity"},
		{"a weight decides against size", "gzip;q=1.0, br;q=0.8, zstd;q=0.999", all, "gzip"},
		{"three decimals count", "gzip;q=0.001, zstd;q=0.002", all, "zstd"},
		{"the heaviest is not there", "br, gzip;q=0.5", "gzip zstd", "gzip"},
		{"a tiny weight still beats identity unnamed", "gzip;q=0.001", all, "gzip"},
		{"refused", "gzip;q=0, br;q=0.0, zstd;q=0.000", all, "identity"},
		{"a weight with a point and no digits", "gzip;q=0., br;q=1.", all, "br"},
		{"star is anything", "*", all, "br"},
		{"star is anything that is there", "*", "gzip", "gzip"},
		{"star is what is not named", "gzip;q=0, *", all, "br"},
		{"star is not what is named", "gzip;q=0, *", "gzip", "identity"},
		{"star with a weight", "*;q=0.5, gzip;q=0.6", all, "gzip"},
		{"star before the names", "*;q=0, br", all, "br"},
		{"star with a weight means identity too", "gzip;q=0.5, *", "gzip", "identity"},
		{"star refused refuses identity", "*;q=0", all, "none"},
		{"star refused, but identity named", "*;q=0, identity;q=0.1", all, "identity"},
		{"star refused, what is named is not there", "*;q=0, br", "gzip", "none"},
		{"identity refused, a coding is there", "identity;q=0, gzip", all, "gzip"},
		{"identity refused, nothing else asked for", "identity;q=0", all, "none"},
		{"identity refused, star allowed", "identity;q=0, *", all, "br"},
		{"identity refused, the coding is not there", "gzip, identity;q=0", "br", "none"},
		{"identity as heavy as gzip, gzip is smaller", "identity;q=0.5, gzip;q=0.5", all, "gzip"},
		{"identity as heavy as gzip, gzip is larger", "identity;q=0.5, gzip;q=0.5", "gzip-that-grew", "identity"},
		{"identity preferred", "identity, br;q=0.9", all, "identity"},
		{"identity preferred less", "identity;q=0.5, br;q=0.9", all, "br"},
		{"identity is there even when it has no bytes", "identity, gzip", "gzip nothing-at-all", "identity"},
		{"too many decimals", "br;q=1.0001, gzip", all, "gzip"},
		{"more than one", "br;q=1.001, gzip;q=0.1", all, "gzip"},
		{"two", "br;q=2, gzip;q=0.1", all, "gzip"},
		{"a negative weight", "br;q=-1, gzip;q=0.1", all, "gzip"},
		{"a weight without the zero", "br;q=.9, gzip;q=0.1", all, "gzip"},
		{"an exponent", "br;q=1e0, gzip;q=0.1", all, "gzip"},
		{"a weight that is missing", "br;q=, gzip;q=0.1", all, "gzip"},
		{"a parameter that is missing", "br;, gzip;q=0.1", all, "gzip"},
		{"another parameter", "br;level=11, gzip;q=0.1", all, "gzip"},
		{"two parameters", "br;q=1;q=1, gzip;q=0.1", all, "gzip"},
		{"a space before the equals sign", "br;q =1, gzip;q=0.1", all, "gzip"},
		{"a space after the equals sign", "br;q= 1, gzip;q=0.1", all, "gzip"},
		{"a quoted weight", `br;q="1", gzip;q=0.1`, all, "gzip"},
		{"a malformed refusal refuses nothing", "*;q=0.0000, identity;q=00", "", "identity"},
		{"semicolons for commas", "gzip;br;zstd", all, "identity"},
		{"spaces for commas", "gzip br", all, "identity"},
		{"named twice, refused once", "gzip, gzip;q=0", all, "identity"},
		{"named twice, the lower weight counts", "gzip;q=0.9, x-gzip;q=0.1, br;q=0.5", all, "br"},
		{"a name inside another", "brx, xbr, gzipp", all, "identity"},
		{"a long s is not an s", "z\u017ftd", all, "identity"},
		{"a weight alone", ";q=1", all, "identity"},
		{"line breaks are no white space", "br\r\n", all, "identity"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, ok := encode.Negotiate(tc.value, true, sizesOf(tc.available))
			name := got.String()
			if !ok {
				if got != encode.Identity {
					t.Errorf("Negotiate(%q) = %s, false; what is not acceptable must come as identity", tc.value, got)
				}
				name = "none"
			}
			if name != tc.want {
				t.Errorf("Negotiate(%q) with %q = %s, want %s", tc.value, tc.available, name, tc.want)
			}
		})
	}
}

func TestNegotiateWithoutTheFieldIsIdentity(t *testing.T) {
	if got, ok := encode.Negotiate("gzip", false, sizesOf("gzip br zstd")); got != encode.Identity || !ok {
		t.Errorf("got %s, %v", got, ok)
	}
}

func TestNegotiateAllocatesNothing(t *testing.T) {
	sizes := sizesOf("gzip br zstd")
	for _, value := range []string{"gzip, deflate, br, zstd", "br;q=1.0, gzip;q=0.8, *;q=0.1", "Identity;q=0, X-GZIP;q=0.5,,"} {
		if n := testing.AllocsPerRun(100, func() { encode.Negotiate(value, true, sizes) }); n != 0 {
			t.Errorf("Negotiate(%q) allocates %v times", value, n)
		}
	}
}

// memberPattern is the grammar of RFC 9110 §12.5.3 for one list member.
var memberPattern = regexp.MustCompile("^[ \t]*([-!#$%&'*+.^_`|~0-9A-Za-z]+)" +
	"(?:[ \t]*;[ \t]*[qQ]=(0(?:[.][0-9]{0,3})?|1(?:[.]0{0,3})?))?[ \t]*$")

// slowNegotiate does what Negotiate does, in the words of the RFC.
func slowNegotiate(value string, sizes *[encode.NumCodings]int64) (encode.Coding, bool) {
	if strings.Trim(value, " \t") == "" {
		return encode.Identity, true
	}
	weights := map[string]float64{}
	for member := range strings.SplitSeq(value, ",") {
		m := memberPattern.FindStringSubmatch(member)
		if m == nil {
			continue
		}
		name, weight := strings.ToLower(m[1]), 1.0
		if name == "x-gzip" {
			name = "gzip"
		}
		if m[2] != "" {
			weight, _ = strconv.ParseFloat(m[2], 64)
		}
		if before, named := weights[name]; named {
			weight = min(weight, before)
		}
		weights[name] = weight
	}
	weightOf := func(c encode.Coding) (float64, bool) {
		if w, named := weights[c.String()]; named {
			return w, true
		}
		w, named := weights["*"]
		return w, named
	}
	type candidate struct {
		coding encode.Coding
		weight float64
		size   int64
	}
	var candidates []candidate
	if w, named := weightOf(encode.Identity); !named {
		candidates = append(candidates, candidate{encode.Identity, 0, sizes[encode.Identity]})
	} else if w > 0 {
		candidates = append(candidates, candidate{encode.Identity, w, sizes[encode.Identity]})
	}
	for _, c := range allCodings[1:] {
		if w, named := weightOf(c); named && w > 0 && sizes[c] > 0 {
			candidates = append(candidates, candidate{c, w, sizes[c]})
		}
	}
	if len(candidates) == 0 {
		return encode.Identity, false
	}
	best := candidates[0]
	for _, c := range candidates[1:] {
		if c.weight > best.weight || c.weight == best.weight && c.size < best.size {
			best = c
		}
	}
	return best.coding, true
}

func FuzzNegotiate(f *testing.F) {
	for _, value := range []string{
		"", "gzip, deflate, br, zstd", "gzip;q=0, *", "br;q=1.0001", "*;q=0", "identity;q=0.5, gzip;q=0.5",
		"\tx-gzip ;\tq=0.5,,br;Q=1.000", "identity;q=0", "gzip;q=0.,br;q=1.", "zstd;q=0.001, *;q=0.002", "gzip, gzip;q=0",
		"br;", ";q=1", "br;q=", "z\u017ftd",
	} {
		f.Add(value, int64(350), int64(250), int64(300))
		f.Add(value, int64(0), int64(300), int64(300))
		f.Add(value, int64(2000), int64(0), int64(1000))
	}
	f.Fuzz(func(t *testing.T, value string, gzip, br, zstd int64) {
		sizes := &[encode.NumCodings]int64{1000, max(gzip, 0), max(br, 0), max(zstd, 0)}
		got, ok := encode.Negotiate(value, true, sizes)
		want, wantOK := slowNegotiate(value, sizes)
		if got != want || ok != wantOK {
			t.Errorf("Negotiate(%q, %v) = %s, %v, want %s, %v", value, *sizes, got, ok, want, wantOK)
		}
	})
}

func BenchmarkNegotiate(b *testing.B) {
	sizes := sizesOf("gzip br zstd")
	for name, value := range map[string]string{"browser": "gzip, deflate, br, zstd", "weights": "br;q=1.0, gzip;q=0.8, *;q=0.1"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				encode.Negotiate(value, true, sizes)
			}
		})
	}
}
