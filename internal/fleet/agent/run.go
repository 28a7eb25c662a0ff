package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"pennyfarthing/internal/fleet/keys"
)

const (
	headTime     = 10 * time.Second // until a request's head is there, handshake included
	idleTime     = 2 * time.Minute  // between two requests of a connection
	headBytes    = 64 << 10         // of a request's head; a statement stands in one
	stopTime     = 10 * time.Second // that calls of the API have to end when the agent stops
	tendEvery    = time.Minute
	collectEvery = time.Hour
)

// Run serves visitors and answers the API until ctx ends, and then stops in order:
// no new calls, what is on its way ends, the edge drains, sites are closed, and
// the state directory is given back. A listener that fails ends it too.
func (a *Agent) Run(ctx context.Context) error {
	failed, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	behind, stopBehind := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBehind()
	var serving, sites, tending sync.WaitGroup
	for _, s := range a.allSites() {
		sites.Go(func() { a.runSite(behind, s, fail) })
	}
	accepting, stopAccepting := context.WithCancel(failed)
	defer stopAccepting()
	tending.Go(func() { a.tend(accepting, behind, &sites, fail) })
	server := a.apiServer()
	serving.Go(func() {
		err := server.ServeTLS(newCrowdListener(a.o.API, apiConnections, apiConnectionsOfOne), "", "") // TLSConfig has the certificate
		if !errors.Is(err, http.ErrServerClosed) {
			fail(fmt.Errorf("serve the API of the POP %s: %w", a.enrolment.POP, err))
		}
	})
	edging, stopEdge := context.WithCancel(context.WithoutCancel(ctx))
	defer stopEdge()
	serving.Go(func() {
		if err := a.server.Run(edging); err != nil {
			fail(err)
		}
	})
	<-failed.Done()
	a.shutDown(context.WithoutCancel(ctx), server)
	stopEdge()
	serving.Wait()
	stopAccepting()
	tending.Wait()
	stopBehind()
	sites.Wait()
	err := errors.Join(a.seen.save(true), a.close())
	if ctx.Err() == nil {
		return errors.Join(context.Cause(failed), err)
	}
	return err
}

// shutDown ends the API: calls have some time, and followers of logs none.
func (a *Agent) shutDown(ctx context.Context, server *http.Server) {
	close(a.stopping)
	ctx, cancel := context.WithTimeout(ctx, stopTime)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		a.log.LogAttrs(ctx, slog.LevelWarn, "calls broken off", slog.Any("err", err))
		_ = server.Close() // what it would tell has been told
	}
}

// apiServer returns the server of the API. Every Ed25519 key may connect, because a
// roster may come from anybody; what a key may do is asked at every call.
func (a *Agent) apiServer() *http.Server {
	config := keys.ServerTLS(a.shownLeaf, func() *keys.Roster { return a.roster.Load().Roster })
	config.VerifyConnection = func(cs tls.ConnectionState) error {
		if _, ok := keys.PeerKey(&cs); !ok {
			return fmt.Errorf("refuse a client: %w", keys.ErrNotEd25519)
		}
		return nil
	}
	return &http.Server{
		Handler: a, TLSConfig: config, ReadHeaderTimeout: headTime, IdleTimeout: idleTime, MaxHeaderBytes: headBytes,
		HTTP2:    &http.HTTP2Config{MaxConcurrentStreams: apiStreams},
		ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelDebug), // the internet knocks at every port
	}
}

// runSite keeps a site improving.
func (a *Agent) runSite(ctx context.Context, s *hostedSite, fail func(error)) {
	if err := s.live.Run(ctx); err != nil {
		fail(fmt.Errorf("site %s: %w", s.name, err))
	}
}

// tend starts the goroutines of new sites, and does what is due now and then,
// until ctx ends. Sites run until behind ends.
func (a *Agent) tend(ctx, behind context.Context, sites *sync.WaitGroup, fail func(error)) {
	minute := time.NewTicker(tendEvery)
	defer minute.Stop()
	hour := time.NewTicker(collectEvery)
	defer hour.Stop()
	for {
		select {
		case s := <-a.started:
			sites.Go(func() { a.runSite(behind, s, fail) })
		case <-minute.C:
			a.forgetCompiled()
			if err := a.endPreviews(ctx); err != nil {
				a.log.LogAttrs(ctx, slog.LevelWarn, "previews not ended", slog.Any("err", err))
			}
			if err := a.seen.save(false); err != nil {
				a.log.LogAttrs(ctx, slog.LevelWarn, "not remembered who was heard", slog.Any("err", err))
			}
		case <-hour.C:
			a.collectNow(ctx)
		case <-a.wake:
			if a.collectable() {
				a.collectNow(ctx)
			}
		case <-ctx.Done():
			return
		}
	}
}

// collectNow collects, and tells only what went wrong.
func (a *Agent) collectNow(ctx context.Context) {
	result, err := a.collect(ctx)
	a.postponed.Store(result.Skipped != "")
	if err != nil {
		a.log.LogAttrs(ctx, slog.LevelWarn, "garbage not collected", slog.Any("err", err))
	}
}

// forgetCompiled gives up compiled releases that nobody has activated for long.
func (a *Agent) forgetCompiled() {
	for _, s := range a.allSites() {
		if !s.changing.TryLock() {
			continue // somebody is about to use it
		}
		if s.compiled != nil && a.o.Now().Sub(s.compiled.at) > compiledTime {
			s.compiled = nil
		}
		s.changing.Unlock()
	}
}
