package up

import (
	"context"
	"log/slog"
	"runtime"

	"pennyfarthing/internal/loop"
)

// newLoops returns a loop for each processor, or nil where there are none.
func newLoops(ctx context.Context, log *slog.Logger) *loop.Group {
	if !loop.Supported {
		return nil
	}
	loops, err := loop.NewGroup(runtime.GOMAXPROCS(0), true)
	if err != nil {
		log.LogAttrs(ctx, slog.LevelWarn, "connections served without loops", slog.Any("err", err))
		return nil
	}
	return loops
}

// runLoops runs loops until ctx ends. So long the process has as many more
// processors (GOMAXPROCS): a loop that waits in the kernel keeps its own for a
// while, and everything else would wait for that. A processor is Go's permission to
// run a thread at a time; those that nobody needs cost nothing. Whoever divides
// work by the number of processors has asked for it by then: the machine has no
// more of them.
func runLoops(ctx context.Context, loops *loop.Group) error {
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + loops.Len())
	defer func() { runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) - loops.Len()) }()
	loops.Run(ctx)
	return nil
}
