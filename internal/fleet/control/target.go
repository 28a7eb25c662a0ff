package control

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"mime"
	"net/http"
	"path"
	"slices"

	"pennyfarthing/internal/fleet/release"
	"pennyfarthing/internal/probe"
	"pennyfarthing/internal/serve/body"
	"pennyfarthing/internal/serve/site"
)

// A target is a URL and what is to be answered.
type target struct {
	path   string // escaped
	want   site.Expectation
	file   release.File // whose content the body is; zero: anything
	kind   string
	listed bool // among what is asked over every protocol
}

// target is what a URL should be answered with.
func (v *verifier) target(m *release.Manifest, l *site.Layout, at string) target {
	t := target{path: at, want: l.Ask(v.host, at)}
	switch {
	case t.want.Name != "":
		file, _ := m.File(t.want.Name) // what is laid out is in the manifest
		kind, _, err := mime.ParseMediaType(file.Type)
		if err != nil {
			kind = file.Type
		}
		t.file, t.kind = file, fmt.Sprintf("%d %s", t.want.Status, kind)
	default:
		t.kind = fmt.Sprint(t.want.Status)
	}
	return t
}

// sample leaves so much that it can be asked in a moment: the front page, and others by
// a chance that is the same for every POP and every time.
func (v *verifier) sample(m *release.Manifest) {
	large := func(t target) bool { return t.file.Size > maxVerifiedFile && v.content == nil } // otherwise a piece is enough
	small := slices.DeleteFunc(slices.Clone(v.targets), large)
	if len(small) > maxVerified {
		id := m.ID()
		random := rand.New(rand.NewChaCha8(id)) //nolint:gosec // nobody gains from guessing it
		rest := small[1:]
		random.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
		small = small[:maxVerified]
	}
	v.left = len(v.targets) - len(small)
	v.targets = small
}

// list chooses one of each kind, the smallest, for the protocols that are not asked for
// everything.
func (v *verifier) list() {
	first := make(map[string]int)
	for i, t := range v.targets {
		if had, ok := first[t.kind]; !ok || t.file.Size < v.targets[had].file.Size {
			first[t.kind] = i
		}
	}
	chosen := 0
	for i := range v.targets {
		t := &v.targets[i]
		if first[t.kind] == i && chosen < kinds {
			t.listed = true
			chosen++
		}
	}
}

// differs says how the answer to a question is not what it should be, or nothing.
func (t *target) differs(a probe.Answer, q question) string {
	status := t.want.Status
	if q.depth == piece && a.Status == http.StatusPartialContent { // otherwise it may all have come
		status = http.StatusPartialContent
	}
	switch {
	case a.Status == 0 || a.Err != "":
		return fmt.Sprintf("%s (%s)", a.Verdict, cmp.Or(a.Err, a.Verdict.Text()))
	case a.Status != status:
		return fmt.Sprintf("it answers %d, and should answer %d", a.Status, t.want.Status)
	case a.Header.Get("Location") != t.want.Location:
		return fmt.Sprintf("it leads to %q, and should lead to %q", a.Header.Get("Location"), t.want.Location)
	case t.want.Name == "" || q.depth == bare:
		return ""
	case status == http.StatusPartialContent:
		return t.pieceDiffers(a, q.stretch)
	case a.SHA256 != t.file.Hash:
		return fmt.Sprintf("its content is %s (%d bytes), and should be %s (%d bytes of %s)", hex.EncodeToString(a.SHA256[:4]), a.Bytes, t.file.Hash.Short(), t.file.Size, path.Base(t.want.Name))
	}
	return ""
}

// pieceDiffers is differs for some bytes of a file.
func (t *target) pieceDiffers(a probe.Answer, s *stretch) string {
	tag, want := a.Header.Get("Etag"), site.Tag(body.Key(t.file.Hash))
	switch where := fmt.Sprintf("bytes %d-%d/%d", s.from, s.from+s.length-1, t.file.Size); {
	case a.Header.Get("Content-Range") != where:
		return fmt.Sprintf("it sends the %q, and should send %q of %s", a.Header.Get("Content-Range"), where, path.Base(t.want.Name))
	case tag != want:
		return fmt.Sprintf("its entity tag is %s, and should be %s, of %s", tag, want, path.Base(t.want.Name))
	case a.SHA256 != s.sum:
		return fmt.Sprintf("its content at %d differs from that of %s", s.from, path.Base(t.want.Name))
	}
	return ""
}
