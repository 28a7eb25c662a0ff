package up

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"sync"

	"pennyfarthing/internal/loop"
)

// spare gives the process, once, as many more processors (GOMAXPROCS) as it has
// loops: one that waits in the kernel keeps its own for a while, and everything
// else would wait for that. A processor is Go's permission to run a thread at a
// time; those that nobody needs cost nothing.
var spare sync.Once

// newLoops returns a loop for each processor, or nil where there are none.
func newLoops(ctx context.Context, log *slog.Logger) *loop.Group {
	processors := runtime.GOMAXPROCS(0)
	loops, err := loop.NewGroup(processors)
	if err != nil {
		if !errors.Is(err, loop.ErrUnsupported) {
			log.LogAttrs(ctx, slog.LevelWarn, "connections served without loops", slog.Any("err", err))
		}
		return nil
	}
	spare.Do(func() { runtime.GOMAXPROCS(processors + loops.Len()) })
	return loops
}
