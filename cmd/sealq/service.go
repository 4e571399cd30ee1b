package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealq/sealq/cmd/sealq/internal/app"
	"github.com/sealq/sealq/cmd/sealq/internal/brief"
	"github.com/sealq/sealq/cmd/sealq/internal/health"
	"github.com/sealq/sealq/metrics"
	"github.com/sealq/sealq/signing"
)

const (
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

	db    app.Database
	keys  *signing.Keys // nil: none
	pages http.Handler  // beside health and metrics; nil: none

	tally     *metrics.Tally
	ticks     *metrics.Ticks // nil: no scheduler
	sources   metrics.Sources
	agreement func() error // with the rings of other processes; nil: not compared
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
	sv := service{tally: newTally()}
	defer func() { err = errors.Join(err, sv.closeAll()) }()
	if err := s.open(ctx, p, &sv); err != nil {
		return err
	}
	listener, err := sv.listens(ctx, p.listen, "listen")
	if err != nil {
		return err
	}
	shown, err := s.metrics(&sv)
	if err != nil {
		return err
	}
	if withWorker && withScheduler {
		if err := s.openDashboard(ctx, sv.db, sv.keys, &sv, shown, nil); err != nil {
			return err
		}
		shown = nil // the pages have it, for whom they let in
	}
	app.LogRedis(s.logger)
	return s.serveUntil(ctx, &sv, listener, shown, p.shutdown)
}

// open opens what the plan names: Redis, the database, the ring, in that order. The mail server is not waited for.
func (s *session) open(ctx context.Context, p plan, sv *service) error {
	if p.keys != nil && p.keys.place.source != nil {
		// What is wrong with a ring outside of the database is told before anything is connected to.
		if _, err := p.keys.place.source.Load(ctx); err != nil {
			return inKeys(err)
		}
	}
	if w := p.worker; w != nil {
		client, err := w.redis.reach(ctx)
		if err != nil {
			return err
		}
		sv.closes(client.Close)
		w.config.Redis = client
		sv.facts = append(sv.facts, slog.String("queues", weights(w.config.Queues)))
		rights := newRedisRights(client, w.redis, slices.Sorted(maps.Keys(w.config.Queues)))
		sv.checks = append(sv.checks, health.Check{Name: "redis", Probe: rights.probe})
	}
	db, err := p.database.openMigrated(ctx)
	if err != nil {
		return err
	}
	sv.closes(db.Close)
	sv.db = db
	sv.checks = append(sv.checks, health.Check{Name: "database", Probe: func(ctx context.Context) error {
		if err := db.Ping(ctx); err != nil {
			return brief.Error(err)
		}
		return nil
	}})
	linker, err := app.NewAuditLinker(db, app.AuditLinkerConfig{Logger: s.logger})
	if err != nil {
		return err
	}
	sv.parts = append(sv.parts, part{"audit linker", linker.Run})
	var keys *signing.Keys
	if p.keys != nil {
		if keys, err = s.openRings(ctx, p, db, sv); err != nil {
			return err
		}
		sv.sources.Ring = keys
	}
	sv.keys = keys
	s.reloads(keys, sv)
	if err := s.openCarrier(p, db, keys, sv); err != nil {
		return err
	}
	if p.worker != nil {
		if err := s.openWorker(ctx, p.worker, db, keys, sv); err != nil {
			return err
		}
	}
	if p.crons != nil {
		return s.openScheduler(ctx, *p.crons, db, sv)
	}
	return nil
}

func (s *session) openWorker(ctx context.Context, p *workerPlan, db app.Database, keys *signing.Keys, sv *service) (err error) {
	sv.closes(func() error { p.mail.Close(); return nil }) //nolint:contextcheck // it bounds itself, and ctx has ended by then
	p.config.Keys, p.config.Sender, p.config.MailServer = keys, p.mail.Sender, p.mail.where
	p.config.WatchMail = true // it may be away: mails wait then, and everything else runs
	if p.config.TracerProvider, err = s.traces(ctx, sv); err != nil {
		return err
	}
	p.config.OnVerdict, p.config.OnEnd, p.config.OnFind = sv.tally.Verdict, sv.tally.Ended, sv.tally.Found
	p.config.OnMail, p.config.OnSweep = sv.tally.Mailed, sv.tally.Swept
	if s.Given("mail-templates") {
		t := p.config.Templates
		s.logger.InfoContext(ctx, "mail templates: what is not the app's own is built in", slog.Any("languages", t.Languages()), slog.Any("own", t.Own()), slog.Any("gaps", t.Gaps()))
	}
	if app, err := url.Parse(p.config.BaseURL); err == nil && onThisMachine(app.Hostname()) && !p.mail.here {
		s.logger.WarnContext(ctx, "links in mails lead to the machine of their reader: say with --base-url where the app is", slog.String("base_url", p.config.BaseURL))
	}
	worker, err := db.Worker(p.config)
	if err != nil {
		return err
	}
	sv.sources = worker.Sources()
	sv.checks = append(sv.checks, health.Check{Name: "worker", Probe: func(context.Context) error { return worker.Ready() }, Detail: worker.Detail})
	sv.parts = append(sv.parts, part{"worker", worker.Run})
	return nil
}

func (sv *service) closes(f func() error) { sv.close = append(sv.close, f) }

// listens listens until the service is closed. flag is where the address came from.
func (sv *service) listens(ctx context.Context, addr, flag string) (net.Listener, error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s (--%s): %w; stop what has the port, or choose another", addr, flag, brief.Error(err))
	}
	sv.closes(func() error { _ = listener.Close(); return nil }) // its server has closed it, mostly
	return listener, nil
}

func (sv *service) closeAll() error {
	var errs []error
	for _, f := range slices.Backward(sv.close) {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

// serveUntil serves pages, and shown at /metrics to everybody unless it is nil, and runs the parts until ctx ends, or one of them does. Then it turns unready, before anything stops,
// lets the parts finish, and stops answering last.
func (s *session) serveUntil(ctx context.Context, sv *service, listener net.Listener, shown http.Handler, shutdown time.Duration) error {
	state := health.New(health.Config{Checks: sv.checks, Now: s.now})
	server := &http.Server{
		Handler: entrance(state.Handler(), shown, sv.pages), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second,
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

// entrance leads to health and metrics by their very paths, and with everything else to pages, which know what every answer of theirs must have. A mux before
// them would answer a path such as //x itself. shown and pages may be nil.
func entrance(health, shown, pages http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reads := r.Method == http.MethodGet || r.Method == http.MethodHead
		switch path := r.URL.Path; {
		case reads && (path == "/healthz" || path == "/readyz"):
			health.ServeHTTP(w, r)
		case reads && path == "/metrics" && shown != nil:
			shown.ServeHTTP(w, r)
		case pages != nil:
			pages.ServeHTTP(w, r)
		default:
			http.NotFound(w, r)
		}
	})
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
