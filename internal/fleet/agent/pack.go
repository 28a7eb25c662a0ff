package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"

	"pennyfarthing/internal/encode"
	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/release"
)

// wanted are the objects of a site that may come.
type wanted struct {
	lacking map[release.Hash]int64 // most of what comes; their sizes
	rest    func() error           // finds out what follows

	sizes  map[release.Hash]int64
	served map[release.Hash]bool // by the site now
}

// wanted returns the objects of a site that may come: those of releases that are
// not staged yet, and those of what is served, whose better codings come behind.
func (a *Agent) wanted(s *hostedSite) *wanted {
	w := new(wanted)
	s.mu.Lock()
	w.lacking = s.lacking
	s.mu.Unlock()
	w.rest = sync.OnceValue(func() error { return a.allWanted(s, w) })
	return w
}

// object says whether an object may come, of which size, and whether the site serves it.
func (w *wanted) object(h release.Hash) (size int64, ok, served bool, err error) {
	if size, ok = w.lacking[h]; ok {
		return size, true, false, nil
	}
	if err := w.rest(); err != nil {
		return 0, false, false, err
	}
	size, ok = w.sizes[h]
	return size, ok, w.served[h], nil
}

func (a *Agent) allWanted(s *hostedSite, w *wanted) error {
	w.sizes, w.served = make(map[release.Hash]int64), make(map[release.Hash]bool)
	s.mu.Lock()
	active, serving := s.active, s.serving
	var ids []release.Hash
	for id, rec := range s.records {
		if rec.Staged.IsZero() || s.serving && s.active == id || s.head != nil && s.head.release == id {
			ids = append(ids, id)
		}
	}
	s.mu.Unlock()
	for _, id := range ids {
		m, err := a.store.Manifest(id)
		if isLost(err) {
			continue // it is asked for anew when somebody stages it
		}
		if err != nil {
			return err
		}
		for _, f := range m.Files {
			w.sizes[f.Hash] = f.Size
			if serving && id == active {
				w.served[f.Hash] = true
			}
		}
	}
	return nil
}

// postPack stores the objects of a pack. What was whole until a cut is stored, so
// that who sends again asks what is missing first.
func (a *Agent) postPack(c *call) error {
	s, err := a.site(c.site())
	if err != nil {
		return err
	}
	if !a.packs.try() {
		return tooMany("packs")
	}
	defer a.packs.give()
	a.collecting.RLock()
	defer a.collecting.RUnlock()
	want := a.wanted(s)
	meter, better := a.disk.meter(c.r.Body), false
	accept := func(h release.Hash, size int64) error {
		known, ok, served, err := want.object(h)
		if err != nil {
			return err
		}
		better = better || served
		if !ok || known != size {
			return fmt.Errorf("no release of %s that is on its way has this object", s.name)
		}
		meter.full = errors.Join(meter.full, a.disk.check(size))
		return meter.full
	}
	result, err := release.ReadPack(c.r.Context(), meter, a.store, release.PackOptions{Accept: accept, Numbered: func(id release.Hash) ([]release.Object, error) { return a.objectsOf(s, id) }})
	if result.Stored > 0 && better {
		a.improve(c.r.Context(), s)
	}
	switch {
	case meter.full != nil:
		return meter.full
	case errors.Is(err, release.ErrPack):
		return &api.Error{Status: http.StatusBadRequest, Code: api.CodeInvalid, Message: err.Error(), Hint: "ask what is missing, and send that"}
	case err != nil:
		return err
	}
	answer := api.PackResult{Stored: result.Stored, Bytes: result.Bytes, Bad: make([]api.BadObject, 0, len(result.Bad))}
	for _, bad := range result.Bad {
		answer.Bad = append(answer.Bad, api.BadObject{Object: bad.Hash.String(), Error: bad.Reason})
	}
	if len(result.Bad) > 0 {
		a.log.LogAttrs(c.r.Context(), slog.LevelWarn, "objects refused", slog.String("site", s.name), slog.Int("objects", len(result.Bad)), slog.String("first", result.Bad[0].Reason))
	}
	return c.answer(answer)
}

// objectsOf returns the objects of a release of a site, by whose numbers a pack names
// them.
func (a *Agent) objectsOf(s *hostedSite, id release.Hash) ([]release.Object, error) {
	if _, ok := s.record(id); !ok {
		return nil, noRelease(s.name, id)
	}
	m, err := a.store.Manifest(id)
	if isLost(err) {
		return nil, noRelease(s.name, id)
	}
	if err != nil {
		return nil, err
	}
	return m.Objects(), nil
}

// improve shows codings that came for what is being served.
func (a *Agent) improve(ctx context.Context, s *hostedSite) {
	s.mu.Lock()
	manifest, serving := s.manifest, s.serving
	s.mu.Unlock()
	if !serving {
		return
	}
	if err := s.live.Improve(ctx, newSource(a.store, a.dir.in(storeDir, "objects"), manifest)); err != nil && ctx.Err() == nil {
		a.log.LogAttrs(ctx, slog.LevelWarn, "codings not taken", slog.String("site", s.name), slog.Any("err", err))
	}
}

// postObjects answers with a pack of objects of a site, in the coding in which
// they came. What the POP does not have is left out.
func (a *Agent) postObjects(c *call) error {
	var ask api.ObjectsRequest
	if err := c.json(&ask, api.MaxObjectsIn); err != nil {
		return err
	}
	if len(ask.Objects) > api.MaxObjects {
		return &api.Error{Status: http.StatusRequestEntityTooLarge, Code: api.CodeTooLarge, Message: fmt.Sprintf("these are %d objects, more than %d", len(ask.Objects), api.MaxObjects)}
	}
	hashes := make([]release.Hash, len(ask.Objects))
	for i, text := range ask.Objects {
		h, err := release.ParseHash(text)
		if err != nil {
			return &api.Error{Status: http.StatusBadRequest, Code: api.CodeBadRequest, Message: err.Error()}
		}
		hashes[i] = h
	}
	s, err := a.site(c.site())
	if err != nil {
		return err
	}
	if !a.packs.try() {
		return tooMany("packs")
	}
	defer a.packs.give()
	a.collecting.RLock()
	defer a.collecting.RUnlock()
	sizes, err := a.sizesOf(s, hashes)
	if err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", api.TypePack)
	if err := a.writePack(c.patientWriter(), hashes, sizes); err != nil {
		a.log.LogAttrs(c.r.Context(), slog.LevelWarn, "pack broken off", slog.String("site", s.name), slog.Any("err", err))
		panic(http.ErrAbortHandler) // so that nobody takes it for whole
	}
	return nil
}

// sizesOf returns the sizes of those objects that releases of a site have: who may
// deploy one site may not read another.
func (a *Agent) sizesOf(s *hostedSite, hashes []release.Hash) (map[release.Hash]int64, error) {
	asked := make(map[release.Hash]bool, len(hashes))
	for _, h := range hashes {
		asked[h] = true
	}
	s.mu.Lock()
	ids := slices.SortedFunc(maps.Keys(s.records), func(x, y release.Hash) int { return s.records[y].last().Compare(s.records[x].last()) })
	s.mu.Unlock()
	sizes := make(map[release.Hash]int64, len(asked))
	for _, id := range ids {
		if len(sizes) == len(asked) {
			break
		}
		m, err := a.store.Manifest(id)
		if isLost(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, f := range m.Files {
			if asked[f.Hash] {
				sizes[f.Hash] = f.Size
			}
		}
	}
	return sizes, nil
}

// writePack writes objects, each once.
func (a *Agent) writePack(w io.Writer, hashes []release.Hash, sizes map[release.Hash]int64) error {
	pack := release.NewPackWriter(w)
	for _, h := range hashes {
		size, ok := sizes[h]
		if !ok || !a.store.Has(h) {
			continue
		}
		delete(sizes, h)
		if err := a.addObject(pack, h, size); err != nil {
			return err
		}
	}
	return pack.Close()
}

func (a *Agent) addObject(pack *release.PackWriter, h release.Hash, size int64) error {
	if data, level, ok := a.store.Coded(h, encode.Brotli); ok && size <= release.MaxCoded {
		return pack.Add(release.Header{Hash: h, Size: size, Coding: release.Brotli, Level: level.String(), Length: int64(len(data))}, bytes.NewReader(data))
	}
	f, err := a.store.Open(h)
	if err != nil {
		return err
	}
	defer f.Close()
	return pack.Add(release.Header{Hash: h, Size: size, Coding: release.Identity, Length: size}, f)
}

func tooMany(what string) error {
	return &api.Error{Status: http.StatusTooManyRequests, Code: api.CodeTooMany, Message: "too many " + what + " are under way", Hint: "try again in a while"}
}
