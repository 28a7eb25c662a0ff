package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/bits"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/fleet/release"
)

// A parcel is a release, ready to be sent: from here, if this machine has its files, or
// from POPs that have them.
type parcel struct {
	id        string
	manifest  *release.Manifest // nil: it is not here yet
	text      []byte            // the manifest's canonical form
	statement *keys.Statement
	files     map[release.Hash]release.File // one for each object
	numbering *release.Numbering
	spool     *spool         // nil: the files are not here
	shelf     *spool         // of what this machine has kept of them, where they are not; nil: nothing
	donors    []*agentClient // POPs that have it

	coding sync.Mutex        // guards coded
	coded  map[string][]byte // the manifest, by its coding and the release that it is against
}

// newParcel makes a parcel of a manifest and the statement about it.
func newParcel(id string, m *release.Manifest, statement *keys.Statement) *parcel {
	p := &parcel{id: id, manifest: m, text: m.Encode(), statement: statement, files: make(map[release.Hash]release.File, len(m.Files)), coded: make(map[string][]byte)}
	for _, f := range m.Files {
		if _, known := p.files[f.Hash]; !known {
			p.files[f.Hash] = f
		}
	}
	p.numbering = release.NewNumbering(release.HashOf(p.text), m.Objects())
	return p
}

// offer returns the manifest as it is sent to a POP that has a release, or none: most of
// a manifest is the same as in the one before. What is different is said as packs say
// it to POPs that know how to take that.
func (p *parcel) offer(base string, of *release.Manifest, delta bool) (offered, error) {
	p.coding.Lock()
	defer p.coding.Unlock()
	o := offered{base: base, coding: "zstd", statement: p.statement, objects: p.numbering.Objects}
	if delta && base != "" {
		o.coding = api.CodingDelta
	}
	key := o.coding + base
	if o.coded = p.coded[key]; o.coded != nil {
		return o, nil
	}
	var err error
	if o.coding == api.CodingDelta {
		o.coded, err = release.Delta(p.text, of.Encode())
	} else {
		o.coded, err = p.zstd(base, of)
	}
	if err != nil {
		return o, fmt.Errorf("encode the manifest: %w", err)
	}
	p.coded[key] = o.coded
	return o, nil
}

// zstd returns the manifest in zstd, with the one of a base as its dictionary.
func (p *parcel) zstd(base string, of *release.Manifest) ([]byte, error) {
	options := []zstd.EOption{zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(manifestWindow), zstd.WithEncoderLevel(zstd.SpeedDefault)}
	if base != "" {
		dictionary := of.Encode()
		window := 1 << max(bits.Len(uint(len(p.text)+len(dictionary))), 10)
		options = []zstd.EOption{
			zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(min(window, manifestBaseWindow)),
			zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithEncoderDictRaw(0, dictionary),
		}
	}
	encoder, err := zstd.NewWriter(nil, options...)
	if err != nil {
		return nil, err
	}
	defer encoder.Close()
	return encoder.EncodeAll(p.text, nil), nil
}

// What an agent gives a manifest's decoder at most, in bytes: without a base, and with
// one.
const (
	manifestWindow     = 8 << 20
	manifestBaseWindow = 32 << 20
)

// manifest returns the manifest of a release and the statement about it: from here, or
// from one of the POPs that have it.
func (f *Fleet) manifest(ctx context.Context, site, id string, donors []*agentClient) (*release.Manifest, *keys.Statement, error) {
	hash, err := release.ParseHash(id)
	if err != nil {
		return nil, nil, err
	}
	if m, st, err := f.kept(site, hash); err == nil {
		return m, st, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	var errs []error
	for _, a := range donors {
		m, st, err := f.fetchManifest(ctx, site, hash, a)
		if err == nil {
			return m, st, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", a.pop.Name, err))
	}
	if len(errs) == 0 {
		return nil, nil, fmt.Errorf("no POP that answers has release %s of %s: %w", hash.Short(), site, fs.ErrNotExist)
	}
	return nil, nil, fmt.Errorf("fetch release %s of %s: %w", hash.Short(), site, errors.Join(errs...))
}

// kept returns a release that this machine knows.
func (f *Fleet) kept(site string, id release.Hash) (*release.Manifest, *keys.Statement, error) {
	m, err := f.store.Manifest(id)
	if err != nil {
		return nil, nil, err
	}
	raw, err := f.store.Statement(id)
	if err != nil {
		return nil, nil, err
	}
	st, err := keys.ParseStatement(raw)
	if err != nil {
		return nil, nil, err
	}
	var about api.Release
	if err := f.readSigned(st, api.KindRelease, site, &about); err != nil {
		return nil, nil, fmt.Errorf("the statement about release %s: %w: %w", id.Short(), err, fs.ErrNotExist)
	}
	st, err = f.restate(m, st, site)
	return m, st, err
}

func (f *Fleet) fetchManifest(ctx context.Context, site string, id release.Hash, a *agentClient) (*release.Manifest, *keys.Statement, error) {
	text, raw, err := a.manifest(ctx, site, id.String())
	if err != nil {
		return nil, nil, err
	}
	if release.HashOf(text) != id {
		return nil, nil, errors.New("it sends another manifest than it was asked for")
	}
	m, err := release.ParseManifest(text)
	if err != nil {
		return nil, nil, err
	}
	st, err := keys.ParseStatement(raw)
	if err != nil {
		return nil, nil, fmt.Errorf("the statement about it: %w", err)
	}
	var about api.Release
	if err := f.readSigned(st, api.KindRelease, site, &about); err != nil {
		return nil, nil, fmt.Errorf("the statement about it: %w", err)
	}
	if about.Site != site || about.Release != id.String() || m.Site != site {
		return nil, nil, errors.New("the statement is about another release")
	}
	if err := f.keep(m, st); err != nil {
		return nil, nil, err
	}
	st, err = f.restate(m, st, site)
	return m, st, err
}

// restate makes a statement of our own about a release if who has made the one that
// there is may not any more: no POP would take that.
func (f *Fleet) restate(m *release.Manifest, st *keys.Statement, site string) (*keys.Statement, error) {
	if r := f.currentRoster(); r == nil || r.May(st.Key, keys.Right{What: keys.Deploy, Site: site}) {
		return st, nil
	}
	return f.state(m, m.ID().String())
}

// keep remembers a release.
func (f *Fleet) keep(m *release.Manifest, st *keys.Statement) error {
	raw, err := json.Marshal(st)
	if err == nil {
		_, err = f.store.PutManifest(m, raw)
	}
	if err != nil {
		return fmt.Errorf("remember release %s: %w", m.ID().Short(), err)
	}
	return nil
}

// state makes the statement about a release.
func (f *Fleet) state(m *release.Manifest, id string) (*keys.Statement, error) {
	return f.sign(api.KindRelease, api.Release{Site: m.Site, Release: id, Files: len(m.Files), Bytes: m.Bytes(), Time: f.Now().UTC().Truncate(time.Second)})
}

// A way is how objects are sent to a POP.
type way struct {
	numbers bool // it takes packs of version 2
	plain   bool // it may lack what objects refer to
	again   bool // some did not arrive well: each alone
}

// pack writes objects as a pack, from where they are.
func (p *parcel) pack(ctx context.Context, w io.Writer, from *spool, objects []release.File, by way, sent func(release.File)) error {
	if !by.numbers {
		return p.packAlone(ctx, release.NewPackWriter(w), from, objects, by, sent)
	}
	pack := release.NewNumberedPack(w, p.numbering)
	if by.again {
		return p.packAlone(ctx, pack, from, objects, by, sent)
	}
	groups, alone := from.together(objects, by.plain)
	for _, g := range groups {
		if err := from.sendGroup(ctx, pack, g); err != nil {
			return err
		}
		for _, file := range g {
			sent(file)
		}
	}
	return p.packAlone(ctx, pack, from, alone, by, sent)
}

// packAlone writes objects one by one, and ends the pack.
func (p *parcel) packAlone(ctx context.Context, pack *release.PackWriter, from *spool, objects []release.File, by way, sent func(release.File)) error {
	for _, file := range objects {
		if err := from.send(ctx, pack, file, by.plain); err != nil {
			return err
		}
		sent(file)
	}
	return pack.Close()
}
