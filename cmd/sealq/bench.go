package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/sealq/sealq/cmd/sealq/internal/loadtest"
	"github.com/sealq/sealq/cmd/sealq/internal/redisacl"
)

func (p *program) bench() *cobra.Command {
	var c loadtest.Config
	cmd := uses(&cobra.Command{
		Use: "bench", Short: "Measure how many signed jobs a second this Redis and this database take", Args: exactly(),
		Long: "Measure how many signed jobs a second this Redis takes, and how soon an idle worker picks one up: enqueue --jobs, work them\n" +
			"off with handlers that do nothing, then follow single ones. With --database-url a tenth of them also goes through that\n" +
			"database: recorded in an outbox, relayed, and entered into a ledger.\n\n" +
			"THIS IS LOAD on both servers, as much as they take, and slows down whoever else uses them. All jobs wait in Redis at\n" +
			"once: some --jobs × (--payload + 1,000) bytes. It needs no key: its queue sealq-bench-…, its key ring and its schema (or\n" +
			"folder, beside an SQLite file) are its own, and are removed at the end, after an error or Ctrl-C, too.",
		Example: "  sealq bench\n" +
			"  sealq bench --jobs 1000 --config sealq.yaml        # first, in production\n" +
			"  sealq bench --jobs 200000 --concurrency 64 --redis-url rediss://… --database-url postgres://…",
		RunE: p.action(func(ctx context.Context, s *session, _ []string) error { return s.bench(ctx, c) }),
	}, "redis-url", "database-url")
	cmd.Flags().IntVar(&c.Jobs, "jobs", 20_000, fmt.Sprintf("how many, at most %d", loadtest.MaxJobs))
	cmd.Flags().IntVar(&c.Concurrency, "concurrency", 16, fmt.Sprintf("goroutines that enqueue, and jobs that run at once, at most %d", loadtest.MaxConcurrency))
	cmd.Flags().IntVar(&c.Payload, "payload", 256,
		fmt.Sprintf("`bytes` of a job's arguments, %d to %d", loadtest.MinPayload, loadtest.MaxPayload))
	return cmd
}

func (s *session) bench(ctx context.Context, c loadtest.Config) (err error) {
	if err := c.Check(); err != nil {
		return wrongly("%w", err)
	}
	server, err := s.redis()
	if err != nil {
		return err
	}
	where, err := s.benchDatabase(ctx, &c)
	if err != nil {
		return err
	}
	client, err := server.reach(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	c.Queue, c.Now = loadtest.NewQueue(), s.now
	rights := newRedisRights(client, server, []string{c.Queue})
	rights.needs, rights.advice = redisacl.BenchNeeds, "docs/bench.md has a Redis user for it"
	if err := rights.probe(ctx); err != nil {
		return fmt.Errorf("cannot measure Redis at %s (--redis-url): %w", server.Where, err)
	}
	fmt.Fprintf(s.stderr, "bench: puts %s of %d bytes into the queue %s of Redis at %s, and removes it at the end\n",
		plural(c.Jobs, "job"), c.Payload, c.Queue, server.Where)
	if where != "" {
		fmt.Fprintf(s.stderr, "bench: records and commits in tables of its own in the database at %s\n", where)
	}
	shown := s.bar()
	if shown != nil {
		c.Progress = shown.show
	}
	r, err := loadtest.Run(ctx, client, c)
	if shown != nil {
		shown.clear()
	}
	if err != nil {
		return err
	}
	return s.printBench(r)
}

// benchDatabase reads --database-url, where one is given, and sees whether it answers.
func (s *session) benchDatabase(ctx context.Context, c *loadtest.Config) (where string, err error) {
	text, err := s.Text("database-url")
	if err != nil || text == "" {
		return "", err
	}
	d, err := s.database()
	if err != nil {
		return "", err
	}
	db, err := d.open(ctx)
	if err != nil {
		return "", err
	}
	c.Database = d.url
	return d.where, db.Close()
}

// bar is nil where standard error is no terminal.
func (s *session) bar() *bar {
	f, width, ok := s.terminal()
	if !ok {
		return nil
	}
	return newBar(f, "bench", width, time.Now)
}

// terminal is standard error where that is one, and how many columns it has now, 0 where it does not say.
func (s *session) terminal() (f *os.File, width func() int, ok bool) {
	f, ok = s.stderr.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil, nil, false
	}
	return f, func() int {
		columns, _, err := term.GetSize(int(f.Fd()))
		if err != nil {
			return 0
		}
		return columns
	}, true
}

func (s *session) printBench(r loadtest.Report) error {
	if s.json {
		return s.printJSON(r)
	}
	w := tabwriter.NewWriter(s.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "STAGE\tJOBS\tSECONDS\tJOBS/S\tP50 MS\tP95 MS\tP99 MS")
	rate := func(stage loadtest.Stage, r loadtest.Rate) {
		fmt.Fprintf(w, "%s\t%d\t%.2f\t%.0f\n", stage, r.Jobs, r.Seconds, r.JobsPerSecond)
	}
	calls := func(stage loadtest.Stage, c loadtest.Calls) {
		fmt.Fprintf(w, "%s\t%d\t%.2f\t%.0f\t%.2f\t%.2f\t%.2f\n", stage, c.Jobs, c.Seconds, c.JobsPerSecond, c.P50MS, c.P95MS, c.P99MS)
	}
	waits := func(stage loadtest.Stage, r loadtest.Waits) {
		fmt.Fprintf(w, "%s\t%d\t\t\t%.2f\t%.2f\t%.2f\n", stage, r.Jobs, r.P50MS, r.P95MS, r.P99MS)
	}
	calls(loadtest.StageEnqueue, r.Enqueue)
	rate(loadtest.StageWork, r.Work)
	waits(loadtest.StagePickUp, r.PickUp)
	if r.Record != nil {
		calls(loadtest.StageRecord, *r.Record)
		rate(loadtest.StageRelayAndWork, *r.RelayAndWork)
		waits(loadtest.StageRecordToEffect, *r.RecordToEffect)
	}
	if r.Repeated > 0 {
		fmt.Fprintf(w, "\n%s of jobs that had run before: did Redis fail meanwhile?\n", plural(r.Repeated, "run"))
	}
	return flush(w)
}
