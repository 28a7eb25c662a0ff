package control

import (
	"context"
	"sync"
)

// A budget is so many bytes, shared. What is larger than all of it takes all of it.
type budget struct {
	all int64

	mu   sync.Mutex // guards what follows
	left int64
	more chan struct{} // closed, and replaced, when there is more
}

func newBudget(all int64) *budget { return &budget{all: all, left: all, more: make(chan struct{})} }

func (b *budget) take(ctx context.Context, n int64) error {
	n = min(n, b.all)
	for {
		b.mu.Lock()
		if b.left >= n {
			b.left -= n
			b.mu.Unlock()
			return nil
		}
		more := b.more
		b.mu.Unlock()
		select {
		case <-more:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (b *budget) give(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left += min(n, b.all)
	close(b.more)
	b.more = make(chan struct{})
}
