package up

import (
	"context"
	"log/slog"
	"runtime"
	"sync"

	"pennyfarthing/internal/loop"
)

// processors is how many the process had (GOMAXPROCS) before its loops were given
// theirs.
var processors = sync.OnceValue(func() int {
	n := runtime.GOMAXPROCS(0)
	runtime.GOMAXPROCS(2 * n)
	return n
})

// newLoops returns a loop for each processor, or nil where there are none. Each
// gets a processor, which is Go's permission to run a thread at a time: a loop that
// waits in the kernel keeps it, and everything else would wait for that.
func newLoops(ctx context.Context, log *slog.Logger) *loop.Group {
	if !loop.Supported {
		return nil
	}
	loops, err := loop.NewGroup(processors(), true)
	if err != nil {
		log.LogAttrs(ctx, slog.LevelWarn, "connections served without loops", slog.Any("err", err))
		return nil
	}
	return loops
}
