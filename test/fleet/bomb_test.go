package fleet_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/fleet/release"
)

// bombBytes is what a bomb becomes.
const bombBytes = 128 << 20

// zstdBomb is a frame (RFC 8878 §3.1) that begins as given and goes on with zeros: four
// bytes for every 128 KiB, as no encoder makes it.
func zstdBomb(header []byte, begins []byte) []byte {
	const (
		block  = 128 << 10 // no block is larger
		raw    = 0 << 1
		run    = 1 << 1
		last   = 1
		window = 13 << 3 // 8 MiB
	)
	frame := append(binary.LittleEndian.AppendUint32(nil, zstdMagic), header[0], window)
	frame = append(frame, header[1:]...)
	add := func(header int, content ...byte) {
		frame = append(append(frame, byte(header), byte(header>>8), byte(header>>16)), content...)
	}
	if len(begins) > 0 {
		add(len(begins)<<3|raw, begins...)
	}
	for range bombBytes/block - 1 {
		add(block<<3|run, 0)
	}
	add(block<<3|run|last, 0)
	return frame
}

const zstdMagic = 0xfd2fb528

// brotliBomb is the same in brotli: what an encoder makes of one more MiB of zeros, again
// and again.
func brotliBomb(t *testing.T) []byte {
	t.Helper()
	var out bytes.Buffer
	w := brotli.NewWriterLevel(&out, 5)
	grow := func() []byte {
		t.Helper()
		from := out.Len()
		if _, err := w.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil { // to a whole byte
			t.Fatal(err)
		}
		return bytes.Clone(out.Bytes()[from:])
	}
	begin, more := append(grow(), grow()...), grow()
	from := out.Len()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return slices.Concat(begin, bytes.Repeat(more, bombBytes>>20-2), out.Bytes()[from:])
}

// goesOff wants a bomb to be one.
func goesOff(t *testing.T, what string, r io.Reader) {
	t.Helper()
	if n, err := io.Copy(io.Discard, r); err != nil || n < bombBytes {
		t.Errorf("%s is no bomb, but %d bytes (%v)", what, n, err)
	}
}

// An offered is an object as somebody puts it into a pack.
type offered struct {
	hash   release.Hash
	size   int64
	coding string
	also   string // of its header
	data   []byte
}

func (o offered) String() string {
	return fmt.Sprintf(`{"sha256":"%s","size":%d,"coding":"%s"%s,"length":%d}`+"\n%s", o.hash, o.size, o.coding, o.also, len(o.data), o.data)
}

// A thief has a key that may deploy.
type thief struct {
	n  *node
	id *keys.Identity
}

// offers announces a release of one file, and returns its name.
func (by thief) offers(of string, content []byte) string {
	by.n.c.t.Helper()
	m := &release.Manifest{Site: of, Dialect: "netlify", Files: []release.File{{Path: "index.html", Hash: release.HashOf(content), Size: int64(len(content)), Modified: 1_700_000_000, Type: "text/html; charset=utf-8"}}}
	id := m.ID().String()
	st := base64.StdEncoding.EncodeToString(by.n.c.sign(by.id, api.KindRelease, api.Release{Site: of, Release: id, Files: 1, Bytes: m.Bytes(), Time: time.Unix(1, 0).UTC()}))
	if status, answer := by.n.ask(by.id, http.MethodPut, "/v1/sites/"+of+"/releases/"+id, m.Encode(), api.HeaderStatement, st); status != http.StatusOK {
		by.n.c.t.Fatalf("the manifest: %d %s", status, answer)
	}
	return id
}

// sends sends one object, and returns why it was not taken; "" if it was.
func (by thief) sends(what string, object offered) (reason string) {
	by.n.c.t.Helper()
	status, answer := by.n.ask(by.id, http.MethodPost, "/v1/sites/"+site+"/pack", []byte(`{"penny":"pack","version":1}`+"\n"+object.String()+`{"end":1}`+"\n"))
	var got api.PackResult
	if err := json.Unmarshal(answer, &got); err != nil || status != http.StatusOK || got.Stored+len(got.Bad) != 1 {
		by.n.c.t.Fatalf("%s: %d %s", what, status, answer)
	}
	if got.Stored > 0 {
		return ""
	}
	return got.Bad[0].Error
}

// Who has stolen a key that may deploy sends objects that become far more than they say,
// in every coding that there is, and objects that no release has asked for. The first are
// decoded no further than their announced size, the others not at all.
func TestABombOfEveryCodingDoesNotGoOff(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "au")
	c.writeVersion(0)
	c.wants("deploy", "live on 1 of 1")
	n := c.nodes[0]
	ci := thief{n, c.member("ci", "deploy:"+site)}
	other := thief{n, c.member("other", "deploy:other.example.org")}
	c.wants("status") // brings the roster
	before := len(storedFiles(t, filepath.Join(n.dir, "store", "objects")))

	content := bytes.Repeat([]byte("what is wanted\n"), 800)
	hash, size := release.HashOf(content), int64(len(content))
	id := ci.offers(site, content)
	base, err := os.ReadFile(filepath.Join(c.public, "index.html")) // the POP has it
	if err != nil {
		t.Fatal(err)
	}
	based := fmt.Sprintf(`,"base":"%s"`, release.HashOf(base))
	coded := brotliBomb(t)
	goesOff(t, "that of brotli", brotli.NewReader(bytes.NewReader(coded)))
	const plain, withDictionary = "\x00", "\x01\x01" // the beginning of a frame's header
	alone, upon := zstdBomb([]byte(plain), nil), zstdBomb([]byte(withDictionary), nil)
	literals := zstdBomb([]byte(plain), binary.AppendUvarint(nil, uint64(size)))
	copies := zstdBomb([]byte(plain), bytes.Repeat([]byte{0, 16, 0}, 100))
	for what, frame := range map[string][]byte{"that of zstd": alone, "that upon a base": upon, "instructions": literals, "instructions that copy": copies} {
		d, err := zstd.NewReader(bytes.NewReader(frame), zstd.WithDecoderDictRaw(1, base))
		if err != nil {
			t.Fatal(err)
		}
		goesOff(t, what, d)
		d.Close()
	}
	for what, test := range map[string]struct {
		object offered
		says   string
	}{
		"a bomb in br": {offered{hash, size, "br", `,"level":"quick"`, coded}, "too large"},
		"one in br that is said to be of the best": {offered{hash, size, "br", `,"level":"best"`, coded}, "too large"},
		"one in zstd":                                {offered{hash, size, "zstd", "", alone}, "has more than"},
		"one in zstd upon what is served":            {offered{hash, size, "zstd", based, upon}, "has more than"},
		"blocks that are zeros":                      {offered{hash, size, "blocks", "", alone}, "makes nothing"},
		"blocks that go on behind the object":        {offered{hash, size, "blocks", "", literals}, "instructions"},
		"blocks that copy what is served for ever":   {offered{hash, size, "blocks", based, copies}, "instruction"},
		"a bomb that says how large it is, in br":    {offered{hash, bombBytes, "br", `,"level":"quick"`, coded}, "bytes"},
		"a bomb that says how large it is, in zstd":  {offered{hash, bombBytes, "zstd", "", alone}, "bytes"},
		"a bomb that says how large it is, in parts": {offered{hash, bombBytes, "blocks", "", literals}, "no release"},
	} {
		if got := ci.sends(what, test.object); !strings.Contains(got, test.says) {
			t.Errorf("%s is refused because %q, want %q", what, got, test.says)
		}
	}

	// What they hold is right, and nobody wants it: not this site, or not at this size.
	unasked := []byte(strings.Repeat("nobody has asked for this\n", 400))
	theirs := []byte(strings.Repeat("what another site is about to have\n", 300))
	other.offers("other.example.org", theirs)
	for what, data := range map[string][]byte{"an object that nobody has asked for": unasked, "an object of another site": theirs} {
		for _, object := range codedForms(t, data, base, based) {
			what := what + " in " + object.coding
			if got := ci.sends(what, object); !strings.Contains(got, "no release of "+site) {
				t.Errorf("%s: %q", what, got)
			}
		}
	}
	for _, object := range codedForms(t, content, base, based) {
		object.size--
		if object.coding == "identity" {
			object.data = object.data[1:]
		}
		if got := ci.sends("a size that is not the manifest's", object); !strings.Contains(got, "no release of "+site) {
			t.Errorf("of another size in %s: %q", object.coding, got)
		}
	}

	if status, answer := n.ask(ci.id, http.MethodPost, "/v1/sites/"+site+"/releases/"+id+"/stage", nil); status != http.StatusPreconditionFailed {
		t.Errorf("after all that the release is staged: %d %s", status, answer)
	}
	if after := storedFiles(t, filepath.Join(n.dir, "store", "objects")); len(after) != before {
		t.Errorf("%d files were stored: %v", len(after)-before, after)
	}
	if most := peakBytes(t, n.process.PID); most > bombBytes {
		t.Errorf("the agent has had %d bytes of memory", most)
	} else {
		t.Logf("the agent has had %d bytes of memory at most", most)
	}
	// And what is wanted comes through in every coding.
	for i := range codedForms(t, content, base, based) {
		content := fmt.Appendf(content, "%d", i)
		ci.offers(site, content)
		object := codedForms(t, content, base, based)[i]
		if got := ci.sends("what is wanted in "+object.coding, object); got != "" {
			t.Errorf("what is wanted in %s is refused: %q", object.coding, got)
		}
	}
	c.serves(0)
}

// codedForms are an object in every coding of a pack.
func codedForms(t *testing.T, data, base []byte, based string) []offered {
	t.Helper()
	var br bytes.Buffer
	w := brotli.NewWriterLevel(&br, 5)
	_, _ = w.Write(data)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	frame := func(content []byte, options ...zstd.EOption) []byte {
		e, err := zstd.NewWriter(nil, options...)
		if err != nil {
			t.Fatal(err)
		}
		return e.EncodeAll(content, nil)
	}
	hash, size := release.HashOf(data), int64(len(data))
	return []offered{
		{hash, size, "identity", "", data},
		{hash, size, "br", `,"level":"quick"`, br.Bytes()},
		{hash, size, "zstd", "", frame(data)},
		{hash, size, "zstd", based, frame(data, zstd.WithEncoderDictRaw(1, base))},
		{hash, size, "blocks", "", frame(append(append(binary.AppendUvarint(nil, uint64(size)), data...), 0))},
	}
}
