package hpack

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unsafe"

	xhpack "golang.org/x/net/http2/hpack"
)

// sameAsXNet compares with the decoder of x/net.
func sameAsXNet(t *testing.T, src []byte) {
	t.Helper()
	var theirs bytes.Buffer
	_, wantErr := xhpack.HuffmanDecode(&theirs, src)
	got, err := AppendHuffmanDecoded([]byte("before "), src)
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%x: %v, x/net: %v", src, err, wantErr)
	}
	if want := "before " + theirs.String(); err == nil && string(got) != want {
		t.Fatalf("%x: %q, x/net: %q", src, got, want)
	}
}

func TestShortStringsAreDecodedAsXNetDoes(t *testing.T) {
	sameAsXNet(t, nil)
	for i := range 1 << 16 {
		src := []byte{byte(i), byte(i >> 8)}
		sameAsXNet(t, src[:1])
		sameAsXNet(t, src)
	}
}

// TestTheEndsOfLongStringsAreDecodedAsXNetDoes has all that twelve bits can be at
// the end, at every place behind the bytes that are taken eight at a time.
func TestTheEndsOfLongStringsAreDecodedAsXNetDoes(t *testing.T) {
	for n := range 16 {
		before := xhpack.AppendHuffmanString(nil, strings.Repeat("/0aZ{", n)) // five to fifteen bits
		for i := range 1 << 12 {
			sameAsXNet(t, binary.BigEndian.AppendUint16(slices.Clip(before), uint16(i<<4|i&0xf)))
		}
	}
}

func TestEveryPairOfCharactersIsDecoded(t *testing.T) {
	for i := range 1 << 16 {
		for _, s := range []string{string([]byte{byte(i), byte(i >> 8)}), "a string of more than eight bytes" + string([]byte{byte(i), byte(i >> 8)}) + "and what comes then"} {
			got, err := AppendHuffmanDecoded(nil, xhpack.AppendHuffmanString(nil, s))
			if err != nil || string(got) != s {
				t.Fatalf("%q: %q, %v", s, got, err)
			}
		}
	}
}

func TestWhatIsNotInHuffmansCode(t *testing.T) {
	long := xhpack.AppendHuffmanString(nil, "aaaaaaaa") // five whole bytes
	for name, bad := range map[string]string{
		"EOS":                                "\xff\xff\xff\xff",
		"EOS, and more":                      "\xff\xff\xff\xfc\x1f\xff\xff\xff\xff",
		"eight bits of padding":              "\xff",
		"fifteen bits of padding":            string(long) + "\x1f\xff\xff",
		"padding with a zero":                "\x18",
		"nothing but zeros that are no code": "\xff\xff\xff\xf8"[:3] + "\xe0",
		"EOS in the middle":                  string(long) + "\xff\xff\xff\xff" + string(long) + string(long),
		"a code that does not end":           string(long) + string(long) + "\xff\xfe",
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := AppendHuffmanDecoded(nil, []byte(bad)); err == nil {
				t.Errorf("it was decoded to %q", got)
			}
			sameAsXNet(t, []byte(bad))
		})
	}
}

func TestDecodingHuffmansCodeAllocatesNothingWhereThereIsRoom(t *testing.T) {
	src, dst := xhpack.AppendHuffmanString(nil, userAgent), make([]byte, 0, 4*len(userAgent))
	if n := testing.AllocsPerRun(100, func() {
		if _, err := AppendHuffmanDecoded(dst, src); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if size := unsafe.Sizeof(*huffman); size > 64<<10 {
		t.Errorf("the tables take %d bytes", size)
	}
}

func FuzzHuffman(f *testing.F) {
	for _, s := range []string{"", "a", userAgent, "\x00\xff\x16\xf9", strings.Repeat("{", 20), strings.Repeat("0", 50)} {
		f.Add(xhpack.AppendHuffmanString(nil, s))
	}
	f.Add([]byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		sameAsXNet(t, data)
		got, err := AppendHuffmanDecoded(nil, xhpack.AppendHuffmanString(nil, string(data)))
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%q: %q, %v", data, got, err)
		}
	})
}

const userAgent = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"

func BenchmarkHuffman(b *testing.B) {
	random, noise := rand.New(rand.NewPCG(1, 2)), make([]byte, 100)
	for i := range noise {
		noise[i] = byte(random.Uint32())
	}
	for name, s := range map[string]string{
		"a short value": "no-cache",
		"a path":        "/assets/2024/11/app-3f9c2b1e.min.js?v=20241104",
		"a user agent":  userAgent,
		"a cookie":      "session=eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0; theme=dark; _ga=GA1.2.1234567890.1700000000",
		"noise":         string(noise),
	} {
		src, dst := xhpack.AppendHuffmanString(nil, s), make([]byte, 0, 4*len(s))
		b.Run(name+"/ours", func(b *testing.B) {
			b.SetBytes(int64(len(s)))
			b.ReportAllocs()
			for b.Loop() {
				_, _ = AppendHuffmanDecoded(dst, src)
			}
		})
		b.Run(name+"/x-net", func(b *testing.B) {
			out := scratchWriter(dst)
			b.SetBytes(int64(len(s)))
			b.ReportAllocs()
			for b.Loop() {
				out = out[:0]
				_, _ = xhpack.HuffmanDecode(&out, src)
			}
		})
	}
}

// A scratchWriter is how the decoder of x/net appends to a slice.
type scratchWriter []byte

func (s *scratchWriter) Write(p []byte) (int, error) {
	*s = append(*s, p...)
	return len(p), nil
}
