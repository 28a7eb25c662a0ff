package encode_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"pennyfarthing/internal/encode"
)

var (
	allCodings = []encode.Coding{encode.Identity, encode.Gzip, encode.Brotli, encode.Zstd}
	allLevels  = []encode.Level{encode.Quick, encode.Best}
)

// goRoot returns where the Go distribution is.
var goRoot = sync.OnceValues(func() (string, error) {
	root, err := exec.CommandContext(context.Background(), "go", "env", "GOROOT").Output()
	return strings.TrimSpace(string(root)), err
})

// realText returns up to limit bytes of a text file of the Go distribution.
func realText(tb testing.TB, name string, limit int) []byte {
	tb.Helper()
	root, err := goRoot()
	if err != nil {
		tb.Skipf("cannot run: the go command is not here: %v", err)
	}
	text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
	if err != nil {
		tb.Skipf("cannot run: the Go distribution is not here with its sources: %v", err)
	}
	return text[:min(len(text), limit)]
}

func noise(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func bodies(tb testing.TB) map[string][]byte {
	tb.Helper()
	return map[string][]byte{
		"an empty body":             {},
		"one byte":                  {'x'},
		"HTML":                      realText(tb, "doc/go_spec.html", 100<<10),
		"Go source":                 realText(tb, "src/net/http/server.go", 60<<10),
		"a compressed file":         realText(tb, "src/crypto/ed25519/testdata/sign.input.gz", 40<<10),
		"plain text":                realText(tb, "LICENSE", 10<<10),
		"noise":                     noise(20 << 10),
		"zeros just below 128 KiB":  make([]byte, 128<<10-1),
		"zeros, 1 MiB to the byte":  make([]byte, 1<<20),
		"zeros beyond any br block": make([]byte, 1<<20+1),
	}
}

func TestDecodeUndoesEncode(t *testing.T) {
	for name, body := range bodies(t) {
		for _, c := range allCodings {
			for _, l := range allLevels {
				t.Run(name+" as "+c.String()+", "+l.String(), func(t *testing.T) {
					prefix := []byte("before")
					coded, err := encode.Encode(prefix, body, c, l)
					if err != nil {
						t.Fatal(err)
					}
					coded, ok := bytes.CutPrefix(coded, prefix)
					if !ok {
						t.Fatal("Encode did not append")
					}
					plain, err := encode.Decode(prefix, coded, c, int64(len(body)))
					if err != nil {
						t.Fatal(err)
					}
					if !bytes.Equal(plain, append(prefix, body...)) {
						t.Errorf("%d bytes came back as %d others", len(body), len(plain)-len(prefix))
					}
				})
			}
		}
	}
}

func TestTextBecomesSmallerAndBestSmallerThanQuick(t *testing.T) {
	text := realText(t, "doc/go_spec.html", 64<<10)
	for _, c := range allCodings[1:] {
		quick, err := encode.Encode(nil, text, c, encode.Quick)
		if err != nil {
			t.Fatal(err)
		}
		best, err := encode.Encode(nil, text, c, encode.Best)
		if err != nil {
			t.Fatal(err)
		}
		if len(quick) > len(text)/2 || len(best) >= len(quick) {
			t.Errorf("%s: %d bytes become %d quickly and %d at best", c, len(text), len(quick), len(best))
		}
	}
}

func TestEncodingDoesNotDependOnWhatTheEncoderDidBefore(t *testing.T) {
	html, source := realText(t, "doc/go_spec.html", 24<<10), realText(t, "src/net/http/server.go", 20<<10)
	for _, c := range allCodings {
		for _, l := range allLevels {
			first, err := encode.Encode(nil, html, c, l)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if _, err := encode.Encode(nil, source, c, l); err != nil {
					t.Fatal(err)
				}
				again, err := encode.Encode(nil, html, c, l)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(first, again) {
					t.Errorf("%s, %s: the same body became %d and %d bytes, or others", c, l, len(first), len(again))
				}
			}
		}
	}
}

// The search that a br encoder uses changes at 1 MiB; a pooled one must not
// bring the wrong one along.
func TestBrotliEncodesSizesAroundAMebibyteAlwaysTheSame(t *testing.T) {
	text := bytes.Repeat(realText(t, "doc/go_spec.html", 256<<10), 5)
	var first [][]byte
	sizes := []int{1<<20 - 17, 1<<20 - 15, 1<<20 - 1, 1 << 20, 1<<20 + 1}
	for _, size := range sizes {
		emptyPools()
		coded, err := encode.Encode(nil, text[:size], encode.Brotli, encode.Quick)
		if err != nil {
			t.Fatal(err)
		}
		first = append(first, coded)
	}
	emptyPools()
	for i := range sizes {
		again, err := encode.Encode(nil, text[:sizes[i]], encode.Brotli, encode.Quick)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(first[i], again) {
			t.Errorf("%d bytes were encoded in two ways", sizes[i])
		}
	}
}

// emptyPools makes the next encoder a new one: a pool keeps what it has for at
// most two collections.
func emptyPools() {
	runtime.GC()
	runtime.GC()
}

func TestZstdNeverNeedsAWindowThatBrowsersRefuse(t *testing.T) {
	body := make([]byte, 9<<20)
	copy(body[8<<20:], noise(1<<20))
	for _, l := range allLevels {
		coded, err := encode.Encode(nil, body, encode.Zstd, l)
		if err != nil {
			t.Fatal(err)
		}
		var header zstd.Header
		if err := header.Decode(coded); err != nil {
			t.Fatal(err)
		}
		window := header.WindowSize
		if header.SingleSegment {
			window = header.FrameContentSize
		}
		if window > 8<<20 {
			t.Errorf("%s: the window is %d bytes, more than RFC 9659 allows", l, window)
		}
		plain, err := encode.Decode(nil, coded, encode.Zstd, int64(len(body)))
		if err != nil || !bytes.Equal(plain, body) {
			t.Errorf("%s: 9 MiB came back as %d bytes, error %v", l, len(plain), err)
		}
	}
}

func TestDecodeStopsAtTheLimit(t *testing.T) {
	body := make([]byte, 1<<20)
	for _, c := range allCodings {
		coded, err := encode.Encode(nil, body, c, encode.Quick)
		if err != nil {
			t.Fatal(err)
		}
		got, err := encode.Decode([]byte("as it was"), coded, c, int64(len(body))-1)
		if !errors.Is(err, encode.ErrTooLarge) || string(got) != "as it was" {
			t.Errorf("%s: got %d bytes and error %v, want ErrTooLarge", c, len(got), err)
		}
	}
}

func TestDecodeRefusesWhatIsDamaged(t *testing.T) {
	text := realText(t, "LICENSE", 4<<10)
	for _, c := range allCodings[1:] {
		coded, err := encode.Encode(nil, text, c, encode.Quick)
		if err != nil {
			t.Fatal(err)
		}
		for name, damaged := range map[string][]byte{
			"nothing":       {},
			"half of it":    coded[:len(coded)/2],
			"other bytes":   []byte("this is not a coded body"),
			"more after it": append(bytes.Clone(coded), "tail"...),
		} {
			if got, err := encode.Decode(nil, damaged, c, 1<<20); err == nil {
				t.Errorf("%s: %s was decoded to %d bytes", c, name, len(got))
			}
		}
	}
}

func TestWhatIsUnknownIsAnError(t *testing.T) {
	if _, err := encode.Encode(nil, []byte("x"), 9, encode.Quick); err == nil {
		t.Error("Encode took coding 9")
	}
	if _, err := encode.Encode(nil, []byte("x"), encode.Gzip, 9); err == nil {
		t.Error("Encode took level 9")
	}
	if _, err := encode.Decode(nil, []byte("x"), 9, 10); err == nil {
		t.Error("Decode took coding 9")
	}
}

func TestEncodeIsSafeForConcurrentUse(t *testing.T) {
	text := realText(t, "src/net/http/server.go", 20<<10)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			c, mine := allCodings[i%len(allCodings)], text[i*100:]
			coded, err := encode.Encode(nil, mine, c, encode.Quick)
			if err != nil {
				t.Error(err)
				return
			}
			if plain, err := encode.Decode(nil, coded, c, 1<<20); err != nil || !bytes.Equal(plain, mine) {
				t.Errorf("%s: came back differently: %v", c, err)
			}
		})
	}
	wg.Wait()
}

func TestNamesOfCodingsAndLevels(t *testing.T) {
	var got []string
	for c := range encode.Coding(encode.NumCodings + 1) {
		got = append(got, c.String())
	}
	for l := range encode.Level(3) {
		got = append(got, l.String())
	}
	want := []string{"identity", "gzip", "br", "zstd", "coding(4)", "quick", "best", "level(2)"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzDecode(f *testing.F) {
	text := realText(f, "LICENSE", 2<<10)
	for _, c := range allCodings {
		coded, err := encode.Encode(nil, text, c, encode.Quick)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(coded, uint8(c))
	}
	f.Fuzz(func(t *testing.T, src []byte, c uint8) {
		const limit = 64 << 10
		got, err := encode.Decode(nil, src, encode.Coding(c%encode.NumCodings), limit)
		if err == nil && len(got) > limit {
			t.Errorf("%d bytes of %d were decoded", len(got), limit)
		}
	})
}

func FuzzDecodeUndoesEncode(f *testing.F) {
	f.Add([]byte("hello hello hello"))
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, c := range allCodings {
			coded, err := encode.Encode(nil, body, c, encode.Quick)
			if err != nil {
				t.Fatal(err)
			}
			if plain, err := encode.Decode(nil, coded, c, int64(len(body))); err != nil || !bytes.Equal(plain, body) {
				t.Fatalf("%s: %d bytes came back as %d, error %v", c, len(body), len(plain), err)
			}
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	text := realText(b, "doc/go_spec.html", 64<<10)
	for _, c := range allCodings[1:] {
		for _, l := range allLevels {
			b.Run(c.String()+"/"+l.String()+"/"+strconv.Itoa(len(text)>>10)+"KiB", func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(len(text)))
				var out []byte
				for b.Loop() {
					var err error
					if out, err = encode.Encode(out[:0], text, c, l); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(100*float64(len(out))/float64(len(text)), "%size")
			})
		}
	}
}
