package edge

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"
)

// Run serves until ctx ends, then drains: the listeners are closed, HTTP/2 and 3
// connections are told to go away, and requests in flight have the limit Drain
// to finish. It returns nil after a drain, even one that had to break off. A
// listener that fails ends it too, with an error.
func (s *Server) Run(ctx context.Context) error {
	failed, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	over, end := context.WithCancel(context.WithoutCancel(ctx)) // no HTTP/3 connection is left
	defer end()
	if s.ownLoops {
		defer s.runLoops(context.WithoutCancel(ctx))() // behind everything that uses them
	}
	var accepting, serving sync.WaitGroup
	for _, ln := range s.listeners.Plain {
		accepting.Go(func() { fail(s.accept(failed, ln, s.admitPlain)) })
	}
	config := tlsConfig(s.certificates.Load, s.tickets)
	for _, ln := range s.listeners.TLS {
		accepting.Go(func() { fail(s.accept(failed, ln, s.admitTLS(config))) })
	}
	serving.Go(func() { fail(s.plain.Serve(s.accepted)) })
	serving.Go(func() {
		if err := s.tickets.keepRotating(failed); err != nil {
			fail(err)
		}
	})
	for _, pc := range s.listeners.QUIC {
		serving.Go(func() { fail(s.serveQUIC(failed, over, pc)) })
	}
	<-failed.Done()
	err := s.drain(context.WithoutCancel(ctx), &accepting, end, &serving)
	if ctx.Err() == nil {
		return errors.Join(context.Cause(failed), err)
	}
	return err
}

// runLoops runs the server's own loops until the function that it returns is
// called.
func (s *Server) runLoops(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { s.loops.Run(ctx) })
	return func() {
		cancel()
		running.Wait()
	}
}

// drain stops in order: accepting, serving, sockets.
func (s *Server) drain(ctx context.Context, accepting *sync.WaitGroup, end func(), serving *sync.WaitGroup) error {
	ctx, cancel := context.WithTimeout(ctx, s.limits.Drain)
	defer cancel()
	var errs []error
	for _, ln := range slices.Concat(s.listeners.Plain, s.listeners.TLS) {
		errs = append(errs, unlessClosed(ln.Close()))
	}
	accepting.Wait() // handshakes in flight were broken off by their context
	var engines sync.WaitGroup
	engines.Go(func() {
		s.fast.finish(ctx) // it hands over to the plain one
		s.finishPlain(ctx)
	})
	if s.h3 != nil {
		engines.Go(func() { s.finishH3(ctx) })
	}
	engines.Wait()
	end()
	serving.Wait()
	for _, pc := range s.listeners.QUIC {
		errs = append(errs, unlessClosed(pc.Close()))
	}
	return errors.Join(errs...)
}

// unlessClosed drops the error of closing what has been closed: a listener that
// failed.
func unlessClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// brokenOffTime is how long handlers have to notice that their connections were
// closed under them.
const brokenOffTime = 5 * time.Second

// finishPlain waits for HTTP/1.1 and 2 and then breaks off what is left.
func (s *Server) finishPlain(ctx context.Context) {
	if err := s.plain.Shutdown(ctx); err != nil {
		s.options.Log.LogAttrs(ctx, slog.LevelWarn, "requests broken off", slog.String("pop", s.options.Name), slog.Any("err", err))
		_ = s.plain.Close()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), brokenOffTime)
	defer cancel()
	s.awaitQuiet(ctx, 0, overHTTP10, overHTTP11, overHTTP2)
}

// quietCheck is how often a drain looks for requests in flight: counting them is
// on every request's path, telling a drain of them need not be.
const quietCheck = 10 * time.Millisecond

// awaitQuiet waits until no request over these protocols has been in flight for
// some time, or ctx ends.
func (s *Server) awaitQuiet(ctx context.Context, quiet time.Duration, over ...protocol) {
	busy := func() bool {
		return slices.ContainsFunc(over, func(p protocol) bool { return s.inFlight[p].Load() > 0 })
	}
	ticker := time.NewTicker(quietCheck)
	defer ticker.Stop()
	for since := time.Now(); ; {
		if busy() {
			since = time.Now()
		} else if time.Since(since) >= quiet {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}
