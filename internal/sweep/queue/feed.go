package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"pennyfarthing/internal/sweep/target"
)

// maxGroup is how many shards are added at once. Each time costs a few syncs of the
// disk, and what was not yet added when the process dies is read again.
const (
	maxGroup = 64
	// maxWait is how long a shard waits for others of its group, when the list is slow.
	maxWait = 200 * time.Millisecond
)

// Feed adds what a list has to a queue, until its end, and then says so. It goes on
// where the queue's shards end, and begins with small groups, so that asking begins
// at once. An error of the list comes after what was read before it has been added.
// now is the clock.
func Feed(ctx context.Context, q Queue, list *target.Lister, codec *target.Codec, now func() time.Time) error {
	progress, err := q.Progress(ctx)
	if err != nil {
		return err
	}
	if progress.Listed {
		return nil
	}
	if err := list.Skip(ctx, progress.End); err != nil {
		return err
	}
	var group []Shard
	for size := 1; ; size = min(2*size, maxGroup) {
		group = group[:0]
		var listErr error
		for began := now(); len(group) < size && listErr == nil && (len(group) == 0 || now().Sub(began) < maxWait); {
			var shard *target.Shard
			if shard, listErr = list.Next(ctx); listErr == nil {
				group = append(group, Shard{shard.ID, len(shard.Items), codec.Encode(shard.Items), shard.End})
			}
		}
		if err := q.Add(ctx, group...); err != nil {
			return err
		}
		if errors.Is(listErr, io.EOF) {
			return q.Listed(ctx)
		}
		if listErr != nil {
			return fmt.Errorf("read the list: %w", listErr)
		}
	}
}
