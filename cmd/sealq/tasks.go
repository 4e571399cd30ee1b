package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/sealq/sealq/cmd/sealq/internal/app"
	"github.com/sealq/sealq/cmd/sealq/internal/redisurl"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/jobs/judge"
	"github.com/sealq/sealq/jobs/rawtask"
	"github.com/sealq/sealq/signing"
)

func (p *program) tasks() *cobra.Command {
	return group(&cobra.Command{
		Use: "tasks", Short: "Look at the tasks in Redis, with what a worker would say of each",
		Example: "  sealq tasks list\n  sealq tasks list mail --state archived\n  sealq tasks show mail 0199a1b2-0000-7000-8000-000000000000.1",
	}, p.tasksList(), p.tasksShow(), p.tasksReissue())
}

// desk is what is needed to look at tasks.
type desk struct {
	*session
	tasks *rawtask.Lister
	judge *judge.Judge
	db    app.Database // nil: none is named
}

// atDesk opens Redis, and as much as there is of what judging needs: a look at a queue must be possible without it.
func (p *program) atDesk(do func(ctx context.Context, d *desk, args []string) error) func(ctx context.Context, s *session, args []string) error {
	return func(ctx context.Context, s *session, args []string) error {
		server, err := s.redis()
		if err != nil {
			return err
		}
		look := func(ctx context.Context, c judge.Config, db app.Database) (err error) {
			client, err := server.reach(ctx)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, client.Close()) }()
			d := &desk{session: s, tasks: rawtask.NewLister(client), db: db}
			if db != nil {
				c.Effects = db
			}
			if d.judge, err = s.newJudge(c); err != nil {
				return err
			}
			return do(ctx, d, args)
		}
		without, err := s.withoutKeys(ctx)
		if err != nil {
			return err
		}
		if without != "" {
			fmt.Fprintf(s.stderr, "sealq: warning: signatures are not judged here: %s\n", without)
			return s.withDatabase(ctx, func(db app.Database) error { return look(ctx, judge.Config{}, db) })
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
			db, err := r.database(ctx)
			if err != nil {
				return err
			}
			return look(ctx, judge.Config{Keys: keys}, db)
		})(ctx, s, args)
	}
}

// withoutKeys says what is missing to judge signatures, "" for nothing. What was asked for and does not work is an error of
// whoever opens it.
func (s *session) withoutKeys(ctx context.Context) (string, error) {
	audience, err := s.Text("audience")
	if err != nil {
		return "", err
	}
	if s.Given("keys") {
		return "", nil
	}
	place, err := s.ringPlace()
	if err != nil {
		return "", err
	}
	if _, err := place.source.Load(ctx); errors.Is(err, signing.ErrNoRing) {
		return fmt.Sprintf("there is no key ring %s (--keys)", place.source), nil
	}
	if audience == "" {
		return "--audience is not given", nil
	}
	return "", nil
}

// newJudge judges by the kinds and queues of this program's workers.
func (s *session) newJudge(c judge.Config) (*judge.Judge, error) {
	served, err := s.Weights("queues")
	if err != nil {
		return nil, err
	}
	c.Queues = slices.Sorted(maps.Keys(served))
	if c.Catalog, err = jobs.NewCatalog(authjobs.Definitions()...); err != nil {
		return nil, err
	}
	return judge.New(c)
}

// withDatabase opens the database of --database-url, if one is named.
func (s *session) withDatabase(ctx context.Context, do func(db app.Database) error) (err error) {
	text, err := s.Text("database-url")
	if err != nil {
		return err
	}
	if text == "" {
		return do(nil)
	}
	named, err := s.database()
	if err != nil {
		return err
	}
	db, err := named.openMigrated(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return do(db)
}

func deskOptions() []string { return ringOptions("redis-url", "audience", "queues") }

func (p *program) tasksList() *cobra.Command {
	var limit int
	var state string
	c := uses(&cobra.Command{
		Use: "list [QUEUE]", Short: "List a queue's tasks with their verdicts, or count those of all queues", Args: atMost("QUEUE"),
		Long: "List a queue's tasks, with what a worker of this program would say of each: passed, refused, deferred, done, or\n" +
			"malformed_message where asynq itself cannot read it. What Redis holds may be anybody's: names are quoted where they are not\n" +
			"printable, nothing is decoded that does not verify, and nothing is changed. Without --database-url the ledger is not asked,\n" +
			"so that what passed may have been done before. The states are " + stateNames() + ";\n" +
			"unlisted is a task that no list holds, so that no worker fetches it. Without QUEUE, count what each queue holds.",
		Example: "  sealq tasks list\n  sealq tasks list mail\n  sealq tasks list mail --state unlisted --json",
		RunE: p.action(func(ctx context.Context, s *session, args []string) error {
			if limit < 1 {
				return wrongly("--limit must be 1 or more")
			}
			if state != "" && !slices.Contains(rawtask.States(), rawtask.State(state)) {
				return wrongly("--state must be one of %s", stateNames())
			}
			if len(args) == 0 {
				if state != "" {
					return wrongly("--state needs QUEUE: see `sealq tasks list --help`")
				}
				return s.countQueues(ctx)
			}
			return p.atDesk(func(ctx context.Context, d *desk, args []string) error {
				views, err := d.list(ctx, args[0], rawtask.State(state), limit)
				if err == nil && len(views) == 0 {
					err = d.unknownQueue(ctx, args[0])
				}
				if err != nil {
					return err
				}
				if d.json {
					return d.printJSON(views)
				}
				return d.printTasks(views)
			})(ctx, s, args)
		}),
	}, deskOptions()...)
	c.Flags().IntVar(&limit, "limit", 100, "how many at most")
	c.Flags().StringVar(&state, "state", "", "only tasks in this `state`")
	return c
}

func stateNames() string {
	var names []string
	for _, state := range rawtask.States() {
		names = append(names, string(state))
	}
	return strings.Join(names, ", ")
}

// atMost allows one positional argument.
func atMost(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		return exactly(name)(cmd, args)
	}
}

// keysSearched is how many keys a listing that was not asked for them searches for tasks that no list holds.
const keysSearched = 100_000

// list collects up to limit tasks: of one state, or of all.
func (d *desk) list(ctx context.Context, queue string, only rawtask.State, limit int) ([]taskView, error) {
	views := []taskView{}
	states := rawtask.States()
	if only != "" {
		states = []rawtask.State{only}
	}
	for _, state := range states {
		tasks := d.tasks.Tasks(ctx, queue, state)
		if state == rawtask.Unlisted {
			most := keysSearched
			if only == rawtask.Unlisted {
				most = 1 << 40
			}
			tasks = d.tasks.Unlisted(ctx, queue, most)
		}
		for f, err := range tasks {
			if _, other := errors.AsType[*rawtask.PlaceError](err); other || errors.Is(err, rawtask.ErrNotAll) && only == "" {
				// Whoever spoils one key must not hide what stands under the others.
				fmt.Fprintf(d.stderr, "sealq: warning: %v\n", d.listProblem(queue, err))
				continue
			}
			if errors.Is(err, rawtask.ErrQueueName) {
				return nil, wrongly("QUEUE: %w", err)
			}
			if err != nil {
				return nil, err
			}
			if len(views) == limit {
				fmt.Fprintf(d.stderr, "sealq: warning: there are more than %s: give --limit, or --state\n", plural(limit, "task"))
				return views, nil
			}
			v, err := d.judge.Judge(ctx, f)
			if err != nil {
				return nil, err
			}
			views = append(views, newTaskView(f, v, d.now()))
		}
	}
	return views, nil
}

// unknownQueue says that nobody knows a queue in which nothing was found, nil where somebody does, or it cannot be told.
func (d *desk) unknownQueue(ctx context.Context, queue string) error {
	served, err := d.Weights("queues")
	if err != nil {
		return err
	}
	known, err := d.tasks.Queues(ctx)
	if redisurl.Denied(err) || served[queue] > 0 || slices.Contains(known, queue) {
		return nil
	}
	if err != nil {
		return err
	}
	all := slices.Compact(slices.Sorted(slices.Values(append(known, slices.Collect(maps.Keys(served))...))))
	for i := range all {
		all[i] = shownName(all[i])
	}
	return fmt.Errorf("there is no queue %s in this Redis: there are %s", shownName(queue), strings.Join(all, ", "))
}

func (d *desk) listProblem(queue string, err error) error {
	if !errors.Is(err, rawtask.ErrNotAll) {
		return err
	}
	return fmt.Errorf("tasks that no list holds are not all listed: %w: `sealq tasks list %s --state unlisted` searches all keys", err, shownName(queue))
}

// queueView counts what a queue holds. A count is null where the key is of another type than asynq's.
type queueView struct {
	Queue     string `json:"queue"`
	Pending   *int64 `json:"pending"`
	Active    *int64 `json:"active"`
	Scheduled *int64 `json:"scheduled"`
	Retry     *int64 `json:"retry"`
	Archived  *int64 `json:"archived"`
	Completed *int64 `json:"completed"`
	Groups    *int64 `json:"groups"`
}

// countQueues counts what the queues hold that are served here, or known to asynq.
func (s *session) countQueues(ctx context.Context) (err error) {
	served, err := s.Weights("queues")
	if err != nil {
		return err
	}
	server, err := s.redis()
	if err != nil {
		return err
	}
	client, err := server.reach(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	lister := rawtask.NewLister(client)
	known, err := lister.Queues(ctx)
	if redisurl.Denied(err) {
		fmt.Fprintln(s.stderr, "sealq: warning: this Redis user may not list the queues: only those of --queues are counted")
		err = nil
	}
	if err != nil {
		return err
	}
	views, skipped := []queueView{}, []string(nil)
	for _, queue := range slices.Compact(slices.Sorted(slices.Values(append(known, slices.Collect(maps.Keys(served))...)))) {
		counts, err := lister.Counts(ctx, queue)
		if redisurl.Denied(err) {
			skipped = append(skipped, shownName(queue))
			continue
		}
		if err != nil {
			return err
		}
		count := func(state rawtask.State) *int64 {
			if n := counts[state]; n >= 0 {
				return &n
			}
			return nil
		}
		views = append(views, queueView{
			shownName(queue), count(rawtask.Pending), count(rawtask.Active), count(rawtask.Scheduled), count(rawtask.Retry),
			count(rawtask.Archived), count(rawtask.Completed), count(rawtask.Aggregating),
		})
	}
	if len(skipped) > 0 {
		lack := fmt.Sprintf("this Redis user may not look at %s: give it what `sealq redis-acl dashboard` prints", strings.Join(skipped, ", "))
		if len(views) == 0 {
			return errors.New(lack)
		}
		fmt.Fprintln(s.stderr, "sealq: warning:", lack)
	}
	if s.json {
		return s.printJSON(views)
	}
	w := tabwriter.NewWriter(s.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "QUEUE\tPENDING\tACTIVE\tSCHEDULED\tRETRY\tARCHIVED\tCOMPLETED\tGROUPS")
	for _, v := range views {
		fmt.Fprint(w, cut(v.Queue, 32))
		for _, n := range []*int64{v.Pending, v.Active, v.Scheduled, v.Retry, v.Archived, v.Completed, v.Groups} {
			if n == nil {
				fmt.Fprint(w, "\t?") // its key is of another type
				continue
			}
			fmt.Fprintf(w, "\t%d", *n)
		}
		fmt.Fprintln(w)
	}
	return flush(w)
}
