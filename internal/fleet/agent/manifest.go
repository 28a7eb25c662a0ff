package agent

import (
	"fmt"
	"io"
	"net/http"

	"github.com/klauspost/compress/zstd"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/release"
)

// manifestWindow bounds the memory that a compressed manifest asks for: what
// encoders take at their best level.
const manifestWindow = 32 << 20

// manifest reads the manifest in the body, which must be the release that its name
// and its statement say, and returns its canonical form too.
func (c *call) manifest(id release.Hash, about *api.Release, base *manifestBase) (*release.Manifest, []byte, error) {
	m, text, err := c.readManifest(base)
	if err != nil {
		return nil, nil, err
	}
	if got := release.HashOf(text); got != id {
		return nil, nil, invalid(fmt.Errorf("this manifest is release %s, not %s", got.Short(), id.Short()))
	}
	if m == nil {
		if m, err = release.ParseManifest(text); err != nil {
			return nil, nil, invalid(err)
		}
	}
	if m.Site != c.site() {
		return nil, nil, invalid(fmt.Errorf("this manifest is of the site %s, not of %s", m.Site, c.site()))
	}
	if len(m.Files) != about.Files || m.Bytes() != about.Bytes {
		return nil, nil, invalid(fmt.Errorf("the statement speaks of %d files of %d bytes, and the manifest has %d of %d", about.Files, about.Bytes, len(m.Files), m.Bytes()))
	}
	return m, text, nil
}

// readManifest decodes the manifest in the body. It is parsed already where it came as a
// patch, and nil otherwise.
func (c *call) readManifest(base *manifestBase) (*release.Manifest, []byte, error) {
	if c.r.Header.Get("Content-Encoding") != api.CodingPatch {
		text, err := c.decoded(api.MaxManifest, base)
		return nil, text, err
	}
	if base == nil {
		return nil, nil, &api.Error{Status: http.StatusBadRequest, Code: api.CodeBadRequest, Message: "the header " + api.HeaderBase + " is missing", Hint: "it names the release that the patch is against"}
	}
	patch, err := c.unzstd(http.MaxBytesReader(c.w, c.r.Body, api.MaxManifest), api.MaxManifest, nil)
	if err != nil {
		return nil, nil, err
	}
	m, err := release.Apply(base.id, base.Manifest, patch)
	if err != nil {
		return nil, nil, invalid(err)
	}
	return m, m.Encode(), nil
}

// A manifestBase is the manifest that the one in a body is coded against.
type manifestBase struct {
	*release.Manifest
	id release.Hash
}

// base returns the manifest that the one in the body is coded against, or nil.
func (a *Agent) base(c *call) (*manifestBase, error) {
	text := c.r.Header.Get(api.HeaderBase)
	if text == "" {
		return nil, nil
	}
	lacks := &api.Error{
		Status: http.StatusPreconditionFailed, Code: api.CodeNoBase,
		Message: fmt.Sprintf("this POP has no release %.64q of %s to start from", text, c.site()), Hint: "send the manifest without " + api.HeaderBase,
	}
	id, err := release.ParseHash(text)
	if err != nil {
		return nil, lacks
	}
	s, err := a.site(c.site())
	if err != nil {
		return nil, lacks
	}
	if _, ok := s.record(id); !ok {
		return nil, lacks
	}
	m, err := a.store.Manifest(id)
	if err != nil {
		return nil, lacks
	}
	return &manifestBase{m, id}, nil
}

// decoded reads a body that may come with Content-Encoding: zstd, of at most limit
// bytes when decoded, and coded against a base that is not nil.
func (c *call) decoded(limit int64, base *manifestBase) ([]byte, error) {
	body := http.MaxBytesReader(c.w, c.r.Body, limit)
	switch coding := c.r.Header.Get("Content-Encoding"); coding {
	case "", "identity":
		text, err := io.ReadAll(body)
		if err != nil {
			return nil, unreadable(err)
		}
		return text, nil
	case "zstd":
	default:
		return nil, &api.Error{Status: http.StatusUnsupportedMediaType, Code: api.CodeBadRequest, Message: fmt.Sprintf("the body comes in the coding %.40q", coding), Hint: "send it in zstd, or as it is"}
	}
	var dictionary []byte
	if base != nil {
		dictionary = base.Encode()
	}
	return c.unzstd(body, limit, dictionary)
}

// unzstd decodes zstd of at most limit bytes, with a raw dictionary that is not nil.
func (c *call) unzstd(body io.Reader, limit int64, dictionary []byte) ([]byte, error) {
	options := []zstd.DOption{zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(manifestWindow)}
	if dictionary != nil {
		options = append(options, zstd.WithDecoderDictRaw(0, dictionary))
	}
	decoder, err := zstd.NewReader(body, options...)
	if err != nil {
		return nil, err
	}
	defer decoder.Close()
	text, err := io.ReadAll(io.LimitReader(decoder, limit+1))
	switch {
	case err != nil:
		return nil, invalid(fmt.Errorf("the body is not whole, or is not zstd with a window of at most %d bytes: %w", manifestWindow, err))
	case int64(len(text)) > limit:
		return nil, &http.MaxBytesError{Limit: limit}
	}
	return text, nil
}
