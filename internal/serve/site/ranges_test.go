package site

import (
	"errors"
	"fmt"
	"io"
	"math/big"
	"mime"
	"mime/multipart"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const alphabet = "abcdefghijklmnopqrstuvwxyz"

func TestRanges(t *testing.T) {
	s := compiled(t, files{"a.txt": alphabet, "empty.txt": ""})
	eleven := "bytes=0-0" + strings.Repeat(",2-2", 10)
	ten := "bytes=0-0,2-2,4-4,6-6,8-8,10-10,12-12,14-14,16-16,18-18"
	for _, test := range []struct {
		name, path, value string
		status            int
		want              string // the body, or the parts with "|" between them
	}{
		{"first and last", "/a.txt", "bytes=1-3", 206, "bcd"},
		{"one byte", "/a.txt", "bytes=25-25", 206, "z"},
		{"open", "/a.txt", "bytes=23-", 206, "xyz"},
		{"a suffix", "/a.txt", "bytes=-3", 206, "xyz"},
		{"a suffix longer than the file", "/a.txt", "bytes=-300", 206, alphabet},
		{"an end beyond the file", "/a.txt", "bytes=24-300", 206, "yz"},
		{"an end beyond all numbers", "/a.txt", "bytes=24-99999999999999999999999", 206, "yz"},
		{"all of it", "/a.txt", "bytes=0-", 206, alphabet},
		{"the unit has no case", "/a.txt", "BYTES=0-0", 206, "a"},
		{"several", "/a.txt", "bytes=0-1, 4-5 ,\t-1", 206, "ab|ef|z"},
		{"several in the order asked for", "/a.txt", "bytes=4-5,0-1", 206, "ef|ab"},
		{"neighbours", "/a.txt", "bytes=0-1,2-3", 206, "ab|cd"},
		{"empty members", "/a.txt", "bytes=,0-0,,", 206, "a"},
		{"one of several cannot be", "/a.txt", "bytes=0-0,100-", 206, "a"},
		{"ten", "/a.txt", ten, 206, "a|c|e|g|i|k|m|o|q|s"},
		{"eleven", "/a.txt", eleven, 200, alphabet},
		{"more than ten that cannot be", "/a.txt", "bytes=0-0" + strings.Repeat(",100-", 10), 200, alphabet},
		{"overlapping", "/a.txt", "bytes=0-2,2-3", 200, alphabet},
		{"overlapping, unordered", "/a.txt", "bytes=20-,0-0,-1", 200, alphabet},
		{"twice the same", "/a.txt", "bytes=0-0,0-0", 200, alphabet},
		{"beyond the end", "/a.txt", "bytes=26-", 416, ""},
		{"beyond all numbers", "/a.txt", "bytes=99999999999999999999999-", 416, ""},
		{"an empty suffix", "/a.txt", "bytes=-0", 416, ""},
		{"all beyond the end", "/a.txt", "bytes=26-30,40-", 416, ""},
		{"reversed", "/a.txt", "bytes=3-1", 200, alphabet},
		{"another unit", "/a.txt", "lines=0-1", 200, alphabet},
		{"no unit", "/a.txt", "0-1", 200, alphabet},
		{"nothing", "/a.txt", "bytes=", 200, alphabet},
		{"only commas", "/a.txt", "bytes=,,", 200, alphabet},
		{"a sign", "/a.txt", "bytes=+1-3", 200, alphabet},
		{"two signs", "/a.txt", "bytes=1--3", 200, alphabet},
		{"spaces inside", "/a.txt", "bytes=1 -3", 200, alphabet},
		{"only a hyphen", "/a.txt", "bytes=-", 200, alphabet},
		{"letters", "/a.txt", "bytes=a-b", 200, alphabet},
		{"one malformed among good ones", "/a.txt", "bytes=0-0,x", 200, alphabet},
		{"of an empty file", "/empty.txt", "bytes=0-", 200, ""},
		{"a suffix of an empty file", "/empty.txt", "bytes=-5", 200, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := ask(t, s, Request{Path: test.path, Range: test.value})
			if r.status != test.status {
				t.Fatalf("status %d, want %d", r.status, test.status)
			}
			switch {
			case r.status == 416:
				if got := r.header.Get("Content-Range"); got != "bytes */26" {
					t.Errorf("Content-Range is %q", got)
				}
			case strings.Contains(test.want, "|"):
				checkParts(t, r, strings.Split(test.want, "|"))
			case r.body != test.want:
				t.Errorf("the body is %q, want %q", r.body, test.want)
			case r.status == 206:
				start := strings.Index(alphabet, test.want)
				want := fmt.Sprintf("bytes %d-%d/26", start, start+len(test.want)-1)
				if got := r.header.Get("Content-Range"); got != want {
					t.Errorf("Content-Range is %q, want %q", got, want)
				}
			}
		})
	}
}

func checkParts(t *testing.T, r response, want []string) {
	t.Helper()
	kind, params, err := mime.ParseMediaType(r.header.Get("Content-Type"))
	if err != nil || kind != "multipart/byteranges" || r.header.Get("Content-Range") != "" {
		t.Fatalf("Content-Type %q, %v, Content-Range %q", kind, err, r.header.Get("Content-Range"))
	}
	var got []string
	reader := multipart.NewReader(strings.NewReader(r.body), params["boundary"])
	for {
		part, err := reader.NextRawPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(part)
		if err != nil {
			t.Fatal(err)
		}
		start := strings.Index(alphabet, string(data))
		if want := fmt.Sprintf("bytes %d-%d/26", start, start+len(data)-1); part.Header.Get("Content-Range") != want {
			t.Errorf("the part %q has Content-Range %q, want %q", data, part.Header.Get("Content-Range"), want)
		}
		if part.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
			t.Errorf("the part %q has Content-Type %q", data, part.Header.Get("Content-Type"))
		}
		got = append(got, string(data))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("parts differ (-want +got):\n%s", diff)
	}
}

func TestARangeIsOfThePlainForm(t *testing.T) {
	content := text(1, 5000)
	s := best(t, compiled(t, files{"a.txt": content}))
	r := ask(t, s, Request{Path: "/a.txt", Range: "bytes=10-19", AcceptEncoding: "br, gzip, identity;q=0", HasAcceptEncoding: true})
	if r.status != 206 || r.body != content[10:20] || r.header.Get("Content-Encoding") != "" || r.header.Get("Vary") == "" {
		t.Errorf("got %d %q %v", r.status, r.body, r.header)
	}
	whole := ask(t, s, Request{Path: "/a.txt", Range: "bytes=3-1", AcceptEncoding: "br", HasAcceptEncoding: true})
	if whole.header.Get("Content-Encoding") != "br" || whole.decoded(t) != content {
		t.Errorf("a range that is ignored is answered with %v", whole.header)
	}
}

var rangePattern = regexp.MustCompile(`^(?i:bytes)=([0-9, \t-]*)$`)

// slowRanges is parseRange as the RFC reads: byte by byte.
func slowRanges(value string, size int64) ([]span, rangeVerdict) {
	match := rangePattern.FindStringSubmatch(value)
	if match == nil {
		return nil, rangeIgnored
	}
	var spans []span
	covered := make([]bool, size)
	asked, overlap := 0, false
	for item := range strings.SplitSeq(match[1], ",") {
		item = strings.Trim(item, " \t")
		if item == "" {
			continue
		}
		asked++
		first, last, ok := slowSpan(item, size)
		if !ok {
			return nil, rangeIgnored
		}
		if first > last {
			continue
		}
		spans = append(spans, span{first, last + 1})
		for i := first; i <= last; i++ {
			overlap = overlap || covered[i]
			covered[i] = true
		}
	}
	switch {
	case asked == 0, asked > maxRanges, len(spans) > 0 && overlap:
		return nil, rangeIgnored
	case len(spans) == 0:
		return nil, rangeUnsatisfied
	}
	return spans, rangeHonoured
}

var spanPattern = regexp.MustCompile(`^([0-9]*)-([0-9]*)$`)

// slowSpan returns the first and last byte of one range, the last before the
// first where there is none.
func slowSpan(item string, size int64) (first, last int64, ok bool) {
	match := spanPattern.FindStringSubmatch(item)
	if match == nil || match[1] == "" && match[2] == "" {
		return 0, 0, false
	}
	number := func(s string) *big.Int { n, _ := new(big.Int).SetString("0"+s, 10); return n }
	from, to := number(match[1]), number(match[2])
	switch {
	case match[1] == "":
		from, to = new(big.Int).Sub(big.NewInt(size), to), big.NewInt(size-1)
	case match[2] == "":
		to = big.NewInt(size)
	case from.Cmp(to) > 0:
		return 0, 0, false
	}
	inside := func(b *big.Int) bool { return b.Sign() >= 0 && b.Cmp(big.NewInt(size)) < 0 }
	first, last = size, -1
	for i := range size { // every byte that is asked for and there
		if b := big.NewInt(i); inside(b) && from.Cmp(b) <= 0 && b.Cmp(to) <= 0 {
			first, last = min(first, i), max(last, i)
		}
	}
	return first, last, true
}

func FuzzRange(f *testing.F) {
	for _, value := range []string{
		"bytes=0-499", "bytes=500-999", "bytes=-500", "bytes=9500-", "bytes=0-0,-1", "bytes= 0-0 , 5-6", "bytes=500-600,601-999", "bytes=0-",
		"bytes=,", "bytes=5-1", "bytes=0-18446744073709551616", "bytes=9223372036854775807-", "bytes=-9223372036854775808", "Bytes=1-1", "items=0-5",
		"bytes=0-0,1-1,2-2,3-3,4-4,5-5,6-6,7-7,8-8,9-9,10-10",
	} {
		f.Add(value, uint16(1000))
		f.Add(value, uint16(0))
	}
	f.Fuzz(func(t *testing.T, value string, length uint16) {
		if len(value) > 200 {
			return
		}
		size := int64(length % 300)
		spans, verdict := parseRange(value, size, nil)
		want, wantVerdict := slowRanges(value, size)
		if verdict != wantVerdict || verdict == rangeHonoured && !slices.Equal(spans, want) {
			t.Errorf("%q of %d bytes: got %v %d, want %v %d", value, size, spans, verdict, want, wantVerdict)
		}
	})
}
