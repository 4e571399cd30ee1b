package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealq/sealq/cmd/sealq/internal/app"
	"github.com/sealq/sealq/cmd/sealq/internal/health"
	"github.com/sealq/sealq/signing"
)

const (
	// ringStale is the age at which a ring that its source does not confirm signs nothing any more.
	ringStale = 4 * time.Minute
	// stopSlack is added to --shutdown-timeout for what stops after the tasks: relay, scheduler, connections.
	stopSlack = 10 * time.Second
	// answerPatience is how long the last answers of the health server may take.
	answerPatience = time.Second
)

// part is something that runs until its context ends.
type part struct {
	name string
	run  func(context.Context) error
}

// service is what a long-running command has opened.
type service struct {
	parts  []part
	checks []health.Check
	facts  []slog.Attr    // for the line that says it has started
	close  []func() error // in reverse
}

// start runs a worker, a scheduler or both until ctx ends. Everything is checked before anything is written.
func (s *session) start(ctx context.Context, withWorker, withScheduler bool) (err error) {
	if err := s.log(); err != nil {
		return err
	}
	p, err := s.plan(withWorker, withScheduler)
	if err != nil {
		return err
	}
	var sv service
	defer func() { err = errors.Join(err, sv.closeAll()) }()
	if err := s.open(ctx, p, &sv); err != nil {
		return err
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", p.listen)
	if err != nil {
		return fmt.Errorf("cannot listen on %s (--listen): %w; stop what has the port, or choose another", p.listen, brief(err))
	}
	app.LogRedis(s.logger)
	return s.serveUntil(ctx, &sv, listener, p.shutdown)
}

// open opens what the plan names: the ring, Redis, the database, the mail server, in that order.
func (s *session) open(ctx context.Context, p plan, sv *service) error {
	// What is open outlives ctx: running tasks finish after it has ended.
	lasting := context.WithoutCancel(ctx)
	if w := p.worker; w != nil {
		keys, err := s.openKeys(lasting, w.source, w.audience)
		if err != nil {
			return err
		}
		sv.closes(func() error { keys.Close(); return nil })
		client, err := w.redis.reach(ctx)
		if err != nil {
			return err
		}
		sv.closes(client.Close)
		client.AddHook(calm{})
		w.config.Keys, w.config.Redis, w.config.Sender = keys, client, w.mail.Sender
		sv.checks = append(sv.checks,
			health.Check{Name: "redis", Probe: func(ctx context.Context) error { return pingRedis(ctx, client) }},
			health.Check{Name: "keys", Probe: func(context.Context) error { return s.confirmed(keys) }})
		sv.facts = append(sv.facts, slog.String("queues", weights(w.config.Queues)), slog.Uint64("ring_version", keys.Version()))
	}
	db, err := p.database.openMigrated(ctx)
	if err != nil {
		return err
	}
	sv.closes(db.Close)
	sv.checks = append(sv.checks, health.Check{Name: "database", Probe: func(ctx context.Context) error {
		if err := db.Ping(ctx); err != nil {
			return brief(err)
		}
		return nil
	}})
	if p.worker != nil {
		if err := p.worker.mail.reach(ctx); err != nil {
			return err
		}
		worker, err := db.Worker(p.worker.config)
		if err != nil {
			return err
		}
		sv.checks = append(sv.checks, health.Check{Name: "worker", Probe: func(context.Context) error { return worker.Ready() }})
		sv.parts = append(sv.parts, part{"worker", worker.Run})
	}
	if p.crons != nil {
		scheduler, err := app.NewScheduler(db, *p.crons, s.logger)
		if err != nil {
			return err
		}
		sv.parts = append(sv.parts, part{"scheduler", scheduler.Run})
	}
	return nil
}

// confirmed is the health check of the keys.
func (s *session) confirmed(keys *signing.Keys) error {
	at, err := keys.Confirmed()
	if s.now().Sub(at) <= ringStale {
		return nil
	}
	if err == nil {
		err = signing.ErrNotConfirmed
	}
	return fmt.Errorf("nothing is signed: last confirmed at %s: %w", moment(&at), err)
}

func (sv *service) closes(f func() error) { sv.close = append(sv.close, f) }

func (sv *service) closeAll() error {
	var errs []error
	for _, f := range slices.Backward(sv.close) {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

// serveUntil runs the parts until ctx ends, or one of them does. Then it turns unready, before anything stops,
// lets the parts finish, and stops answering last.
func (s *session) serveUntil(ctx context.Context, sv *service, listener net.Listener, shutdown time.Duration) error {
	state := health.New(health.Config{Checks: sv.checks, Now: s.now})
	server := &http.Server{
		Handler: state.Handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second,
		IdleTimeout: time.Minute, ErrorLog: slog.NewLogLogger(s.logger.Handler(), slog.LevelDebug),
	}
	answering := make(chan error, 1)
	go func() { answering <- server.Serve(listener) }()

	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	group, working := errgroup.WithContext(working)
	for _, p := range sv.parts {
		group.Go(func() error {
			if err := p.run(working); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			if working.Err() == nil {
				return fmt.Errorf("%s: ended by itself", p.name)
			}
			return nil
		})
	}
	b := buildOf(debug.ReadBuildInfo())
	s.logger.LogAttrs(ctx, slog.LevelInfo, "started",
		append([]slog.Attr{slog.String("version", b.Version), slog.String("listen", listener.Addr().String())}, sv.facts...)...)
	state.Open()

	var answeringErr error
	select {
	case <-ctx.Done():
		s.logger.InfoContext(ctx, "stopping", slog.Duration("at_most", shutdown))
	case <-working.Done(): // a part has failed: the others stop too
	case answeringErr = <-answering:
		answeringErr = fmt.Errorf("serve --listen: %w", answeringErr)
	}
	state.Drain()
	stop()
	err := errors.Join(answeringErr, waitFor(group, shutdown+stopSlack))
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerPatience)
	defer cancel()
	if server.Shutdown(closing) != nil {
		_ = server.Close() // whoever is still asking hangs up
	}
	if answeringErr == nil {
		if ended := <-answering; !errors.Is(ended, http.ErrServerClosed) {
			err = errors.Join(err, ended)
		}
	}
	if err == nil {
		s.logger.InfoContext(ctx, "stopped")
	}
	return err
}

// waitFor waits for the parts. One that does not stop in time is given up: the process ends under it, and what
// it held is taken up by others when its leases lapse.
func waitFor(group *errgroup.Group, patience time.Duration) error {
	done := make(chan error, 1)
	go func() { done <- group.Wait() }()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return errors.New("tasks were still running after --shutdown-timeout: they are taken up again by other workers")
	}
}

// weights writes queues as --queues takes them.
func weights(queues map[string]int) string {
	var parts []string
	for _, queue := range slices.Sorted(maps.Keys(queues)) {
		parts = append(parts, fmt.Sprintf("%s=%d", queue, queues[queue]))
	}
	return strings.Join(parts, ",")
}
