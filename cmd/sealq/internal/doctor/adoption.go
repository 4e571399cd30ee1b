package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/jobs/judge"
	"github.com/sealq/sealq/jobs/rawtask"
	"github.com/sealq/sealq/signing"
)

// Counts are tasks of one state by what enforcing would make of them.
type Counts struct {
	Signed   int64 `json:"signed"`   // they would pass now, or when they are due; without keys here: they carry a signature
	Unsigned int64 `json:"unsigned"` // they carry none: they would be refused
	Refused  int64 `json:"refused"`  // they would be refused whatever is enforced: their signature does not hold, or they are malformed
}

// QueueAdoption is what one queue holds.
type QueueAdoption struct {
	Queue  string                   `json:"queue"`
	States map[rawtask.State]Counts `json:"states"`
	// UnsignedKinds are the kinds of the unsigned tasks that are yet to run, as they say themselves, twenty at most.
	UnsignedKinds []string `json:"unsigned_kinds"`
	// LatestUnsigned is when the last of them is due; nil where none is, or all are due now.
	LatestUnsigned *time.Time `json:"latest_unsigned"`
	All            bool       `json:"all"` // everything was looked at
}

// Adoption says whether an app that has asynq already may refuse unsigned tasks.
type Adoption struct {
	Safe    bool            `json:"safe"`
	Verdict string          `json:"verdict"`
	Judged  bool            `json:"judged"`     // with keys; else a signature that is there is taken for one that holds
	Waiting int64           `json:"waiting"`    // unsigned tasks that are yet to run
	From    *time.Time      `json:"not_before"` // when the last of them is due; nil where they are due now, or there are none
	Queues  []QueueAdoption `json:"queues"`
	Notes   []string        `json:"notes"`
}

// AdoptionConfig says where to look.
type AdoptionConfig struct {
	Redis redis.UniversalClient
	// Judge says what a worker would. Its keys may be missing.
	Judge *judge.Judge
	// Keys says that the Judge has keys.
	Keys bool
	// Queues beside those that asynq knows. Zero: none.
	Queues []string
	Now    func() time.Time
	// Look bounds all of it. Zero: 12 s.
	Look time.Duration
}

const (
	adoptionLook = 12 * time.Second
	// adoptionTasks is how many tasks of one state of a queue are looked at.
	adoptionTasks = 100_000
	shownKinds    = 20
	// longestObservation is how far ahead a worker's UnsignedUntil may be.
	longestObservation = 30 * 24 * time.Hour
)

// yetToRun are the states from which a task reaches a worker by itself.
func yetToRun() []rawtask.State {
	return []rawtask.State{rawtask.Pending, rawtask.Active, rawtask.Scheduled, rawtask.Retry, rawtask.Aggregating}
}

// Adopt counts. Its error means that Redis could not be asked; what could not be read in time makes the verdict unsafe instead.
func Adopt(ctx context.Context, c AdoptionConfig) (Adoption, error) {
	if c.Look <= 0 {
		c.Look = adoptionLook
	}
	ctx, cancel := context.WithTimeout(ctx, c.Look)
	defer cancel()
	tasks := rawtask.NewLister(c.Redis)
	names, err := tasks.Queues(ctx)
	if err != nil {
		return Adoption{}, err
	}
	cut := len(names) >= rawtask.MaxQueues
	// asynq's clients name a queue once: after somebody emptied Redis it is not among asynq's queues until they are made anew. Its workers name it
	// every few seconds.
	served, _, err := Served(ctx, c.Redis, c.Now().Unix())
	if err != nil {
		return Adoption{}, fmt.Errorf("ask which queues workers serve: %w", err)
	}
	for name := range served {
		if !strings.ContainsAny(name, "{}") && name != "" {
			names = append(names, name)
		}
	}
	known := len(names) > 0
	names = append(names, c.Queues...)
	slices.Sort(names)
	a := Adoption{Judged: c.Keys, Queues: []QueueAdoption{}, Notes: notes(c.Keys)}
	for _, name := range slices.Compact(names) {
		q, err := c.queue(ctx, tasks, name)
		if err != nil {
			return Adoption{}, err
		}
		a.Queues = append(a.Queues, q)
	}
	a = a.concluded(c.Now())
	switch {
	case a.Safe && cut:
		a.Safe = false
		a.Verdict = fmt.Sprintf("not known: asynq:queues names more than the %d queues that are looked at; take out of it what is no queue of yours", rawtask.MaxQueues-1)
	case a.Safe && !known:
		a.Safe = false
		a.Verdict = "not known: asynq has no queue in this Redis, and no worker runs: see that --redis-url is the app's, with the number of its database"
	}
	return a, nil
}

func notes(keys bool) []string {
	all := []string{
		"what is enqueued from now on is not seen here: every process that enqueues must sign already, asynq's own Scheduler and PeriodicTaskManager included, which never do",
		"a worker built with an asynq older than v0.26.0 drops the signature of a task that fails, and cannot be seen here: upgrade all of them first",
		"what observing workers counted is in their own OnVerdict (unsigned), and is not published in Redis",
	}
	if !keys {
		all = append(all, "there are no keys here (--keys, --audience): a signature that is there is taken for one that holds")
	}
	return all
}

func (c AdoptionConfig) queue(ctx context.Context, tasks *rawtask.Lister, name string) (QueueAdoption, error) {
	q := QueueAdoption{Queue: name, States: make(map[rawtask.State]Counts), UnsignedKinds: []string{}, All: true}
	for _, state := range append(yetToRun(), rawtask.Archived, rawtask.Completed) {
		var counts Counts
		n := 0
		for f, err := range tasks.Tasks(ctx, name, state) {
			if _, squatted := errors.AsType[*rawtask.PlaceError](err); squatted {
				continue // nothing can be read of it, by workers neither
			}
			if err != nil && !isTimeout(err) {
				return q, err
			}
			if err != nil || n == adoptionTasks {
				q.All = false
				break
			}
			n++
			verdict, err := c.sort(ctx, f, &counts)
			if err != nil {
				return q, err
			}
			if verdict == unsigned && slices.Contains(yetToRun(), state) {
				q.add(f, c.Now())
			}
		}
		q.States[state] = counts
	}
	slices.Sort(q.UnsignedKinds)
	return q, nil
}

// sorted is what enforcing makes of a task.
type sorted int

const (
	signed sorted = iota
	unsigned
	refused
)

// sort never decodes a payload that did not verify.
func (c AdoptionConfig) sort(ctx context.Context, f rawtask.Found, counts *Counts) (sorted, error) {
	switch {
	case f.Err != nil:
		counts.Refused++
		return refused, nil //nolint:nilerr // what nobody can read is refused; the look did not fail
	case !hasSignature(f):
		counts.Unsigned++
		return unsigned, nil
	case c.Keys:
		v, err := c.Judge.Judge(ctx, f)
		if err != nil {
			return refused, fmt.Errorf("judge a task: %w", err)
		}
		// Of an app's own kinds this program has no definition: its workers do, where the signature holds.
		if v.Outcome == judge.Refused && v.Reason != signing.ReasonKindNotAllowed && v.Reason != signing.ReasonWrongQueue {
			counts.Refused++
			return refused, nil
		}
	}
	counts.Signed++
	return signed, nil
}

func hasSignature(f rawtask.Found) bool {
	_, has := f.Message.Headers[signing.SignatureHeader]
	return has
}

func (q *QueueAdoption) add(f rawtask.Found, now time.Time) {
	kind := shown(f.Message.Kind)
	if !slices.Contains(q.UnsignedKinds, kind) && len(q.UnsignedKinds) < shownKinds {
		q.UnsignedKinds = append(q.UnsignedKinds, kind)
	}
	later := f.State() == rawtask.Scheduled || f.State() == rawtask.Retry
	if due := f.When.UTC(); later && due.After(now) && (q.LatestUnsigned == nil || due.After(*q.LatestUnsigned)) {
		q.LatestUnsigned = &due
	}
}

// concluded says it in one sentence.
func (a Adoption) concluded(now time.Time) Adoption {
	var where, unread []string
	for _, q := range a.Queues {
		n := int64(0)
		for _, state := range yetToRun() {
			n += q.States[state].Unsigned
		}
		if n > 0 {
			where = append(where, q.Queue)
		}
		if !q.All {
			unread = append(unread, q.Queue)
		}
		a.Waiting += n
		if q.LatestUnsigned != nil && (a.From == nil || q.LatestUnsigned.After(*a.From)) {
			a.From = q.LatestUnsigned
		}
	}
	waiting := fmt.Sprintf("%s in %s", wait(a.Waiting), shownAll(where))
	switch {
	case a.Waiting > 0 && a.From == nil:
		a.Verdict = "not yet: " + waiting + ", due now; let the workers, observing, finish them, then ask again"
	case a.Waiting > 0 && a.From.Sub(now) > longestObservation:
		a.Verdict = fmt.Sprintf("not before %s: %s, which is further ahead than workers may observe (UnsignedUntil, 30 days): enqueue those anew, signed, and delete them",
			a.From.Format(time.RFC3339), waiting)
	case a.Waiting > 0:
		a.Verdict = fmt.Sprintf("not before %s: %s; let UnsignedUntil be later than that, and ask again then", a.From.Format(time.RFC3339), waiting)
	case len(unread) > 0:
		a.Verdict = "not known: there was no time to look at everything in " + shownAll(unread)
	default:
		a.Safe = true
		a.Verdict = "safe to enforce now: no unsigned task waits" + a.among()
	}
	return a
}

func wait(n int64) string {
	if n == 1 {
		return "1 unsigned task waits"
	}
	return fmt.Sprintf("%d unsigned tasks wait", n)
}

func (a Adoption) among() string {
	var n int64
	for _, q := range a.Queues {
		for _, state := range yetToRun() {
			n += q.States[state].Signed
		}
	}
	if n == 0 {
		return " in any queue"
	}
	return " among " + plural(n, "signed one")
}
