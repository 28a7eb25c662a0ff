package release

import (
	"context"
	"fmt"
	"os"
	"time"
)

// Collected says what [Store.Collect] removed.
type Collected struct {
	Releases int   // manifests
	Objects  int   // in their identity form; what was made of them goes with them
	Bytes    int64 // freed
}

// Collect removes the manifests that keep does not want, and the objects that no
// manifest lists any more. What was written after a time stays, so that objects
// whose manifest is still on its way do.
//
// Within one process it can go on beside anything else, other than between
// [Store.Missing] and the [Store.PutManifest] that should have come before it. If
// a manifest that is to be kept can't be read, nothing is removed.
func (st *Store) Collect(ctx context.Context, keep func(Stored) bool, after time.Time) (Collected, error) {
	st.moving.Lock()
	defer st.moving.Unlock()
	c, err := st.collect(ctx, keep, after)
	if err != nil {
		return c, fmt.Errorf("collect garbage in %s: %w", st.dir, err)
	}
	return c, nil
}

func (st *Store) collect(ctx context.Context, keep func(Stored) bool, after time.Time) (Collected, error) {
	releases, err := st.Manifests()
	if err != nil {
		return Collected{}, err
	}
	needed := make(map[Hash]bool)
	var old []Hash
	for _, r := range releases {
		if !r.Time.After(after) && !keep(r) {
			old = append(old, r.ID)
			continue
		}
		if err := context.Cause(ctx); err != nil {
			return Collected{}, err
		}
		m, err := st.readManifest(r.ID)
		if err != nil {
			return Collected{}, err
		}
		for i := range m.Files {
			needed[m.Files[i].Hash] = true
		}
	}
	var c Collected
	for _, id := range old {
		// The manifest first: without it what is left is nobody's.
		for _, path := range []string{st.manifestPath(id), st.manifestPath(id) + statementExt} {
			n, err := st.remove(path)
			if c.Bytes += n; err != nil {
				return c, err
			}
		}
		c.Releases++
	}
	return c, st.collectObjects(ctx, needed, after, &c)
}

func (st *Store) collectObjects(ctx context.Context, needed map[Hash]bool, after time.Time, c *Collected) error {
	var first error
	err := st.eachName(func(path string, h Hash, form string) {
		if needed[h] || first != nil {
			return
		}
		if first = context.Cause(ctx); first != nil {
			return
		}
		info, err := os.Lstat(path)
		if err != nil || info.ModTime().After(after) {
			return // gone, or new
		}
		n, err := st.remove(path)
		if c.Bytes += n; err != nil {
			first = err
			return
		}
		if form == "" {
			c.Objects++
		}
	})
	if err != nil {
		return err
	}
	return first
}
