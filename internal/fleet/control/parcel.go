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
	statement *keys.Statement
	spool     *spool         // nil: the files are not here
	shelf     *spool         // of what this machine has kept of them, where they are not; nil: nothing
	donors    []*agentClient // POPs that have it

	coding sync.Mutex         // guards coded
	coded  map[offered][]byte // the manifest as it is sent

	numbering func() *release.Numbering // of its objects
}

// newParcel makes a parcel of a manifest and the statement about it.
func newParcel(id string, m *release.Manifest, statement *keys.Statement) *parcel {
	p := &parcel{id: id, manifest: m, statement: statement, coded: make(map[offered][]byte)}
	p.numbering = sync.OnceValue(func() *release.Numbering {
		hash, err := release.ParseHash(id)
		if err != nil {
			hash = m.ID() // it cannot be: the id is the manifest's
		}
		return release.NewNumbering(hash, m.Objects())
	})
	return p
}

// files returns one file of the release for each of some objects, as far as there is one.
func (p *parcel) files(objects map[release.Hash]bool) map[release.Hash]release.File {
	found := make(map[release.Hash]release.File, len(objects))
	for i := range p.manifest.Files {
		if f := &p.manifest.Files[i]; objects[f.Hash] {
			found[f.Hash] = *f
		}
	}
	return found
}

// offer returns the manifest as it is sent to a POP that has a release, or none: as what
// is different, or in zstd for agents that do not know that.
func (p *parcel) offer(how offered, of *release.Manifest) ([]byte, error) {
	p.coding.Lock()
	defer p.coding.Unlock()
	if coded := p.coded[how]; coded != nil {
		return coded, nil
	}
	options := []zstd.EOption{zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(manifestWindow), zstd.WithEncoderLevel(zstd.SpeedDefault)}
	var text []byte
	switch {
	case how.patch:
		base, err := release.ParseHash(how.base)
		if err != nil {
			return nil, err
		}
		text = release.Patch(base, of, p.manifest)
	case how.base != "":
		text = p.manifest.Encode()
		dictionary := of.Encode()
		window := 1 << max(bits.Len(uint(len(text)+len(dictionary))), 10)
		options = []zstd.EOption{
			zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(min(window, manifestBaseWindow)),
			zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithEncoderDictRaw(0, dictionary),
		}
	default:
		text = p.manifest.Encode()
	}
	encoder, err := zstd.NewWriter(nil, options...)
	if err != nil {
		return nil, fmt.Errorf("encode the manifest: %w", err)
	}
	defer encoder.Close()
	p.coded[how] = encoder.EncodeAll(text, nil)
	return p.coded[how], nil
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
	if err := f.keep(m, text, st); err != nil {
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

// keep remembers a release, of which text is the canonical form.
func (f *Fleet) keep(m *release.Manifest, text []byte, st *keys.Statement) error {
	id := release.HashOf(text)
	raw, err := json.Marshal(st)
	if err == nil {
		err = f.store.PutEncoded(id, m, text, raw)
	}
	if err != nil {
		return fmt.Errorf("remember release %s: %w", id.Short(), err)
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
	pack := release.NewNumberedPack(w, p.numbering())
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
