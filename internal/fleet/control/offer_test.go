package control

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/fleet/release"
)

// A pastAgent takes manifests as agents did before there were patches, or as they do now.
type pastAgent struct {
	t       *testing.T
	patches bool
	bases   map[string]*release.Manifest
	asked   []string // the codings that manifests came in
	got     *release.Manifest
}

// RoundTrip answers PUT of a release.
func (p *pastAgent) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	coding, base := r.Header.Get("Content-Encoding"), r.Header.Get(api.HeaderBase)
	p.asked = append(p.asked, strings.TrimSpace(coding+" "+base[:min(len(base), 8)]))
	answer := func(status int, v any) (*http.Response, error) {
		text, err := json.Marshal(v)
		return &http.Response{StatusCode: status, Body: io.NopCloser(bytes.NewReader(text)), Header: make(http.Header)}, err
	}
	if coding == api.CodingPatch && !p.patches {
		return answer(http.StatusUnsupportedMediaType, api.Error{Code: api.CodeBadRequest, Message: "the body comes in a coding that nobody knows"})
	}
	from := p.bases[base]
	if base != "" && from == nil {
		return answer(http.StatusPreconditionFailed, api.Error{Code: api.CodeNoBase, Message: "there is no such release"})
	}
	var options []zstd.DOption
	if from != nil && coding == "zstd" {
		options = append(options, zstd.WithDecoderDictRaw(0, from.Encode()))
	}
	decoder, err := zstd.NewReader(nil, options...)
	if err != nil {
		return nil, err
	}
	defer decoder.Close()
	text, err := decoder.DecodeAll(body, nil)
	if err == nil && coding == api.CodingPatch {
		p.got, err = release.Apply(from.ID(), from, text)
	} else if err == nil {
		p.got, err = release.ParseManifest(text)
	}
	if err != nil {
		p.t.Errorf("as %s it cannot be read: %v", coding, err)
	}
	return answer(http.StatusOK, api.ManifestResult{Missing: []string{}})
}

func TestAManifestIsSentAsTheAgentCanReadIt(t *testing.T) {
	store, err := release.OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	file := release.File{Path: "a", Hash: release.HashOf([]byte("a")), Size: 1, Type: "text/plain"}
	before := &release.Manifest{Site: "example.org", Dialect: "netlify", Files: []release.File{file}}
	file.Path = "b"
	m := &release.Manifest{Site: "example.org", Dialect: "netlify", Files: []release.File{before.Files[0], file}}
	if _, err := store.PutManifest(before, nil); err != nil {
		t.Fatal(err)
	}
	base, short := before.ID().String(), before.ID().String()[:8]
	for name, test := range map[string]struct {
		agent  pastAgent
		staged []string
		want   []string
	}{
		"as what is different":        {pastAgent{patches: true, bases: map[string]*release.Manifest{base: before}}, []string{base}, []string{api.CodingPatch + " " + short}},
		"to an agent of long ago":     {pastAgent{bases: map[string]*release.Manifest{base: before}}, []string{base}, []string{api.CodingPatch + " " + short, "zstd " + short}},
		"where the base is gone":      {pastAgent{patches: true}, []string{base}, []string{api.CodingPatch + " " + short, "zstd"}},
		"long ago, and it is gone":    {pastAgent{}, []string{base}, []string{api.CodingPatch + " " + short, "zstd " + short, "zstd"}},
		"where there was none before": {pastAgent{patches: true}, nil, []string{"zstd"}},
	} {
		t.Run(name, func(t *testing.T) {
			test.agent.t = t
			id := m.ID().String()
			o := &operation{
				fleet: &Fleet{store: store, manifests: make(map[string]*release.Manifest)}, plan: &Plan{Site: m.Site, Release: id, Previous: base},
				parcels: map[string]*parcel{id: newParcel(id, m, new(keys.Statement))},
			}
			at := &begun{agent: &agentClient{pop: POP{Name: "au"}, http: &http.Client{Transport: &test.agent}}, staged: test.staged}
			if err := o.offer(t.Context(), at, id); err != nil {
				t.Fatal(err)
			}
			if strings.Join(test.agent.asked, ", ") != strings.Join(test.want, ", ") || test.agent.got.ID() != m.ID() {
				t.Errorf("it was sent as %q, want %q; the agent has %+v", test.agent.asked, test.want, test.agent.got)
			}
		})
	}
}
