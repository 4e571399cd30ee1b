package main

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/hibiken/asynq"
	"github.com/spf13/cobra"

	"github.com/sealq/sealq/cmd/sealq/internal/app"
	"github.com/sealq/sealq/cmd/sealq/internal/doctor"
	"github.com/sealq/sealq/cmd/sealq/internal/health"
	"github.com/sealq/sealq/dashboard"
	"github.com/sealq/sealq/docs/runbooks"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/jobs/judge"
	"github.com/sealq/sealq/operators"
	"github.com/sealq/sealq/signing"
)

func dashboardOptions() []string {
	return ringOptions("redis-url", "audience", "queues", "smtp-url", "mail-from", "rotate-every", "quarantine-budget", "quarantine-reserve", "listen",
		"read-only", "session-idle", "session-life", "trusted-proxies", "shutdown-timeout", "log-level", "log-format")
}

func (p *program) dashboard() *cobra.Command {
	return uses(&cobra.Command{
		Use: "dashboard", Short: "Show operators what is wrong now, and let them do something about it", Args: exactly(),
		Long: "Serve the operators' pages on --listen: what needs somebody, with whom it hits, what to do and the runbook; queues and tasks, with\n" +
			"what a worker would say of each. Without --keys it says so, and judges no signature. /healthz and /readyz are for everybody, all\n" +
			"else, /metrics too, for those whom `sealq operators add` let in, or their keys for scripts. Browsers keep the session only over\n" +
			"https, by a proxy in front, or by the name localhost. Any number may run side by side.",
		Example: "  sealq operators add ann --role admin < password.txt\n  sealq dashboard --config sealq.yaml --read-only yes",
		RunE:    p.action(p.startDashboard),
	}, dashboardOptions()...)
}

// startDashboard runs the pages alone until ctx ends.
func (p *program) startDashboard(ctx context.Context, s *session, _ []string) (err error) {
	if err := s.log(); err != nil {
		return err
	}
	without, err := s.withoutKeys(ctx)
	if err != nil {
		return err
	}
	if without != "" {
		s.logger.WarnContext(ctx, "signatures are not judged here", slog.String("because", without))
		return s.serveDashboard(ctx, nil, nil)
	}
	return p.withRing(func(ctx context.Context, r *keyRing, _ []string) error {
		audience, err := s.audience()
		if err != nil {
			return err
		}
		keys, err := s.openKeys(ctx, r, audience, 0)
		if err != nil {
			return err
		}
		defer keys.Close()
		return s.serveDashboard(ctx, keys, r.db)
	})(ctx, s, nil)
}

// serveDashboard serves the pages. db is the database where it is open already, else nil.
func (s *session) serveDashboard(ctx context.Context, keys *signing.Keys, db app.Database) (err error) {
	p := plan{}
	into(&p.database, &err)(s.database())
	into(&p.listen, &err)(s.Address("listen"))
	into(&p.shutdown, &err)(s.Duration("shutdown-timeout"))
	if err != nil {
		return err
	}
	sv := service{tally: newTally()}
	defer func() { err = errors.Join(err, sv.closeAll()) }()
	if db == nil {
		if db, err = p.database.openMigrated(ctx); err != nil {
			return err
		}
		sv.closes(db.Close)
	}
	sv.checks = append(sv.checks, health.Check{Name: "database", Probe: db.Ping})
	linker, err := app.NewAuditLinker(db, app.AuditLinkerConfig{Logger: s.logger})
	if err != nil {
		return err
	}
	sv.parts = append(sv.parts, part{"audit linker", linker.Run})
	listener, err := sv.listens(ctx, p.listen, "listen")
	if err != nil {
		return err
	}
	shown, err := s.metrics(&sv)
	if err != nil {
		return err
	}
	if err := s.openDashboard(ctx, db, keys, &sv, shown, nil); err != nil {
		return err
	}
	app.LogRedis(s.logger)
	return s.serveUntil(ctx, &sv, listener, nil, p.shutdown)
}

// openDashboard makes the pages of a service, with the metrics among them, on a connection of their own: a worker's has hooks that are not for
// people. change, unless nil, has the last word on how they are made.
func (s *session) openDashboard(ctx context.Context, db app.Database, keys *signing.Keys, sv *service, shown http.Handler, change func(*dashboard.Config)) error {
	server, err := s.redis()
	if err != nil {
		return err
	}
	client, err := server.reach(ctx)
	if err != nil {
		return err
	}
	sv.closes(client.Close)
	queues, err := s.Weights("queues")
	if err != nil {
		return err
	}
	c := dashboard.Config{
		Redis: client, Inspector: asynq.NewInspectorFromRedisClient(client), Records: db, Queues: slices.Sorted(maps.Keys(queues)),
		PlainKind: ofOurs(), Releases: ofOurs(), Runbooks: runbooks.Files, Metrics: shown, Now: s.now, Logger: s.logger,
	}
	if c.Deployment, err = s.Text("audience"); err != nil {
		return err
	}
	if c.ReadOnly, err = s.Yes("read-only"); err != nil {
		return err
	}
	if c.TrustedProxies, err = s.Networks("trusted-proxies"); err != nil {
		return err
	}
	o := operators.Config{Issuer: issuer(c.Deployment), Now: s.now, Logger: s.logger}
	if o.Idle, o.Life, err = s.sessionLimits(); err != nil {
		return err
	}
	if c.Operators, err = operators.New(db, o); err != nil {
		return err
	}
	if keys != nil {
		if c.Judge, err = s.newJudge(judge.Config{Keys: keys, Effects: db}); err != nil {
			return err
		}
	}
	if c.Ring, err = s.ringShown(db, keys); err != nil {
		return err
	}
	if err := s.openOffice(&c, db, client); err != nil {
		return err
	}
	checks, err := s.doctorConfig()
	if err != nil {
		return err
	}
	c.Examine = func(ctx context.Context) []dashboard.Finding { return findings(doctor.Run(ctx, checks)) }
	if change != nil {
		change(&c)
	}
	pages, err := dashboard.New(c)
	if err != nil {
		return err
	}
	s.tellNoOperators(ctx, db)
	sv.pages = pages
	sv.parts = append(sv.parts, part{"dashboard", pages.Run})
	return nil
}

// The longest that an operator's session may be idle, and last.
const mostIdle, mostLife = 24 * time.Hour, 7 * 24 * time.Hour

// sessionLimits are how long an operator's session may be idle, and how long it lasts at most.
func (s *session) sessionLimits() (idle, life time.Duration, err error) {
	into(&idle, &err)(s.Duration("session-idle"))
	into(&life, &err)(s.Duration("session-life"))
	switch {
	case err != nil:
		return 0, 0, err
	case idle < time.Minute || idle > mostIdle:
		return 0, 0, wrongly("--session-idle %s is not from 1m to 24h", idle)
	case life < idle || life > mostLife:
		return 0, 0, wrongly("--session-life %s is not from --session-idle, %s, to 168h", life, idle)
	}
	return idle, life, nil
}

// issuer is what authenticator apps call a deployment.
func issuer(audience string) string {
	if audience == "" {
		return "sealq"
	}
	return "sealq " + audience
}

// ofOurs knows the auth kinds. Their arguments are for everybody who may look, as they hold neither addresses nor tokens, and sealq's own
// workers release them.
func ofOurs() func(kind string) bool {
	ours := make(map[jobs.Kind]bool)
	for _, d := range authjobs.Definitions() {
		ours[d.Kind()] = true
	}
	return func(kind string) bool { return ours[jobs.Kind(kind)] }
}

// findings are what the doctor found, for the pages.
func findings(r doctor.Report) []dashboard.Finding {
	statuses := map[doctor.Status]dashboard.Status{
		doctor.OK: dashboard.Fine, doctor.Warning: dashboard.Warning, doctor.Problem: dashboard.Problem, doctor.Skipped: dashboard.NotLooked,
	}
	all := make([]dashboard.Finding, 0, len(r.Checks))
	for _, f := range r.Checks {
		all = append(all, dashboard.Finding{Group: f.Group, Check: f.Check, Subject: f.Subject, Trouble: f.Trouble, Status: statuses[f.Status], Message: f.Message, Advice: f.Advice})
	}
	return all
}

// tellNoOperators says so, once.
func (s *session) tellNoOperators(ctx context.Context, db app.Database) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if list, err := db.Operators(ctx); err == nil && len(list) == 0 {
		s.logger.InfoContext(ctx, "nobody may come to the dashboard yet: sealq operators add NAME --role admin lets somebody in")
	}
}
