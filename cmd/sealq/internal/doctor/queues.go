package doctor

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/cmd/sealq/internal/redisurl"
	"github.com/sealq/sealq/jobs/rawtask"
)

const groupQueues = "queues"

func queueChecks() []check {
	return []check{
		{groupQueues, "tasks", queue, tasksInOrder},
		{groupQueues, "served", queue, queuesServed},
		{groupQueues, "paused", queue, queuesPaused},
	}
}

// queues are those that workers are to serve, and those that asynq knows, where the user may ask.
func (e *env) queues(ctx context.Context) ([]string, error) {
	known, err := rawtask.NewLister(e.redis).Queues(ctx)
	if err != nil && !redisurl.Denied(err) {
		return nil, err
	}
	all := append(slices.Clone(e.Queues), known...)
	slices.Sort(all)
	return slices.Compact(all), nil
}

const (
	// tasksLooked is how many tasks of one state of a queue are looked at.
	tasksLooked = 2000
	// keysSearched is how many keys are searched for tasks that no list holds.
	keysSearched = 20_000
	// leaseOver is how long a lease may be over before a janitor takes up its task: its own grace, and two of its passes.
	leaseOver = 45 * time.Second
	// leaseEndless is more than asynq's lease by as much as clocks may differ.
	leaseEndless = time.Minute
)

// tasksInOrder looks for what a worker's janitor and its fetching put in order. It is no snapshot: what seems wrong is looked at twice.
func tasksInOrder(ctx context.Context, e *env) []Finding {
	names, err := e.queues(ctx)
	if err != nil {
		return failed(err, "list the queues", notRedis)
	}
	end, _ := ctx.Deadline()
	var all []Finding
	for i, name := range names {
		share, cancel := context.WithTimeout(ctx, time.Until(end)/time.Duration(len(names)-i))
		all = append(all, about(shown(name), e.queueInOrder(share, name))...)
		cancel()
	}
	if same(all) { // one line says it for all
		all = all[:1]
		all[0].Subject = ""
	}
	return all
}

// same says whether all findings say that they were not made, for one reason.
func same(all []Finding) bool {
	return len(all) > 0 && !slices.ContainsFunc(all, func(f Finding) bool { return f.Status != Skipped || f.Message != all[0].Message })
}

// faults counts what was found in one queue.
type faults struct {
	looked int64
	more   bool // there is more than was looked at
	count  map[rawtask.Problem]int64
	places []string // keys of the wrong type
}

// The problems that a listing does not know.
const (
	expiredLease  rawtask.Problem = "expired_lease"
	endlessLease  rawtask.Problem = "endless_lease"
	orphanedLease rawtask.Problem = "orphaned_lease"
)

func (e *env) queueInOrder(ctx context.Context, queue string) []Finding {
	found := &faults{count: make(map[rawtask.Problem]int64)}
	tasks := rawtask.NewLister(e.redis)
	active := make(map[string]bool)
	for _, state := range []rawtask.State{rawtask.Active, rawtask.Pending, rawtask.Scheduled, rawtask.Retry, rawtask.Aggregating, rawtask.Unlisted} {
		list := tasks.Tasks(ctx, queue, state)
		if state == rawtask.Unlisted {
			list = tasks.Unlisted(ctx, queue, keysSearched)
		}
		if err := found.look(ctx, e, tasks, list, active); err != nil {
			if isTimeout(err) && found.looked > 0 {
				found.more = true
				break
			}
			return failed(err, "look at tasks", notRedis)
		}
	}
	if err := found.leases(ctx, e.redis, queue, active); err != nil && !isTimeout(err) && !redisurl.Denied(err) {
		return failed(err, "look at leases", notRedis)
	}
	return found.say(queue)
}

func (f *faults) look(ctx context.Context, e *env, tasks *rawtask.Lister, list iter.Seq2[rawtask.Found, error], active map[string]bool) error {
	n := 0
	for task, err := range list {
		if place, ok := errors.AsType[*rawtask.PlaceError](err); ok {
			f.places = append(f.places, string(place.State))
			continue
		}
		if errors.Is(err, rawtask.ErrNotAll) {
			f.more = true
			continue
		}
		if err != nil {
			return err
		}
		if n++; n > tasksLooked {
			f.more = true
			return nil
		}
		f.looked++
		if task.State() == rawtask.Active {
			active[task.ID] = true
		}
		if len(e.problems(task)) == 0 {
			continue
		}
		again, err := tasks.Look(ctx, task.Queue, task.ID)
		switch {
		case task.IDSize > rawtask.MaxID: // it cannot be asked for
			again = task
		case errors.Is(err, rawtask.ErrNoTask):
			continue
		case err != nil:
			return err
		}
		for _, p := range e.problems(again) {
			f.count[p]++
		}
	}
	return nil
}

// problems are the task's, and those of its lease.
func (e *env) problems(task rawtask.Found) []rawtask.Problem {
	now := e.Now()
	problems := task.Problems(now)
	if task.State() == rawtask.Active && task.Leased {
		switch {
		case task.When.Before(now.Add(-leaseOver)):
			problems = append(problems, expiredLease)
		case task.When.After(now.Add(leaseEndless)):
			problems = append(problems, endlessLease)
		}
	}
	return problems
}

// leases counts those of tasks that are not active.
func (f *faults) leases(ctx context.Context, c redis.UniversalClient, queue string, active map[string]bool) error {
	prefix := "asynq:{" + queue + "}:"
	ids, err := c.ZRange(ctx, prefix+"lease", 0, tasksLooked-1).Result()
	if err != nil {
		if strings.HasPrefix(err.Error(), "WRONGTYPE") {
			f.places = append(f.places, "leased")
			return nil
		}
		return fmt.Errorf("list the leases: %w", err)
	}
	for _, id := range ids {
		if active[id] {
			continue
		}
		err := c.LPos(ctx, prefix+"active", id, redis.LPosArgs{}).Err()
		if errors.Is(err, redis.Nil) && c.ZScore(ctx, prefix+"lease", id).Err() == nil {
			f.count[orphanedLease]++
		}
	}
	return nil
}

// say says it in one line. What asynq's own apps may do is no more than a warning.
func (f *faults) say(queue string) []Finding {
	looked := plural(f.looked, "task")
	if f.more {
		looked = "the first " + looked
	}
	if len(f.count) == 0 && len(f.places) == 0 {
		return fine("nothing is wrong with %s", looked)
	}
	status, told := Warning, []string(nil)
	if len(f.places) > 0 {
		status = Problem
		told = append(told, "the keys of its "+strings.Join(f.places, " and ")+" tasks are not of asynq's type")
	}
	for _, w := range wordings() {
		if n := f.count[w.problem]; n > 0 {
			told = append(told, fmt.Sprintf("%d %s", n, w.text))
			if !w.harmless {
				status = Problem
			}
		}
	}
	advice := "a worker that serves the queue puts it in order within a minute; look with `sealq tasks list " + shown(queue) + "`, and who writes there (docs/runbooks/stuck-task.md)"
	if f.count[rawtask.InNoList] > 0 {
		advice += "; a relay brings those in no list back within minutes if they are jobs of the outbox, and nobody does else: enqueue those again"
	}
	return say(status, advice, "of %s: %s", looked, strings.Join(told, "; "))
}

type wording struct {
	problem  rawtask.Problem
	text     string
	harmless bool // an honest app may bring it about
}

func wordings() []wording {
	return []wording{
		{problem: rawtask.NoTask, text: "listed without a task"},
		{problem: rawtask.WrongType, text: "of a type that is not asynq's"},
		{problem: rawtask.Undecodable, text: "malformed"},
		{problem: rawtask.TooLarge, text: "too large to be read"},
		{problem: rawtask.OtherID, text: "under the ID of another"},
		{problem: rawtask.OtherQueue, text: "of another queue"},
		{problem: rawtask.LongID, text: "with an ID too long to be ours"},
		{problem: rawtask.TwoPlaces, text: "in two states at once"},
		{problem: rawtask.StateDiffers, text: "in another state than they say"},
		{problem: rawtask.InNoList, text: "in no list, so that nobody fetches them"},
		{problem: rawtask.NoLease, text: "active without a lease"},
		{problem: expiredLease, text: "active though their workers are gone"},
		{problem: endlessLease, text: "active under a lease longer than asynq gives"},
		{problem: orphanedLease, text: "leased though not active"},
		{problem: rawtask.OddRetries, text: "with a count of tries that asynq cannot have written"},
		{problem: rawtask.PastDeadline, text: "past their deadline, which plain asynq ends unasked", harmless: true},
		{problem: rawtask.Grouped, text: "in groups, of which asynq makes unsigned ones", harmless: true},
	}
}

// queuesPaused asks by a command that every user of redis-acl's has, but for the enqueuer's.
func queuesPaused(ctx context.Context, e *env) []Finding {
	names, err := e.queues(ctx)
	if err != nil {
		return failed(err, "list the queues", notRedis)
	}
	var paused []string
	for _, name := range names {
		n, err := e.redis.Exists(ctx, "asynq:{"+name+"}:paused").Result()
		if redisurl.Denied(err) && !slices.Contains(e.Queues, name) {
			continue // somebody else's
		}
		if err != nil {
			return failed(err, "ask whether queues are paused", notRedis)
		}
		if n > 0 {
			paused = append(paused, name)
		}
	}
	if len(paused) > 0 {
		return say(Warning, "when the reason is gone let it go on: a button on its page of `sealq dashboard`, the asynq tool, `asynq queue unpause --queue QUEUE`, or delete its key asynq:{QUEUE}:paused; a pause has no end of its own",
			"paused, so that no worker fetches from them: %s", shownAll(paused))
	}
	return fine("no queue is paused")
}
