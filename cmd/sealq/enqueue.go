package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"github.com/sealq/sealq/cmd/sealq/internal/doctor"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
)

// enqueueFlags are what `sealq enqueue` takes beside its options.
type enqueueFlags struct {
	args, id, queue string
	in              time.Duration
	maxRetry        int // below zero: the kind's own
	outbox          bool
}

// receipt is what was enqueued. A job in the outbox is signed later: its kid is not known yet.
type receipt struct {
	ID        string    `json:"id"`
	Queue     string    `json:"queue"`
	Kind      jobs.Kind `json:"kind"`
	KID       *string   `json:"kid"`
	ExpiresAt time.Time `json:"expires_at"`
}

func (p *program) enqueue() *cobra.Command {
	var f enqueueFlags
	c := uses(&cobra.Command{
		Use: "enqueue KIND", Short: "Enqueue one job", Args: exactly("KIND"),
		Long: "Enqueue one job: sign it and put it into Redis, or, with --outbox, record it in the database, where a relay finds\n" +
			"it. What Redis loses is lost unless it came from the outbox. The answer is JSON in any case.",
		Example: "  sealq enqueue lockouts:reset --audience prod-eu\n" +
			"  sealq enqueue users:expire_pending --args '{\"limit\": 1000}' --in 10m --outbox",
		RunE: p.action(func(ctx context.Context, s *session, args []string) error {
			job, err := f.job(args[0])
			if err != nil {
				return err
			}
			if f.outbox {
				return s.enqueueOutbox(ctx, job)
			}
			return p.enqueueDirect(ctx, s, job)
		}),
	}, ringOptions("redis-url", "audience")...)
	c.Flags().StringVar(&f.args, "args", "{}", "the job's arguments in `JSON`")
	c.Flags().StringVar(&f.id, "id", "", "name the task, and so its effect (default: a new one)")
	c.Flags().StringVar(&f.queue, "queue", "", "another queue than the kind's")
	c.Flags().DurationVar(&f.in, "in", 0, "run it after that time (default: at once)")
	c.Flags().IntVar(&f.maxRetry, "max-retry", -1, "tries after the first failed one, 0 for none (default: the kind's)")
	c.Flags().BoolVar(&f.outbox, "outbox", false, "record it in the database's outbox instead")
	return c
}

// job makes the job, or says what is wrong with kind, arguments and flags.
func (f enqueueFlags) job(kind string) (jobs.Job, error) {
	catalog, err := jobs.NewCatalog(authjobs.Definitions()...)
	if err != nil {
		return jobs.Job{}, err
	}
	d, err := catalog.Lookup(jobs.Kind(kind))
	if err != nil {
		return jobs.Job{}, wrongly("KIND: %w", err)
	}
	var opts []jobs.Option
	if f.id != "" {
		opts = append(opts, jobs.ID(f.id))
	}
	if f.queue != "" {
		opts = append(opts, jobs.Queue(f.queue))
	}
	if f.in != 0 {
		opts = append(opts, jobs.In(f.in))
	}
	if f.maxRetry >= 0 {
		opts = append(opts, jobs.MaxRetry(f.maxRetry))
	}
	if f.maxRetry < -1 {
		return jobs.Job{}, wrongly("--max-retry must be 0 or more")
	}
	if f.outbox && f.id != "" {
		return jobs.Job{}, wrongly("--id cannot be given with --outbox, which chooses the ID")
	}
	job, err := d.Parse([]byte(f.args), opts...)
	if errors.Is(err, jobs.ErrInvalidArgs) {
		return jobs.Job{}, wrongly("--args is not what %s takes: %s", kind, argsProblem(err))
	}
	if err != nil {
		return jobs.Job{}, wrongly("%w", err)
	}
	return job, nil
}

// argsProblem leaves the names of Go types out of the decoder's words.
func argsProblem(err error) string {
	if wrong, ok := errors.AsType[*json.SemanticError](err); ok {
		if wrong.Err != nil {
			return fmt.Sprintf("%v at %q", wrong.Err, wrong.JSONPointer)
		}
		return fmt.Sprintf("no JSON %s belongs at %q", wrong.JSONKind, wrong.JSONPointer)
	}
	if wrong, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return fmt.Sprintf("%v after byte %d", wrong.Err, wrong.ByteOffset)
	}
	return err.Error()
}

func (p *program) enqueueDirect(ctx context.Context, s *session, job jobs.Job) error {
	server, err := s.redis()
	if err != nil {
		return err
	}
	return p.withRing(func(ctx context.Context, r *keyRing, _ []string) (err error) {
		audience, err := s.audience()
		if err != nil {
			return err
		}
		keys, err := s.openKeys(ctx, r, audience, 0)
		if err != nil {
			return err
		}
		defer keys.Close()
		client, err := server.reach(ctx)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, client.Close()) }()
		enqueuer, err := jobs.NewEnqueuer(asynq.NewClientFromRedisClient(client), keys, jobs.Config{})
		if err != nil {
			return err
		}
		receipt, err := enqueuer.Enqueue(ctx, job)
		if err != nil {
			return err
		}
		if server.User == "" {
			s.warnUnserved(ctx, client, receipt.Queue)
		}
		return s.printReceipt(receipt)
	})(ctx, s, nil)
}

// warnUnserved warns of a task that nobody will fetch. It is for the default user: one of redis-acl's that may only enqueue may not
// know, and to ask would stand in Redis's list of what was refused.
func (s *session) warnUnserved(ctx context.Context, client redis.UniversalClient, queue string) {
	ctx, cancel := context.WithTimeout(ctx, reachPatience)
	defer cancel()
	served, _, err := doctor.Served(ctx, client, s.now().Unix())
	if err == nil && !served[queue] {
		fmt.Fprintf(s.stderr, "sealq: warning: no worker serves the queue %s now: the task waits until one does, or it expires\n", shownName(queue))
	}
}

func (s *session) printReceipt(r jobs.Receipt) error {
	return s.printJSON(receipt{ID: r.ID, Queue: r.Queue, Kind: r.Kind, KID: &r.KID, ExpiresAt: r.ExpiresAt.UTC()})
}

// enqueueOutbox records the job. Its ID is the row's: a task has it with the number of the attempt.
func (s *session) enqueueOutbox(ctx context.Context, job jobs.Job) (err error) {
	d, err := s.database()
	if err != nil {
		return err
	}
	db, err := d.openMigrated(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	id, err := db.Enqueue(ctx, job)
	if err != nil {
		return err
	}
	row, err := db.RowInfo(ctx, id) // its end goes by the database's clock
	if err != nil {
		return err
	}
	return s.printJSON(receipt{ID: row.ID, Queue: row.Queue, Kind: row.Kind, ExpiresAt: row.ExpiresAt})
}
