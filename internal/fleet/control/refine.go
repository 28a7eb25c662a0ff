package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"pennyfarthing/internal/encode"
	"pennyfarthing/internal/fleet/release"
)

// maxCodings is how many bytes of codings are kept on this machine.
const maxCodings = 1 << 30

// refine sends the best codings of a release that is live behind it: the same release,
// in fewer bytes for its visitors. They are made here once, and POPs need not. It
// returns how many objects were sent to each POP, and the bytes of their codings.
func (f *Fleet) refine(ctx context.Context, s *snapshot, live []string) (Amount, error) {
	cache, err := encode.OpenCache(f.in("cache", "codings"), maxCodings)
	if err != nil {
		return Amount{}, err
	}
	packer := release.Packer{Cache: cache}
	var files []release.File
	known := make(map[release.Hash]bool)
	for _, file := range s.manifest.Files {
		if !known[file.Hash] && encode.Compressible(file.Type) {
			known[file.Hash] = true
			files = append(files, file)
		}
	}
	streams := make([]*io.PipeWriter, len(live))
	packs := make([]*release.PackWriter, len(live))
	g, ctx := errgroup.WithContext(ctx)
	for i, pop := range live {
		in, out := io.Pipe()
		streams[i], packs[i] = out, release.NewPackWriter(out)
		g.Go(func() error {
			_, err := f.agent(pop).pack(ctx, s.manifest.Site, in)
			_ = in.CloseWithError(errors.Join(io.ErrClosedPipe, err)) // never fails; the writer ends
			if err != nil {
				return fmt.Errorf("%s: %w", pop, err)
			}
			return nil
		})
	}
	var sent Amount
	g.Go(func() error {
		err := f.bestOf(ctx, &packer, s, files, func(p *release.Prepared) error {
			sent.Objects, sent.Bytes = sent.Objects+1, sent.Bytes+p.Length
			for _, w := range packs {
				if err := w.Send(p); err != nil {
					return err
				}
			}
			return p.Close()
		})
		for i := range packs {
			end := err
			if end == nil {
				end = packs[i].Close()
			}
			_ = streams[i].CloseWithError(end) // never fails
		}
		return err
	})
	return sent, g.Wait()
}

// bestOf makes the best codings of files, on every processor, and hands them on one at a
// time.
func (f *Fleet) bestOf(ctx context.Context, packer *release.Packer, s *snapshot, files []release.File, send func(*release.Prepared) error) error {
	var mu sync.Mutex // lets one be sent at a time, and guards done and last
	var done int64
	last := f.Now()
	g, making := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, file := range files {
		if making.Err() != nil {
			break
		}
		g.Go(func() error {
			if err := making.Err(); err != nil {
				return err
			}
			p, err := packer.Best(release.Source{Hash: file.Hash, Size: file.Size, Open: func() (*os.File, error) { return s.tree.Open(file) }}, file.Type)
			if errors.Is(err, release.ErrChanged) {
				return &ChangedError{Path: file.Path}
			}
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			done++
			if now := f.Now(); now.Sub(last) > progressEvery {
				last = now
				f.tell(Event{Time: now, Kind: EventProgress, Site: s.manifest.Site, Do: ActionRefine, Done: done, Total: int64(len(files))})
			}
			if p == nil {
				return nil
			}
			return send(p)
		})
	}
	return errors.Join(g.Wait(), ctx.Err())
}

// refineLive is refine for a deploy that has gone well. What goes wrong with it is told,
// and takes nothing back.
func (f *Fleet) refineLive(ctx context.Context, s *snapshot, r *Report) error {
	var live []string
	for _, p := range r.POPs {
		if p.Live {
			live = append(live, p.POP)
		}
	}
	began := f.Now()
	sent, err := f.refine(ctx, s, live)
	if err != nil {
		return fmt.Errorf("%s is live, but its best codings could not be sent: %w", Short(r.Release), err)
	}
	r.Refined, r.Refining = sent, f.Now().Sub(began).Round(time.Millisecond)
	return nil
}
