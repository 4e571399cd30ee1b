package main

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealq/sealq/cmd/sealq/internal/app"
	"github.com/sealq/sealq/jobs/sweep"
	"github.com/sealq/sealq/signing"
)

func workerOptions() []string {
	return []string{
		"redis-url", "database-url", "keys", "kek-file", "audience", "smtp-url", "mail-from", "mail-dkim-domain", "mail-dkim-selector", "mail-dkim-key",
		"mail-rate-per-domain", "mail-hourly-cap", "mail-daily-cap", "base-url", "confirm-path", "reset-path", "email-path", "reset-ttl", "lockout-notice",
		"retain-done", "retain-quarantine", "retain-audit",
		"product", "mail-templates", "mail-lang", "queues", "concurrency", "fetchers",
		"overdue", "quarantine-budget", "quarantine-reserve", "listen", "shutdown-timeout", "log-level", "log-format",
	}
}

func schedulerOptions() []string {
	return []string{
		"database-url", "keys", "kek-file", "audience", "rotate-every", "publish-ahead", "expire-pending-cron", "reset-lockouts-cron", "purge-cron", "listen",
		"shutdown-timeout", "log-level", "log-format",
	}
}

func (p *program) serve() *cobra.Command {
	return uses(&cobra.Command{
		Use: "serve", Short: "Run worker, scheduler and dashboard in one process", Args: exactly(),
		Long: "Run worker, relay, scheduler and the operators' dashboard in one process, on --listen, with /healthz, /readyz and /metrics. Any\n" +
			"number may run side by side. SIGINT or SIGTERM ends it in order, a second one at once; SIGHUP reads the key ring again.",
		Example: "  sealq serve --database-url sqlite:sealq.db --audience dev --smtp-url 'smtp://127.0.0.1:1025?tls=none' \\\n    --mail-from no-reply@example.com",
		RunE:    p.action(func(ctx context.Context, s *session, _ []string) error { return s.start(ctx, true, true) }),
	}, slices.Compact(slices.Sorted(slices.Values(slices.Concat(workerOptions(), schedulerOptions(), []string{"read-only", "session-idle", "session-life", "trusted-proxies"}))))...)
}

func (p *program) worker() *cobra.Command {
	return uses(&cobra.Command{
		Use: "worker", Short: "Verify and run tasks, and relay the outbox into Redis", Args: exactly(),
		Long:    "Verify and run tasks, and relay the outbox into Redis, with /healthz, /readyz and /metrics on --listen. SIGHUP reads\nthe key ring again.",
		Example: "  sealq worker --config sealq.yaml --queues critical=6,mail=3",
		RunE:    p.action(func(ctx context.Context, s *session, _ []string) error { return s.start(ctx, true, false) }),
	}, workerOptions()...)
}

func (p *program) scheduler() *cobra.Command {
	return uses(&cobra.Command{
		Use: "scheduler", Short: "Turn due times into jobs", Args: exactly(),
		Long:    "Turn the due times of schedules into jobs in the database's outbox, with /healthz, /readyz and /metrics on --listen.\nIt needs no Redis. With --keys database, and only then, it reads the key ring and rotates its keys by --rotate-every. Several\nnever double a due time.",
		Example: "  sealq scheduler --config sealq.yaml",
		RunE:    p.action(func(ctx context.Context, s *session, _ []string) error { return s.start(ctx, false, true) }),
	}, schedulerOptions()...)
}

// plan is what a long-running command needs, read and checked, with nothing opened yet.
type plan struct {
	database database
	listen   string
	shutdown time.Duration
	keys     *keysPlan               // nil: none, for a scheduler that rotates nothing
	worker   *workerPlan             // nil: none
	crons    *app.Crons              // nil: no scheduler
	rotation *signing.RotationPolicy // nil: keys are rotated by hand
}

type keysPlan struct {
	place    ringPlace
	audience string
}

type workerPlan struct {
	redis  redisServer
	mail   mailServer
	config app.WorkerConfig
}

func (s *session) plan(withWorker, withScheduler bool) (p plan, err error) {
	if p.database, err = s.database(); err != nil {
		return p, err
	}
	if p.listen, err = s.Address("listen"); err != nil {
		return p, err
	}
	if p.shutdown, err = s.Duration("shutdown-timeout"); err != nil {
		return p, err
	}
	if withWorker {
		if p.worker, err = s.workerPlan(p.shutdown); err != nil {
			return p, err
		}
	}
	keys, err := s.Text("keys")
	if err != nil {
		return p, err
	}
	rotates := withScheduler && keys == "database"
	if withWorker || rotates {
		if p.keys, err = s.keysPlan(); err != nil {
			return p, err
		}
	}
	if rotates {
		if p.rotation, err = s.rotation(); err != nil {
			return p, err
		}
	}
	if withScheduler {
		p.crons = &app.Crons{}
		if p.crons.ExpirePending, err = s.Cron("expire-pending-cron"); err != nil {
			return p, err
		}
		if p.crons.ResetLockouts, err = s.Cron("reset-lockouts-cron"); err != nil {
			return p, err
		}
		p.crons.Purge, err = s.Cron("purge-cron")
	}
	return p, err
}

func (s *session) keysPlan() (p *keysPlan, err error) {
	p = &keysPlan{}
	if p.place, err = s.ringPlace(); err != nil {
		return nil, err
	}
	p.audience, err = s.audience()
	return p, err
}

// rotation reads --rotate-every and --publish-ahead. A key that is published for less than hosts may take to read it would be
// refused where it is not known yet.
func (s *session) rotation() (*signing.RotationPolicy, error) {
	every, err := s.Duration("rotate-every")
	if err != nil {
		return nil, err
	}
	ahead, err := s.Duration("publish-ahead")
	if err != nil {
		return nil, err
	}
	if ahead < signing.DefaultPropagationGrace || ahead >= every {
		return nil, wrongly("--publish-ahead must be from %s up to less than --rotate-every, which is %s", signing.DefaultPropagationGrace, every)
	}
	return &signing.RotationPolicy{Every: every, Ahead: ahead}, nil
}

// mostMails is the largest cap: more than that nobody counts one by one.
const mostMails = 100_000_000

// into takes a setting's value, and its error if it is the first.
func into[T any](value *T, first *error) func(T, error) {
	return func(v T, err error) {
		*value = v
		if *first == nil {
			*first = err
		}
	}
}

func intoBoth[A, B any](one *A, other *B, first *error) func(A, B, error) {
	return func(a A, b B, err error) {
		*one = a
		into(other, first)(b, err)
	}
}

// retention reads how long what has ended is kept.
func (s *session) retention() (r sweep.Retention, err error) {
	into(&r.Done, &err)(s.Duration("retain-done"))
	into(&r.Quarantine, &err)(s.Duration("retain-quarantine"))
	into(&r.Audit, &err)(s.DurationOrNone("retain-audit"))
	if err != nil {
		return r, err
	}
	for _, one := range []struct {
		flag string
		sweep.Retention
	}{
		{"--retain-done", sweep.Retention{Done: r.Done}}, {"--retain-quarantine", sweep.Retention{Quarantine: r.Quarantine}}, {"--retain-audit", sweep.Retention{Audit: r.Audit}},
	} {
		if err := one.Check(); err != nil {
			return r, wrongly("%s: %w", one.flag, err)
		}
	}
	return r, nil
}

func (s *session) workerPlan(shutdown time.Duration) (*workerPlan, error) {
	p := &workerPlan{config: app.WorkerConfig{Shutdown: shutdown, Logger: s.logger}}
	c := &p.config
	budgets, limits := &c.Budgets, &c.MailLimits
	var err error // the first: one at a time, one sentence
	into(&p.redis, &err)(s.redis())
	into(&p.mail, &err)(s.mailServer())
	into(&c.BaseURL, &err)(s.Page("base-url"))
	into(&c.Product, &err)(s.Text("product"))
	into(&c.Queues, &err)(s.Weights("queues"))
	into(&c.Concurrency, &err)(s.Count("concurrency", 10_000))
	into(&c.Relay.Overdue, &err)(s.Duration("overdue"))
	intoBoth(&budgets.Unverified.Bytes, &budgets.Unverified.Entries, &err)(s.Budget("quarantine-budget"))
	intoBoth(&budgets.Authentic.Bytes, &budgets.Authentic.Entries, &err)(s.Budget("quarantine-reserve"))
	into(&c.Fetchers, &err)(s.Count("fetchers", 64))
	into(&c.ConfirmPath, &err)(s.Path("confirm-path"))
	into(&c.ResetPath, &err)(s.Path("reset-path"))
	into(&c.EmailPath, &err)(s.Path("email-path"))
	into(&c.Accounts.ResetTTL, &err)(s.Duration("reset-ttl"))
	into(&c.Accounts.LockoutNotice, &err)(s.Yes("lockout-notice"))
	into(&c.Templates, &err)(s.mailTemplates())
	intoBoth(&limits.PerDomain.N, &limits.PerDomain.Per, &err)(s.Rate("mail-rate-per-domain"))
	into(&limits.Hourly, &err)(s.CountOrNone("mail-hourly-cap", mostMails))
	into(&limits.Daily, &err)(s.CountOrNone("mail-daily-cap", mostMails))
	into(&c.Retention, &err)(s.retention())
	if err != nil {
		return nil, err
	}
	return p, nil
}
