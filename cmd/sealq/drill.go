package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealq/sealq/cmd/sealq/internal/drill"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/signing/attack"
	"github.com/sealq/sealq/worker"
)

// drillArgs are what genuine tasks of the default kind run: a sweep that the schedule makes anyway, of one row at most.
const drillArgs = `{"tick":"drill","limit":1}`

// drillFlags are what `sealq drill` takes beside its options.
type drillFlags struct {
	kind, args, queue, dir string
	yes                    bool
}

func (p *program) drill() *cobra.Command {
	var f drillFlags
	c := uses(&cobra.Command{
		Use: "drill", Short: "Fire the attack corpus at a running system", Args: exactly(),
		Long: "Fire the attack corpus at a running system, marked drill-…, and judge what becomes of each task. With --audience\n" +
			"and --keys it fires all that one ring allows, and runs a harmless job between; without, only what needs no key.\n" +
			"With --database-url or --quarantine-dir it finds each refused task there, and compares reason and bytes. Exit 0\n" +
			"only if every task was refused as expected. What is left of its tasks in Redis is removed at the end.",
		Example: "  sealq drill --audience staging --database-url postgres://…\n" +
			"  sealq drill --queue default --quarantine-dir sealq-quarantine",
		RunE: p.action(func(ctx context.Context, s *session, _ []string) (err error) {
			audience, err := s.Text("audience")
			if err != nil {
				return err
			}
			if audience != "" {
				return p.withRing(func(ctx context.Context, r *keyRing, _ []string) error { return r.drill(ctx, audience, f) })(ctx, s, nil)
			}
			r := &keyRing{s: s} // no ring: what can be made without
			defer func() { err = errors.Join(err, r.close()) }()
			return r.drill(ctx, "", f)
		}),
	}, ringOptions("redis-url", "audience", "queues")...)
	c.Flags().StringVar(&f.kind, "kind", string(authjobs.KindExpirePending), "a `kind` of the system that is harmless to run")
	c.Flags().StringVar(&f.args, "args", "", "its arguments in `JSON` (default for "+string(authjobs.KindExpirePending)+": "+drillArgs+")")
	c.Flags().StringVar(&f.queue, "queue", "", "a `queue` that is served (default: the kind's)")
	c.Flags().StringVar(&f.dir, "quarantine-dir", "", dirUsage)
	c.Flags().BoolVar(&f.yes, "yes", false, "fire, though Redis is not on this machine")
	return c
}

// drill is for the target of which the ring is known if there is an audience.
func (r *keyRing) drill(ctx context.Context, audience string, f drillFlags) (err error) {
	s := r.s
	c, err := s.drillJob(f)
	if err != nil {
		return err
	}
	server, err := s.redis()
	if err != nil {
		return err
	}
	if audience != "" {
		if c.Ring, err = r.drillRing(ctx); err != nil {
			return err
		}
		c.Audience = audience
	}
	judge, err := r.drillQuarantine(ctx, &c, f.dir)
	if err != nil {
		return err
	}
	shown := s.progress()
	c.Progress = shown
	d, err := drill.New(c)
	if errors.Is(err, attack.ErrInvalidConfig) {
		return wrongly("%w", err)
	}
	if err != nil {
		return err
	}
	s.announce(d.Plan(), c, server.Where, judge)
	if !f.yes && !server.Local {
		return wrongly("nothing was fired: Redis at %s (--redis-url) is not on this machine; add --yes if that system may be attacked", server.Where)
	}
	client, err := server.reach(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	report, err := d.Run(ctx, client)
	if shown != nil {
		fmt.Fprintln(s.stderr)
	}
	if err != nil {
		return err
	}
	if err := s.printDrill(report); err != nil {
		return err
	}
	return drillFailure(report)
}

// drillJob reads kind, arguments and queues.
func (s *session) drillJob(f drillFlags) (drill.Config, error) {
	c := drill.Config{Kind: f.kind, Args: []byte(f.args), Queue: f.queue, Now: s.now}
	served, err := s.Weights("queues")
	if err != nil {
		return c, err
	}
	catalog, err := jobs.NewCatalog(authjobs.Definitions()...)
	if err != nil {
		return c, err
	}
	if d, err := catalog.Lookup(jobs.Kind(f.kind)); err == nil {
		if c.Kind == string(authjobs.KindExpirePending) && f.args == "" {
			c.Args = []byte(drillArgs)
		}
		if err := d.Check(c.Args); err != nil {
			return c, wrongly("--args is not what %s takes: %s", f.kind, argsProblem(err))
		}
		c.MaxAge = d.Policy().MaxAge
		if c.Queue == "" {
			c.Queue = d.Policy().Queue
		}
	} else if f.args == "" || f.queue == "" {
		return c, wrongly("--kind %q is not one of sealq's own: give its --args and its --queue, too", f.kind)
	}
	if len(c.Queue) < 2 || strings.ContainsAny(c.Queue, "{}") {
		return c, wrongly("--queue %q is no queue's name: give two characters or more, without braces", c.Queue)
	}
	for _, queue := range slices.Sorted(maps.Keys(served)) {
		if queue != c.Queue && (c.OtherQueue == "" || queue == jobs.QueueDefault) {
			c.OtherQueue = queue
		}
	}
	if _, ok := served[c.Queue]; !ok {
		c.OtherQueue = "" // of an app that is not asked with --queues which others it serves
	}
	return c, nil
}

// drillRing reads the ring.
func (r *keyRing) drillRing(ctx context.Context) (*signing.Ring, error) {
	ring, err := r.read(ctx)
	if err != nil {
		return nil, err
	}
	for _, k := range ring.Keys() {
		if age := r.s.now().Sub(k.SignFrom); k.State == signing.Active && age < attack.MinKeyAge {
			return nil, fmt.Errorf("the active key %s has signed for %v, and some cases were signed %v ago: wait, or drill without --audience",
				k.KID, age.Round(time.Second), attack.MinKeyAge)
		}
	}
	return ring, nil
}

// drillQuarantine opens where shots are looked up, and says in words where that is.
func (r *keyRing) drillQuarantine(ctx context.Context, c *drill.Config, dir string) (judge string, err error) {
	if dir != "" {
		if info, err := os.Stat(dir); err != nil || !info.IsDir() { // opening would make it
			return "", wrongly("--quarantine-dir %s is no folder: name the quarantine's folder", dir)
		}
		c.Quarantine, err = worker.OpenDir(dir)
		return "each refused task is looked up in the folder " + dir, err
	}
	db, err := r.database(ctx)
	if err != nil {
		return "", err
	}
	if db == nil {
		return "no refused task is judged: for that give --database-url or --quarantine-dir", nil
	}
	c.Quarantine = db
	c.Ledger, _ = db.(drill.Ledger) // every driver's database is one
	return "each refused task is looked up in the database", nil
}

// announce says what is going to happen.
func (s *session) announce(p drill.Plan, c drill.Config, where, judge string) {
	fmt.Fprintf(s.stderr, "drill: fires %s at the queue %s in Redis at %s, as tasks drill-%s-…, and removes what is left of them\n",
		plural(p.Fired, "case"), c.Queue, where, p.Run)
	if p.Genuine > 0 {
		fmt.Fprintf(s.stderr, "drill: runs %s: %s %s\n", plural(p.Genuine, "genuine task"), c.Kind, c.Args)
	}
	if p.Unfit > 0 {
		hint := ""
		if c.Ring == nil {
			hint = ": with --audience and --keys most of them are"
		}
		fmt.Fprintf(s.stderr, "drill: %s not fired%s\n", areCases(p.Unfit), hint)
	}
	fmt.Fprintf(s.stderr, "drill: %s\n", judge)
	if p.AtLeast > 0 {
		fmt.Fprintf(s.stderr, "drill: takes %v at least, so that no worker raises its key alarm\n", p.AtLeast)
	}
}

func areCases(n int) string {
	if n == 1 {
		return "1 case is"
	}
	return plural(n, "case") + " are"
}

// progress counts on a terminal. Nil where standard error is none.
func (s *session) progress() func(done, all int) {
	f, _, ok := s.terminal()
	if !ok {
		return nil
	}
	return func(done, all int) { fmt.Fprintf(f, "\rdrill: %d of %d", done, all) }
}

func (s *session) printDrill(r drill.Report) error {
	if s.json {
		return s.printJSON(r)
	}
	w := tabwriter.NewWriter(s.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "VERDICT\tCLASS\tCASE\tEXPECTED\tGOT")
	for _, c := range r.Cases {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", c.Verdict, c.Class, c.Case, c.Expected, c.Got)
	}
	fmt.Fprintf(w, "\n%d held, %d failed, %d not judged, %d not fired\n", r.Held, r.Failed, r.NotJudged, r.NotFired)
	return flush(w)
}

// drillFailure says why the drill is none that was passed.
func drillFailure(r drill.Report) error {
	switch {
	case r.Failed > 0:
		return fmt.Errorf("%s did not hold: do not let that system take tasks from a Redis that others can write to", plural(r.Failed, "case"))
	case r.NotJudged > 0:
		return fmt.Errorf("%s not judged: give --database-url or --quarantine-dir", areCases(r.NotJudged))
	}
	return nil
}
